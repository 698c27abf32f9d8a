package lease_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/lease"
)

// known is what a record says of a lease.
func known(state lease.State, version int64) lease.Lease {
	l := plain(lease.Secret)
	l.State, l.Version, l.Plan = state, version, nil
	l.IssuedAt, l.ActivatedAt, l.ExpiresAt = start(), start(), start().Add(2*time.Hour)
	return l
}

// A7: what every known state makes of every state, told by a record that is
// ahead and by one that is behind.
func TestRestore(t *testing.T) {
	t.Parallel()
	const same, over = "same", "over" // a new version of it; nothing to learn
	states := lease.States()
	for row, c := range map[lease.State]struct{ ahead, behind []string }{
		"":              {[]string{"intent", "active", "revoking", over, over, over}, []string{"intent", "active", "revoking", over, over, over}},
		lease.Intent:    {[]string{same, "active", "revoking", "revoking", "revoking", "revoking"}, []string{over, "active", "revoking", "revoking", "revoking", "revoking"}},
		lease.Active:    {[]string{same, "active", "revoking", "revoking", "revoking", "revoking"}, []string{over, "active", "revoking", "revoking", "revoking", "revoking"}},
		lease.Revoking:  {[]string{same, same, same, same, same, same}, []string{over, over, over, over, over, over}},
		lease.Revoked:   {[]string{over, over, over, over, over, over}, []string{over, over, over, over, over, over}},
		lease.Expired:   {[]string{over, over, over, over, over, over}, []string{over, over, over, over, over, over}},
		lease.Abandoned: {[]string{over, over, over, over, over, over}, []string{over, over, over, over, over, over}},
	} {
		for version, wants := range map[int64][]string{9: c.ahead, 0: c.behind} {
			for i, want := range wants {
				l := in(t, row)
				k := known(states[i], version)
				got, err := change(lease.AnyVersion, lease.Restore{Known: k}).Apply(l, start().Add(time.Second))
				switch want {
				case over:
					if !errors.Is(err, lease.ErrOver) || !reflect.DeepEqual(got, l) {
						t.Errorf("%q and %q, version %d: %s, %v; want ErrOver", row, k.State, version, got.State, err)
					}
					continue
				case same:
					want = string(row)
				}
				if err != nil || string(got.State) != want || got.Version != max(l.Version, version)+1 {
					t.Errorf("%q and %q, version %d: %s, version %d, %v; want %s", row, k.State, version, got.State, got.Version, err, want)
				}
				if got.Confirmed() != (row != lease.Intent && row != "" || k.State != lease.Intent) {
					t.Errorf("%q and %q, which was active: it was activated at %s", row, k.State, got.ActivatedAt)
				}
			}
		}
	}
}

// A7: a record of what cannot be is refused.
func TestRestoreRefusesNonsense(t *testing.T) {
	t.Parallel()
	of := func(kind lease.Kind, state lease.State) lease.Lease {
		k := known(state, 3)
		k.Kind = kind
		return k
	}
	for _, row := range []lease.State{"", lease.Active} {
		for _, state := range []lease.State{"", "nonsense"} {
			l := in(t, row)
			got, err := change(lease.AnyVersion, lease.Restore{Known: of(lease.Secret, state)}).Apply(l, start())
			if !errors.Is(err, lease.ErrMove) || !reflect.DeepEqual(got, l) {
				t.Errorf("%q from state %q: %v", row, state, err)
			}
		}
	}
	for _, k := range []lease.Lease{of("nonsense", lease.Active), of("", lease.Revoking), of(lease.Token, lease.Intent), of(lease.Stray, lease.Active)} {
		if _, err := change(0, lease.Restore{Known: k}).Apply(lease.Lease{}, start()); !errors.Is(err, lease.ErrMove) {
			t.Errorf("kind %q in state %q: %v", k.Kind, k.State, err)
		}
	}
}

