package tokens_test

import (
	"testing"
	"time"

	"github.com/curfew-project/curfew/revoker/internal/tokens"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// What a token has issued goes with it: its child tokens too, unless it ends as
// one that leaves orphans behind (A3).
func TestWhatATokenTakesWithIt(t *testing.T) {
	t.Parallel()
	for keep, want := range map[bool]lease.State{false: lease.Revoking, true: lease.Active} {
		s := storetest.NewFake(storetest.NewClock())
		apply := func(id lease.ID, do lease.Action) lease.Lease {
			t.Helper()
			o := s.Apply(t.Context(), store.Transition{Change: lease.Change{
				ID: id, Version: lease.AnyVersion, Key: lease.RandomBase62(16), By: lease.System("test"), Do: do,
			}})[0]
			if o.Err != nil {
				t.Fatal(o.Err)
			}
			return o.Lease
		}
		apply("auth/token/create/parent", lease.Begin{Lease: lease.Lease{Kind: lease.Token, TTL: time.Hour}})
		apply("auth/token/create/child", lease.Begin{Lease: lease.Lease{Kind: lease.Token, TTL: time.Hour, TokenID: "auth/token/create/parent"}})
		apply("database/creds/a/1", lease.Begin{Grace: time.Minute, Lease: lease.Lease{Kind: lease.Secret, TTL: time.Hour, TokenID: "auth/token/create/parent"}})
		apply("database/creds/a/1", lease.Activate{})
		ending := apply("auth/token/create/parent", lease.Revoke{KeepTokens: keep})
		if out := tokens.New(s).Remove(t.Context(), "", []lease.Lease{ending})[0]; out.Err != nil || !out.Gone {
			t.Fatalf("%+v", out)
		}
		for id, want := range map[lease.ID]lease.State{"auth/token/create/child": want, "database/creds/a/1": lease.Revoking} {
			if l, err := s.Get(t.Context(), id); err != nil || l.State != want {
				t.Errorf("keep: %v: %s is %s, %v; want %s", keep, id, l.State, err, want)
			}
		}
	}
}

// A9: a wrapping token takes what is inside with it, unless it was opened.
func TestWhatAWrappingTokenTakesWithIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		end  lease.Action
		want lease.State
	}{
		{lease.Revoke{}, lease.Revoking},
		{lease.Open{}, lease.Active},
	} {
		s := storetest.NewFake(storetest.NewClock())
		apply := func(id lease.ID, do lease.Action) lease.Lease {
			t.Helper()
			o := s.Apply(t.Context(), store.Transition{Change: lease.Change{
				ID: id, Version: lease.AnyVersion, Key: lease.RandomBase62(16), By: lease.System("test"), Do: do,
			}})[0]
			if o.Err != nil {
				t.Fatal(o.Err)
			}
			return o.Lease
		}
		apply("database/creds/a/1", lease.Begin{Grace: time.Minute, Lease: lease.Lease{Kind: lease.Secret, TTL: time.Hour}})
		apply("database/creds/a/1", lease.Activate{})
		apply("sys/wrapping/1", lease.Begin{Lease: lease.Lease{Kind: lease.Token, TTL: time.Hour, Wraps: true, Inside: "database/creds/a/1"}})
		ending := apply("sys/wrapping/1", c.end)
		for range 2 { // the second time it is done already
			if out := tokens.New(s).Remove(t.Context(), "", []lease.Lease{ending})[0]; out.Err != nil || !out.Gone {
				t.Fatalf("%T: %+v", c.end, out)
			}
		}
		if l, err := s.Get(t.Context(), "database/creds/a/1"); err != nil || l.State != c.want {
			t.Errorf("%T: it is %s, %v; want %s", c.end, l.State, err, c.want)
		}
		// What the store cannot revoke now is revoked later: the token is not gone.
		faulty := storetest.NewFaulty(s, storetest.Fault{Method: "Apply"})
		if out := tokens.New(faulty).Remove(t.Context(), "", []lease.Lease{ending})[0]; (out.Err == nil) != ending.Revocation.Opened || out.Gone != ending.Revocation.Opened {
			t.Errorf("%T, the store away: %+v", c.end, out)
		}
	}
}
