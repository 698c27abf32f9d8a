package lease_test

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/lease"
)

func start() time.Time { return time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC) }

func by() lease.Actor { return lease.Actor{Name: "accessor", RequestID: "r"} }

func change(version int64, do lease.Action) *lease.Change {
	return &lease.Change{ID: "database/creds/a/1", Version: version, Key: "key", By: by(), Reason: "a test", Do: do}
}

// plain is what a Begin carries.
func plain(kind lease.Kind) lease.Lease {
	return lease.Lease{Kind: kind, TTL: time.Hour, MaxTTL: 3 * time.Hour, Renewable: true, Plan: []byte("plan")}
}

func must(tb testing.TB, l lease.Lease, now time.Time, do lease.Action) lease.Lease {
	tb.Helper()
	after, err := change(l.Version, do).Apply(l, now)
	if err != nil {
		tb.Fatalf("%T of %q: %v", do, l.State, err)
	}
	return after
}

// in makes a lease in a state; "" is no row.
func in(tb testing.TB, s lease.State) lease.Lease {
	tb.Helper()
	var l lease.Lease
	if s == "" {
		return l
	}
	if l = must(tb, l, start(), lease.Begin{Lease: plain(lease.Secret), Grace: time.Minute}); s == lease.Intent {
		return l
	}
	if l = must(tb, l, start(), lease.Activate{Handle: []byte("oid")}); s == lease.Active {
		return l
	}
	if l = must(tb, l, start(), lease.Revoke{}); s == lease.Revoking {
		return l
	}
	return must(tb, l, start(), lease.Finish{To: s})
}

// A1: every move from every state is either the one written here or refused
// with the error written here, and a refusal changes nothing.
func TestMoves(t *testing.T) {
	t.Parallel()
	begin := func(k lease.Kind) lease.Action { return lease.Begin{Lease: plain(k), Grace: time.Minute} }
	states := append([]lease.State{""}, lease.States()...)
	type to map[lease.State]lease.State // from → to; what is not named is refused
	for _, c := range []struct {
		name    string
		do      lease.Action
		allowed to
		refused error
	}{
		{"begin a secret", begin(lease.Secret), to{"": lease.Intent}, lease.ErrMove},
		{"begin a token", begin(lease.Token), to{"": lease.Active}, lease.ErrMove},
		{"begin a stray", begin(lease.Stray), to{"": lease.Revoking}, lease.ErrMove},
		{"begin nonsense", begin("nonsense"), to{}, lease.ErrMove},
		{"activate", lease.Activate{}, to{lease.Intent: lease.Active}, lease.ErrMove},
		{"renew", lease.Renew{}, to{lease.Active: lease.Active}, lease.ErrOver},
		{"revoke", lease.Revoke{}, to{lease.Intent: lease.Revoking, lease.Active: lease.Revoking}, lease.ErrOver},
		{"retry", lease.Retry{}, to{lease.Revoking: lease.Revoking}, lease.ErrOver},
		{"progress", lease.Progress{}, to{lease.Revoking: lease.Revoking}, lease.ErrOver},
		{"fail", lease.Progress{Failed: true}, to{lease.Revoking: lease.Revoking}, lease.ErrOver},
		{"finish as revoked", lease.Finish{To: lease.Revoked}, to{lease.Revoking: lease.Revoked}, lease.ErrOver},
		{"finish as expired", lease.Finish{To: lease.Expired}, to{lease.Revoking: lease.Expired}, lease.ErrOver},
		{"abandon", lease.Finish{To: lease.Abandoned}, to{lease.Revoking: lease.Abandoned}, lease.ErrOver},
		{"finish as active", lease.Finish{To: lease.Active}, to{}, lease.ErrMove},
		{"finish as nothing", lease.Finish{}, to{}, lease.ErrMove},
	} {
		for _, from := range states {
			before := in(t, from)
			for _, version := range []int64{before.Version, lease.AnyVersion} {
				after, err := change(version, c.do).Apply(before, start())
				want, ok := c.allowed[from]
				switch {
				case !ok && (!errors.Is(err, c.refused) || !reflect.DeepEqual(after, before)):
					t.Errorf("%s from %q: %v, now %q; want %v and no change", c.name, from, err, after.State, c.refused)
				case ok && (err != nil || after.State != want || after.Version != before.Version+1 || after.LastKey != "key"):
					t.Errorf("%s from %q: %v, %q version %d key %q; want %q", c.name, from, err, after.State, after.Version, after.LastKey, want)
				case ok && !from.CanBecome(want):
					t.Errorf("%s from %q went to %q, which is not in the table", c.name, from, want)
				}
			}
		}
	}
}