// A7: a row made anew says what the record says of it, and comes to its end by
// itself.
func TestRestoreMakesAnew(t *testing.T) {
	t.Parallel()
	now := start().Add(time.Minute)
	restore := func(k lease.Lease) lease.Lease {
		k.ID, k.LastKey, k.Handle, k.IssuedBy, k.Target, k.Account = "forged", "forged", []byte("oid"), by(), "t", "a"
		k.Revocation = lease.Revocation{Reason: "of old", DisabledAt: start(), NextTryAt: now.Add(time.Hour), Attempts: 9}
		return must(t, lease.Lease{}, now, lease.Restore{Known: k})
	}
	for _, state := range []lease.State{lease.Intent, lease.Active, lease.Revoking} {
		l := restore(known(state, 3))
		if l.ID != "database/creds/a/1" || l.LastKey != "key" || l.Version != 4 || l.State != state || l.Renewable ||
			string(l.Handle) != "oid" || l.IssuedBy != by() || l.Target != "t" || l.Account != "a" || !l.IssuedAt.Equal(start()) {
			t.Errorf("%s: %+v", state, l)
		}
		switch r := l.Revocation; {
		case state == lease.Revoking:
			if r.Reason != "a test" || r.By != by() || !r.Since.Equal(now) || !r.DueAt.Equal(now) || !r.NextTryAt.Equal(now) || !r.DisabledAt.IsZero() || r.Attempts != 0 {
				t.Errorf("the revocation is %+v, want a new one", r)
			}
		case r != (lease.Revocation{}):
			t.Errorf("%s has a revocation: %+v", state, r)
		}
	}
	k := known(lease.Intent, 1)
	if l := restore(k); !l.ConfirmBy.Equal(now) {
		t.Errorf("an intent of which no more is known is due at %s, want at once", l.ConfirmBy)
	}
	k.ConfirmBy, k.CreateDeadline = now.Add(time.Minute), now.Add(2*time.Minute)
	if l := restore(k); !l.ConfirmBy.Equal(k.ConfirmBy) || !l.CreateDeadline.Equal(k.CreateDeadline) {
		t.Errorf("an intent: %+v", l)
	}
	k = known(lease.Active, 2)
	k.ActivatedAt, k.ExpiresAt = time.Time{}, time.Time{}
	if l := restore(k); !l.Confirmed() || !l.ExpiresAt.Equal(now.Add(l.TTL)) {
		t.Errorf("issued for %s at an unknown time, it expires at %s", l.TTL, l.ExpiresAt)
	}
	k.TTL = 0
	if l := restore(k); !l.ExpiresAt.IsZero() {
		t.Errorf("issued without a term, it expires at %s", l.ExpiresAt)
	}
}

// A2, A7: an intent that is confirmed by the record gets the ceiling that was
// frozen for it, and what it is told of the account; an expiry that the record
// shows moves the ceiling.
func TestRestoreKeepsTheCeiling(t *testing.T) {
	t.Parallel()
	intent := in(t, lease.Intent) // an hour, at most three
	k := known(lease.Active, 2)
	k.Handle = []byte("known")
	l := must(t, intent, start(), lease.Restore{Known: k})
	if !l.CeilingAt.Equal(k.ActivatedAt.Add(3*time.Hour)) || !l.ExpiresAt.Equal(k.ExpiresAt) || string(l.Handle) != "known" || !l.Renewable || string(l.Plan) != "plan" {
		t.Errorf("it is %+v", l)
	}
	k.CeilingAt = start().Add(150 * time.Minute)
	if l := must(t, intent, start(), lease.Restore{Known: k}); !l.CeilingAt.Equal(k.CeilingAt) {
		t.Errorf("the ceiling is %s, the record says %s", l.CeilingAt, k.CeilingAt)
	}
	active := in(t, lease.Active)
	k.ExpiresAt = start().Add(4 * time.Hour)
	if l := must(t, active, start(), lease.Restore{Known: k}); !l.ExpiresAt.Equal(k.ExpiresAt) || !l.CeilingAt.Equal(k.ExpiresAt) || string(l.Handle) != "oid" {
		t.Errorf("it is %+v", l)
	}
	k.ExpiresAt, k.Version = time.Time{}, 9
	if l := must(t, active, start().Add(time.Second), lease.Restore{Known: k}); !l.ExpiresAt.Equal(active.ExpiresAt) {
		t.Errorf("issued for a time, it now expires at %s", l.ExpiresAt)
	}
}

