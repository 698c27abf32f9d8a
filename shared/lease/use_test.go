package lease_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/lease"
)

// limited makes a token of so many uses.
func limited(tb testing.TB, uses int) lease.Lease {
	tb.Helper()
	l := plain(lease.Token)
	l.Uses = uses
	return must(tb, lease.Lease{}, start(), lease.Begin{Lease: l})
}

// A1: a use is a change of its own; the last one ends the token, and who made it
// and why is on it.
func TestUse(t *testing.T) {
	t.Parallel()
	l := must(t, limited(t, 2), start(), lease.Use{})
	if l.State != lease.Active || l.Uses != 1 || l.Version != 2 || !l.ExpiresAt.Equal(start().Add(time.Hour)) {
		t.Fatalf("after one of two uses: %+v", l)
	}
	last := change(l.Version, lease.Use{})
	last.Reason = ""
	after, err := last.Apply(l, start().Add(time.Minute))
	r := after.Revocation
	if err != nil || after.State != lease.Revoking || after.Uses != 0 || r.Reason != lease.ReasonUsedUp || r.By != by() || !r.DueAt.Equal(start().Add(time.Minute)) {
		t.Fatalf("after the last use: %+v, %v", after, err)
	}
	end := l.ExpiresAt
	for _, c := range []struct {
		name string
		l    lease.Lease
		at   time.Time
		want error
	}{
		{"one that is used up", after, start().Add(time.Minute), lease.ErrOver},
		{"one that was revoked", must(t, l, start(), lease.Revoke{}), start(), lease.ErrOver},
		{"one that has expired", l, end, lease.ErrOver},
		{"one without a limit", limited(t, 0), start(), lease.ErrMove},
		{"no token", in(t, lease.Active), start(), lease.ErrMove},
		{"no row", lease.Lease{}, start(), lease.ErrOver},
	} {
		after, err := change(lease.AnyVersion, lease.Use{}).Apply(c.l, c.at)
		if !errors.Is(err, c.want) || !reflect.DeepEqual(after, c.l) {
			t.Errorf("%s: %v, now %+v; want %v and no change", c.name, err, after, c.want)
		}
	}
}

// A7: versions that the record has and the row has not may have been uses; none
// of them is granted a second time.
func TestRestoreCountsUses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		uses    int
		version int64 // of the record; the row has 1
		want    int
	}{
		{5, 3, 3}, {5, 5, 1}, {5, 9, 1}, {1, 9, 1}, {5, 1, 5}, {0, 9, 0},
	} {
		l := limited(t, c.uses)
		known := l
		known.Version, known.Uses, known.ExpiresAt = c.version, 0, l.ExpiresAt.Add(time.Second)
		if got := must(t, l, start(), lease.Restore{Known: known}); got.Uses != c.want {
			t.Errorf("%d uses, the record is at version %d: %d are left, want %d", c.uses, c.version, got.Uses, c.want)
		}
	}
}

// A3: child tokens stay only where a token ends and the move says so.
func TestRevokeKeepsTokens(t *testing.T) {
	t.Parallel()
	for kind, want := range map[lease.Kind]bool{lease.Token: true, lease.Secret: false} {
		l := must(t, lease.Lease{}, start(), lease.Begin{Lease: plain(kind), Grace: time.Minute})
		if got := must(t, l, start(), lease.Revoke{KeepTokens: true}).Revocation.KeepTokens; got != want {
			t.Errorf("%s: keeps its tokens: %v", kind, got)
		}
		if must(t, l, start(), lease.Revoke{}).Revocation.KeepTokens {
			t.Errorf("%s: keeps its tokens unasked", kind)
		}
	}
}

// Law: whatever else happens to a token, it serves at most as many requests as
// it was granted, and the last of them ends it.
func TestUsesAreBounded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		granted := rapid.IntRange(1, 5).Draw(t, "granted")
		l := plain(lease.Token)
		l.Uses = granted
		l, err := change(0, lease.Begin{Lease: l}).Apply(lease.Lease{}, start())
		if err != nil {
			t.Fatal(err)
		}
		served, now := 0, start()
		for range rapid.IntRange(1, 30).Draw(t, "changes") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "later")))
			do := drawAction(t)
			if rapid.Bool().Draw(t, "a use") {
				do = lease.Use{}
			}
			after, err := change(lease.AnyVersion, do).Apply(l, now)
			if _, use := do.(lease.Use); use && err == nil {
				served++
			}
			l = after
		}
		switch {
		case served > granted:
			t.Fatalf("%d requests were served by a token of %d uses", served, granted)
		case served == granted && l.State.Live():
			t.Fatalf("after its %d uses it is %s", granted, l.State)
		case l.State == lease.Active && l.Uses != granted-served:
			t.Fatalf("%d of %d uses were made, %d are left", served, granted, l.Uses)
		}
	})
}