// A1: the table itself.
func TestTableOfMoves(t *testing.T) {
	t.Parallel()
	allowed := map[string]bool{
		" intent": true, " active": true, " revoking": true,
		"intent intent": true, "intent active": true, "intent revoking": true,
		"active active": true, "active revoking": true,
		"revoking revoking": true, "revoking revoked": true, "revoking expired": true, "revoking abandoned": true,
	}
	states := append([]lease.State{""}, lease.States()...)
	for _, from := range states {
		for _, to := range states {
			if want := allowed[fmt.Sprintf("%s %s", from, to)]; from.CanBecome(to) != want {
				t.Errorf("%q to %q: %v, want %v", from, to, !want, want)
			}
		}
	}
	for _, s := range lease.States() {
		final := s == lease.Revoked || s == lease.Expired || s == lease.Abandoned
		live := s == lease.Intent || s == lease.Active
		if s.Final() != final || s.Live() != live {
			t.Errorf("%s: final %v, live %v", s, s.Final(), s.Live())
		}
	}
}

// A1: a change is applied to the version that it names, or not at all.
func TestVersion(t *testing.T) {
	t.Parallel()
	l := in(t, lease.Active)
	for _, v := range []int64{0, 1, 3, -2} {
		if after, err := change(v, lease.Renew{}).Apply(l, start()); !errors.Is(err, lease.ErrVersion) || !reflect.DeepEqual(after, l) {
			t.Errorf("version %d of %d: %v", v, l.Version, err)
		}
	}
}

func TestBegin(t *testing.T) {
	t.Parallel()
	b := lease.Begin{Lease: plain(lease.Secret), Grace: time.Minute, TargetOffset: -5 * time.Second}
	// What a caller must not choose is set here.
	b.Lease.ID, b.Lease.State, b.Lease.Version, b.Lease.ExpiresAt = "other", lease.Revoked, 7, start()
	b.Lease.ActivatedAt, b.Lease.RenewedAt, b.Lease.CeilingAt = start(), start(), start()
	b.Lease.Revocation = lease.Revocation{Reason: "forged", NextTryAt: start()}
	l := must(t, lease.Lease{}, start(), b)
	if l.ID != "database/creds/a/1" || l.State != lease.Intent || l.Version != 1 || l.IssuedBy != by() || !l.IssuedAt.Equal(start()) {
		t.Errorf("begun is %+v", l)
	}
	if !l.ExpiresAt.IsZero() || !l.CeilingAt.IsZero() || !l.RenewedAt.IsZero() || l.Confirmed() || l.Revocation != (lease.Revocation{}) {
		t.Errorf("an intent has the times of an active lease: %+v", l)
	}
	if !l.ConfirmBy.Equal(start().Add(time.Minute)) || !l.CreateDeadline.Equal(start().Add(55*time.Second)) || !l.DueAt().Equal(l.ConfirmBy) {
		t.Errorf("confirm by %s, create by %s, due %s", l.ConfirmBy, l.CreateDeadline, l.DueAt())
	}
	token := must(t, lease.Lease{}, start(), lease.Begin{Lease: plain(lease.Token)})
	if !token.Confirmed() || !token.ExpiresAt.Equal(start().Add(time.Hour)) || !token.CeilingAt.Equal(start().Add(3*time.Hour)) {
		t.Errorf("a token is %+v", token)
	}
	stray := must(t, lease.Lease{}, start(), lease.Begin{Lease: plain(lease.Stray)})
	if stray.Confirmed() || !stray.DueAt().Equal(start()) || stray.Revocation.Reason != "a test" || stray.Revocation.By != by() {
		t.Errorf("a stray is %+v", stray)
	}
}