// A7, B1: an intent is rolled back at the later time, of whichever version that
// is told; the target refuses its creation when it always did. It stays an intent.
func TestRestoreKeepsAnIntent(t *testing.T) {
	t.Parallel()
	row := in(t, lease.Intent)
	for _, version := range []int64{0, 1, 9} {
		for _, by := range []time.Duration{-time.Second, 0, time.Nanosecond, time.Hour} {
			k := row
			k.Version, k.ConfirmBy, k.CreateDeadline = version, row.ConfirmBy.Add(by), row.CreateDeadline.Add(by)
			got, err := change(lease.AnyVersion, lease.Restore{Known: k}).Apply(row, start())
			if by <= 0 && version <= row.Version {
				if !errors.Is(err, lease.ErrOver) || !reflect.DeepEqual(got, row) {
					t.Errorf("version %d, %s later: %+v, %v", version, by, got, err)
				}
				continue
			}
			want := row
			want.Version, want.LastKey, want.ConfirmBy = max(row.Version, version)+1, "key", row.ConfirmBy.Add(max(0, by))
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("version %d, %s later: %+v, %v; want %+v", version, by, got, err, want)
			}
		}
	}
}

func rank(s lease.State) int { return min(slices.Index(lease.States(), s), 2) }

// drawKnown draws what a record may say: states and kinds that can be, any
// times.
func drawKnown(t *rapid.T, kind lease.Kind) lease.Lease {
	when := func(label string) time.Time {
		return start().Add(time.Duration(rapid.Int64Range(0, int64(9*time.Hour)).Draw(t, label)))
	}
	k := plain(kind)
	from := map[lease.Kind]int{lease.Secret: 0, lease.Token: 1, lease.Stray: 2}[kind]
	k.State = rapid.SampledFrom(lease.States()[from:]).Draw(t, "known state")
	k.Version = rapid.Int64Range(1, 12).Draw(t, "known version")
	k.ExpiresAt = when("known expiry")
	if rapid.Bool().Draw(t, "known deadlines") {
		k.ConfirmBy, k.CreateDeadline = when("confirm by"), when("create deadline")
	}
	if rapid.Bool().Draw(t, "known activation") {
		k.ActivatedAt = when("activated")
	}
	return k
}

// drawLife draws a lease somewhere in its life, or none.
func drawLife(t *rapid.T, kind lease.Kind) (l lease.Lease, now time.Time) {
	now = start()
	do := []lease.Action{lease.Begin{Lease: plain(kind), Grace: time.Minute}}
	for range rapid.IntRange(0, 8).Draw(t, "changes") {
		if after, err := change(lease.AnyVersion, do[0]).Apply(l, now); err == nil {
			l = after
		}
		do[0] = drawAction(t)
		if _, again := do[0].(lease.Begin); again {
			do[0] = lease.Activate{}
		}
		now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "later")))
	}
	return l, now
}

