package tokens_test

import (
	"context"
	"errors"
	"testing"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer/internal/tokens"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// racing has something committed, and listed, between the check in a token's
// beginning and the moment that its commit is seen.
type racing struct {
	*storetest.Faulty
	meanwhile func()
}

func (r *racing) Apply(ctx context.Context, items ...store.Transition) []store.Outcome {
	out := r.Faulty.Apply(ctx, items...)
	if _, begin := items[0].Change.Do.(lease.Begin); begin {
		r.meanwhile()
	}
	return out
}

// A3: a withdrawal that is committed and has listed what it takes while a token
// is being made takes it all the same: nobody gets its text.
func TestWithdrawnMeanwhile(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"token", "auth", "approle", "deleted"} {
		w := newWorld(t)
		auth, role := w.entry(store.KindAuth, "approle/"), w.entry(store.KindAppRole, "m/app")
		parent := w.token(map[string]any{"ttl": "1h"})
		write := map[string]store.Write{
			"auth":    {Withdrawals: []store.Ref{auth}},
			"approle": {Withdrawals: []store.Ref{role}},
			"deleted": {Deletes: []store.Ref{role}},
		}
		r := &racing{Faulty: w.store, meanwhile: func() {
			if what != "token" {
				_, err := w.fake.Write(t.Context(), write[what])
				must(t, err)
				return
			}
			l := w.row(parent.Accessor)
			must(t, w.fake.Apply(t.Context(), store.Transition{Change: lease.Change{
				ID: l.ID, Version: l.Version, Key: "k", Do: lease.Revoke{},
			}})[0].Err)
		}}
		w.reg = tokens.New(r, keys{"first"}, w.cache(), zerolog.Nop(), lease.TTLs{Default: month, Max: month})
		var err error
		if what == "token" {
			_, err = w.as(parent.Token.Reveal(), w.reg.Create, nil)
		} else {
			_, err = w.login(tokens.Login{Guard: []store.Ref{role, auth}})
		}
		if status(err) != 403 || !errors.Is(err, store.ErrWithdrawn) {
			t.Errorf("%s: %v", what, err)
		}
		for _, l := range w.live() {
			if l.Account != parent.Accessor {
				t.Errorf("%s: a token was left", what)
			}
		}
	}
}

// A3, A6: where the second check fails, in both ways, no text is answered and no
// token is left.
func TestSecondCheckFails(t *testing.T) {
	t.Parallel()
	for method, nth := range map[string]int{"Get": 3, "EntryByID": 1} { // the first two find the caller
		for _, done := range []bool{false, true} {
			w := newWorld(t)
			role := w.entry(store.KindAppRole, "m/app")
			w.store.Break(storetest.Fault{Method: method, Nth: nth, Done: done})
			var err error
			if method == "Get" {
				_, err = w.as(w.root, w.reg.Create, map[string]any{"ttl": "1h"})
			} else {
				_, err = w.login(tokens.Login{Guard: []store.Ref{role}})
			}
			if err == nil || status(err) == 403 {
				t.Errorf("%s done=%t: %v", method, done, err)
			}
			if n := len(w.live()); n != 0 {
				t.Errorf("%s done=%t: %d tokens are left", method, done, n)
			}
		}
	}
}