// B8: what the target was told is never before the store's expiry: the time from
// the intent to this commit shortens the first term and the ceiling.
func TestActivate(t *testing.T) {
	t.Parallel()
	now := start().Add(time.Second)
	l := must(t, in(t, lease.Intent), now, lease.Activate{Handle: []byte("oid")})
	if !l.ExpiresAt.Equal(start().Add(time.Hour)) || !l.CeilingAt.Equal(start().Add(3*time.Hour)) {
		t.Errorf("expires %s, ceiling %s", l.ExpiresAt, l.CeilingAt)
	}
	if string(l.Handle) != "oid" || !l.ActivatedAt.Equal(now) || !l.Confirmed() {
		t.Errorf("active is %+v", l)
	}
	after := start().Add(2 * time.Hour)
	late := must(t, in(t, lease.Intent), after, lease.Activate{})
	if late.Usable(after) || !late.ExpiresAt.Equal(after) {
		t.Errorf("a term that is spent ends at %s, now is %s", late.ExpiresAt, after)
	}
	unknown := in(t, lease.Intent) // brought in from a record that does not say when it began
	unknown.IssuedAt = time.Time{}
	if l := must(t, unknown, now, lease.Activate{}); !l.ExpiresAt.Equal(now.Add(time.Hour)) {
		t.Errorf("a term whose beginning is not known ends at %s", l.ExpiresAt)
	}
	var forever lease.Lease
	forever = must(t, forever, start(), lease.Begin{Lease: lease.Lease{Kind: lease.Secret}, Grace: 1})
	forever = must(t, forever, now, lease.Activate{})
	if !forever.ExpiresAt.IsZero() || !forever.CeilingAt.IsZero() || !forever.Usable(now.Add(1e6*time.Hour)) || !forever.DueAt().IsZero() {
		t.Errorf("a lease without an end is %+v", forever)
	}
}

func TestRenew(t *testing.T) {
	t.Parallel()
	l := in(t, lease.Active)
	end := l.ExpiresAt
	for _, c := range []struct {
		name string
		at   time.Time
		do   lease.Renew
		want time.Time
		err  error
	}{
		{"its own term", start().Add(time.Minute), lease.Renew{}, start().Add(61 * time.Minute), nil},
		{"shorter", start(), lease.Renew{Increment: time.Minute}, start().Add(time.Minute), nil},
		{"beyond the ceiling", start(), lease.Renew{Increment: 9 * time.Hour}, l.CeilingAt, nil},
		{"not after", start(), lease.Renew{Increment: 2 * time.Hour, NotAfter: start().Add(90 * time.Minute)}, start().Add(90 * time.Minute), nil},
		{"not after what is later", start(), lease.Renew{NotAfter: start().Add(9 * time.Hour)}, start().Add(time.Hour), nil},
		{"a nanosecond before the end", end.Add(-1), lease.Renew{}, end.Add(time.Hour - 1), nil},
		{"at the end", end, lease.Renew{}, end, lease.ErrOver},
		{"after the end", end.Add(time.Hour), lease.Renew{}, end, lease.ErrOver},
	} {
		after, err := change(l.Version, c.do).Apply(l, c.at)
		if !errors.Is(err, c.err) || !after.ExpiresAt.Equal(c.want) {
			t.Errorf("%s: expires %s, %v; want %s, %v", c.name, after.ExpiresAt, err, c.want, c.err)
		}
		if err == nil && !after.RenewedAt.Equal(c.at) {
			t.Errorf("%s: renewed at %s", c.name, after.RenewedAt)
		}
	}
	l.Renewable = false
	if _, err := change(l.Version, lease.Renew{}).Apply(l, start()); !errors.Is(err, lease.ErrNotRenewable) {
		t.Errorf("one that is not renewable: %v", err)
	}
}