// Laws of A7: restoring obeys the table of moves; the version ends above the
// row's and the record's; the more revoked state wins; no expiry of a live
// lease and no roll-back of an intent comes earlier, and no creation may come
// later (B1); what ended stays; a second time there is nothing to learn.
func TestAnyRestore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]lease.Kind{lease.Secret, lease.Token, lease.Stray}).Draw(t, "kind")
		l, now := drawLife(t, kind)
		k := drawKnown(t, kind)
		c := change(lease.AnyVersion, lease.Restore{Known: k})
		after, err := c.Apply(l, now)
		if err != nil {
			if !errors.Is(err, lease.ErrOver) || !reflect.DeepEqual(after, l) {
				t.Fatalf("refused: %v", err)
			}
			longer := l.State == lease.Intent && k.State == lease.Intent && k.ConfirmBy.After(l.ConfirmBy)
			if longer || l.State.Live() && (!k.State.Live() || k.Version > l.Version) || l.State == "" && !k.State.Final() {
				t.Fatalf("%q had to learn of %q: %v", l.State, k.State, err)
			}
			return
		}
		if l.State.Final() || !l.State.CanBecome(after.State) {
			t.Fatalf("%q became %q", l.State, after.State)
		}
		if after.Version != max(l.Version, k.Version)+1 || after.LastKey != c.Key {
			t.Fatalf("version %d by %q, the row had %d, the record %d", after.Version, after.LastKey, l.Version, k.Version)
		}
		if rank(after.State) != max(rank(l.State), rank(k.State)) {
			t.Fatalf("%q and %q made %q", l.State, k.State, after.State)
		}
		if l.State == lease.Active && after.State == lease.Active && after.ExpiresAt.Before(l.ExpiresAt) {
			t.Fatalf("it expired at %s, now at %s", l.ExpiresAt, after.ExpiresAt)
		}
		if after.State == lease.Active && k.State == lease.Active && after.ExpiresAt.Before(k.ExpiresAt) {
			t.Fatalf("known to expire at %s, it does at %s", k.ExpiresAt, after.ExpiresAt)
		}
		if l.State != "" && (!after.CreateDeadline.Equal(l.CreateDeadline) || after.ConfirmBy.Before(l.ConfirmBy)) {
			t.Fatalf("created until %s and rolled back at %s, now until %s and at %s", l.CreateDeadline, l.ConfirmBy, after.CreateDeadline, after.ConfirmBy)
		}
		if after.State == lease.Intent && after.ConfirmBy.Before(k.ConfirmBy) {
			t.Fatalf("known to be rolled back at %s, it is at %s", k.ConfirmBy, after.ConfirmBy)
		}
		if !after.CeilingAt.IsZero() && after.ExpiresAt.After(after.CeilingAt) || after.State == lease.Active && after.CeilingAt.IsZero() {
			t.Fatalf("expires %s, ceiling %s", after.ExpiresAt, after.CeilingAt)
		}
		if after.DueAt().IsZero() || after.State == lease.Revoking && l.State != lease.Revoking && after.DueAt().After(now) {
			t.Fatalf("%q is due at %s", after.State, after.DueAt())
		}
		if again, err := c.Apply(after, now.Add(time.Hour)); !errors.Is(err, lease.ErrOver) || !reflect.DeepEqual(again, after) {
			t.Fatalf("a second time: %v", err)
		}
	})
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Law of A7: two records of one lease lead to the same state, expiry and time of
// roll-back, whichever comes first.
func TestRestoreInAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l, now := drawLife(t, lease.Secret)
		one, two := drawKnown(t, lease.Secret), drawKnown(t, lease.Secret)
		if l.State == "" && (one.State.Final() || two.State.Final()) {
			t.Skip("what is gone and ended is not made anew")
		}
		apply := func(all ...lease.Lease) lease.Lease {
			l := l
			for _, k := range all {
				l, _ = change(lease.AnyVersion, lease.Restore{Known: k}).Apply(l, now) // ErrOver: nothing new
			}
			return l
		}
		a, b := apply(one, two), apply(two, one)
		// What is due is due, however long.
		if a.State == lease.Intent && latest(a.ConfirmBy, now) != latest(b.ConfirmBy, now) {
			t.Fatalf("an intent until %s, the other way round until %s", a.ConfirmBy, b.ConfirmBy)
		}
		if a.State != b.State || a.State == lease.Active && !a.ExpiresAt.Equal(b.ExpiresAt) {
			t.Fatalf("%s until %s, the other way round %s until %s", a.State, a.ExpiresAt, b.State, b.ExpiresAt)
		}
	})
}
