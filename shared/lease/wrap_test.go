package lease_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/lease"
)

// wrapping makes a wrapping token of an hour.
func wrapping(tb testing.TB) lease.Lease {
	tb.Helper()
	l := plain(lease.Token)
	l.Wraps, l.Inside, l.Plan = true, "database/creds/a/1", []byte("sealed")
	return must(tb, lease.Lease{}, start(), lease.Begin{Lease: l})
}

// A9: opening is one change, which ends the token, keeps what is inside and
// nothing of what was wrapped.
func TestOpen(t *testing.T) {
	t.Parallel()
	l := wrapping(t)
	c := change(l.Version, lease.Open{Plan: []byte("what is left")})
	c.Reason = ""
	after, err := c.Apply(l, start().Add(time.Minute))
	r := after.Revocation
	if err != nil || after.State != lease.Revoking || !r.Opened || r.Reason != lease.ReasonOpened || string(after.Plan) != "what is left" {
		t.Fatalf("after it was opened: %+v, %v", after, err)
	}
	if unopened := must(t, l, l.ExpiresAt, lease.Revoke{If: lease.IfDue}); unopened.Revocation.Opened || unopened.Inside != l.Inside {
		t.Errorf("one that expired: %+v", unopened)
	}
}

// A9: under another text it lives as long as the former would have.
func TestRewrap(t *testing.T) {
	t.Parallel()
	l := wrapping(t)
	after := must(t, l, start().Add(59*time.Minute), lease.Rewrap{Plan: []byte("other")})
	if after.State != lease.Active || string(after.Plan) != "other" || !after.ExpiresAt.Equal(start().Add(119*time.Minute)) || after.Inside != l.Inside {
		t.Fatalf("after it was rewrapped: %+v", after)
	}
}

// A9: what is over, or wraps nothing, is neither opened nor rewrapped.
func TestOnlyWhatIsWrappedIsOpened(t *testing.T) {
	t.Parallel()
	l := wrapping(t)
	for _, do := range []lease.Action{lease.Open{}, lease.Rewrap{}} {
		for _, c := range []struct {
			name string
			l    lease.Lease
			at   time.Time
			want error
		}{
			{"one that was opened", must(t, l, start(), lease.Open{}), start(), lease.ErrOver},
			{"one that was revoked", must(t, l, start(), lease.Revoke{}), start(), lease.ErrOver},
			{"one that has expired", l, l.ExpiresAt, lease.ErrOver},
			{"another token", limited(t, 1), start(), lease.ErrMove},
			{"no token", in(t, lease.Active), start(), lease.ErrMove},
			{"no row", lease.Lease{}, start(), lease.ErrOver},
		} {
			after, err := change(lease.AnyVersion, do).Apply(c.l, c.at)
			if !errors.Is(err, c.want) || !reflect.DeepEqual(after, c.l) {
				t.Errorf("%T of %s: %v, now %+v; want %v and no change", do, c.name, err, after, c.want)
			}
		}
	}
}

// A9, the law: of all that tries to open a wrapping token or to end it, in
// whatever order, one wins, and whether what is inside stays is what that one
// says.
func TestOneOpens(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		l, opened, ended := wrapping(t), 0, 0
		for range rapid.IntRange(1, 20).Draw(r, "tries") {
			at := start().Add(time.Duration(rapid.IntRange(0, 180).Draw(r, "minute")) * time.Minute)
			do := rapid.SampledFrom([]lease.Action{lease.Open{}, lease.Rewrap{}, lease.Revoke{}, lease.Revoke{If: lease.IfDue}}).Draw(r, "do")
			after, err := change(lease.AnyVersion, do).Apply(l, at)
			if err != nil {
				continue
			}
			if _, ok := do.(lease.Open); ok {
				opened++
			}
			if _, ok := do.(lease.Revoke); ok {
				ended++
			}
			l = after
		}
		if opened+ended > 1 || l.Revocation.Opened != (opened == 1) || (l.State == lease.Revoking) != (opened+ended == 1) {
			r.Fatalf("opened %d times, ended %d times: %+v", opened, ended, l)
		}
	})
}

// A7: what the record knows as opened is not taken from who opened it; one whose
// row lacks a change of its text cannot be opened by the former text.
func TestRestoreOfWrapping(t *testing.T) {
	t.Parallel()
	l := wrapping(t)
	opened := must(t, l, start(), lease.Open{})
	for name, row := range map[string]lease.Lease{"its row": l, "no row": {}} {
		if got := must(t, row, start(), lease.Restore{Known: opened}); got.State != lease.Revoking || !got.Revocation.Opened {
			t.Errorf("opened on record, %s: %+v", name, got)
		}
	}
	known := must(t, l, start(), lease.Rewrap{})
	known.Plan = nil
	if got := must(t, l, start(), lease.Restore{Known: known}); got.State != lease.Revoking || got.Revocation.Opened {
		t.Errorf("rewrapped on record: %+v", got)
	}
}