// A5: expiry is refused while the lease still runs by the store's clock.
func TestRevoke(t *testing.T) {
	t.Parallel()
	forever := in(t, lease.Active)
	forever.ExpiresAt = time.Time{}
	active, intent := in(t, lease.Active), in(t, lease.Intent)
	for _, c := range []struct {
		name   string
		l      lease.Lease
		at     time.Time
		do     lease.Revoke
		reason string // of the change
		err    error
		due    time.Time
		want   string
	}{
		{"by a person", active, start(), lease.Revoke{}, "r", nil, start(), "r"},
		{"before the end", active, active.ExpiresAt.Add(-1), lease.Revoke{If: lease.IfDue}, "", lease.ErrNotDue, time.Time{}, ""},
		{"at the end", active, active.ExpiresAt, lease.Revoke{If: lease.IfDue}, "", nil, active.ExpiresAt, lease.ReasonExpired},
		{"long after", active, active.ExpiresAt.Add(time.Hour), lease.Revoke{If: lease.IfDue}, "mine", nil, active.ExpiresAt, "mine"},
		{"without an end", forever, start().Add(1e6 * time.Hour), lease.Revoke{If: lease.IfDue}, "", lease.ErrNotDue, time.Time{}, ""},
		{"an intent in its grace", intent, intent.ConfirmBy.Add(-1), lease.Revoke{If: lease.IfDue}, "", lease.ErrNotDue, time.Time{}, ""},
		{"an intent after it", intent, intent.ConfirmBy, lease.Revoke{If: lease.IfDue}, "", nil, intent.ConfirmBy, lease.ReasonUnconfirmed},
	} {
		ch := change(c.l.Version, c.do)
		ch.Reason = c.reason
		after, err := ch.Apply(c.l, c.at)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
		if err != nil {
			continue
		}
		r := after.Revocation
		if !r.DueAt.Equal(c.due) || r.Reason != c.want || r.By != by() || !r.Since.Equal(c.at) || !after.DueAt().Equal(c.at) {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

func TestRevocation(t *testing.T) {
	t.Parallel()
	at := func(n int) time.Time { return start().Add(time.Duration(n) * time.Second) }
	l := in(t, lease.Revoking)
	l = must(t, l, at(1), lease.Progress{Failed: true, Error: "away", After: time.Minute, Parked: true})
	l = must(t, l, at(2), lease.Progress{Failed: true, Error: "still away", After: time.Minute})
	if r := l.Revocation; r.Attempts != 2 || !r.FirstFailedAt.Equal(at(1)) || !r.LastFailedAt.Equal(at(2)) || r.LastError != "still away" || r.Parked {
		t.Errorf("after two failures: %+v", r)
	}
	if !l.DueAt().Equal(at(62)) {
		t.Errorf("the next try is at %s", l.DueAt())
	}
	if l = must(t, l, at(3), lease.Retry{}); !l.DueAt().Equal(at(3)) {
		t.Errorf("tried again at %s", l.DueAt())
	}
	// Only an attempt that began before the request owes another at once (C8).
	for since, want := range map[int64]time.Time{0: at(63), l.Version - 1: at(3), l.Version: at(63), l.Version + 1: at(63)} {
		late := must(t, l, at(3), lease.Progress{Failed: true, Error: "away", After: time.Minute, Since: since})
		if !late.DueAt().Equal(want) {
			t.Errorf("an attempt with version %d failed, when %d was asked for: next at %s, want %s", since, l.Version, late.DueAt(), want)
		}
	}
	// The first time a stage is passed is the one that counts (C1).
	l = must(t, l, at(4), lease.Progress{Stages: lease.Stages{DisabledAt: at(4)}})
	l = must(t, l, at(5), lease.Progress{Stages: lease.Stages{DisabledAt: at(5), SessionsEndedAt: at(5), SessionsNote: "primary only"}})
	l = must(t, l, at(6), lease.Progress{})
	if r := l.Revocation; !r.DisabledAt.Equal(at(4)) || !r.SessionsEndedAt.Equal(at(5)) || r.SessionsNote != "primary only" || r.Attempts != 2 {
		t.Errorf("after the stages: %+v", r)
	}
	done := must(t, l, at(7), lease.Finish{To: lease.Revoked})
	if r := done.Revocation; !r.EndedAt.Equal(at(7)) || !r.DisabledAt.Equal(at(4)) || !done.DueAt().IsZero() || r.Reason != "a test" {
		t.Errorf("ended: %+v", r)
	}
	force := change(l.Version, lease.Finish{To: lease.Abandoned})
	force.By, force.Reason = lease.Actor{Name: "person"}, "target is gone for good"
	gone, err := force.Apply(l, at(8))
	if r := gone.Revocation; err != nil || r.By.Name != "person" || r.Reason != "target is gone for good" {
		t.Errorf("abandoned: %+v, %v", r, err)
	}
}

// drawAction draws any action with any fields.
func drawAction(t *rapid.T) lease.Action {
	span := func(label string) time.Duration {
		return time.Duration(rapid.Int64Range(-1, int64(5*time.Hour)).Draw(t, label))
	}
	when := func(label string) time.Time {
		if rapid.Bool().Draw(t, label+" is set") {
			return start().Add(span(label))
		}
		return time.Time{}
	}
	stages := lease.Stages{DisabledAt: when("disabled"), SessionsEndedAt: when("sessions ended")}
	switch rapid.IntRange(0, 7).Draw(t, "action") {
	case 0:
		l := plain(rapid.SampledFrom([]lease.Kind{lease.Secret, lease.Token, lease.Stray, "x"}).Draw(t, "kind"))
		l.TTL, l.MaxTTL, l.Renewable = span("ttl"), span("max"), rapid.Bool().Draw(t, "renewable")
		l.Uses = rapid.IntRange(0, 4).Draw(t, "uses")
		if l.MaxTTL > 0 {
			l.TTL = min(l.TTL, l.MaxTTL) // the issuer's arithmetic
		}
		return lease.Begin{Lease: l, Grace: max(0, span("grace"))}
	case 1:
		return lease.Activate{}
	case 2:
		return lease.Renew{Increment: span("increment"), NotAfter: when("not after")}
	case 3:
		return lease.Revoke{
			If:         rapid.SampledFrom([]lease.Condition{lease.Always, lease.IfDue}).Draw(t, "if"),
			KeepTokens: rapid.Bool().Draw(t, "keep"),
		}
	case 4:
		return lease.Progress{Stages: stages, Failed: rapid.Bool().Draw(t, "failed"), After: max(0, span("after"))}
	case 5:
		return lease.Finish{Stages: stages, To: rapid.SampledFrom(lease.States()).Draw(t, "to")}
	case 6:
		return lease.Use{}
	}
	return lease.Retry{}
}

// Law: along any life, versions count the changes that were applied, refusals
// change nothing, no expiry passes the ceiling, what ended stays, and the
// fields that were frozen are never touched.
func TestAnyLife(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var l lease.Lease
		now, applied := start(), int64(0)
		var frozen lease.Lease
		for range rapid.IntRange(1, 30).Draw(t, "changes") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Hour)).Draw(t, "later")))
			before := l
			after, err := change(lease.AnyVersion, drawAction(t)).Apply(l, now)
			if err != nil {
				if !reflect.DeepEqual(after, before) {
					t.Fatalf("a refusal (%v) changed it", err)
				}
				continue
			}
			if applied++; applied == 1 {
				frozen = after
			}
			if l = after; l.Version != applied {
				t.Fatalf("version %d after %d changes", l.Version, applied)
			}
			if before.State.Final() {
				t.Fatalf("a lease that ended as %s was changed", before.State)
			}
			if !l.CeilingAt.IsZero() && l.ExpiresAt.After(l.CeilingAt) {
				t.Fatalf("expires %s, ceiling %s", l.ExpiresAt, l.CeilingAt)
			}
			if l.State == lease.Revoking != !l.Revocation.NextTryAt.IsZero() {
				t.Fatalf("%s with the next try at %s", l.State, l.Revocation.NextTryAt)
			}
			if l.State.Final() != !l.Revocation.EndedAt.IsZero() || l.State.Final() && !l.DueAt().IsZero() {
				t.Fatalf("%s ended at %s, due %s", l.State, l.Revocation.EndedAt, l.DueAt())
			}
			if l.ID != frozen.ID || l.Kind != frozen.Kind || l.TTL != frozen.TTL || l.MaxTTL != frozen.MaxTTL ||
				!l.IssuedAt.Equal(frozen.IssuedAt) || string(l.Plan) != string(frozen.Plan) || l.IssuedBy != frozen.IssuedBy {
				t.Fatalf("a frozen field changed: %+v", l)
			}
		}
	})
}
