package tokens_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// Each request takes one use; the last is served and ends the token (A1).
func TestUses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.token(map[string]any{"num_uses": "3", "policies": "a"})
	if made.NumUses != 3 {
		t.Fatalf("made for %d uses", made.NumUses)
	}
	for _, left := range []int{2, 1, 0} {
		caller, actor, err := w.reg.Authenticate(t.Context(), made.Token, here, "id")
		must(t, err)
		if caller.Lease.Uses != left || caller.UsedUp() != (left == 0) || actor.Name != made.Accessor || strings.Join(caller.Policies, " ") != "a default" {
			t.Fatalf("%d uses are left, want %d; used up: %v; %+v", caller.Lease.Uses, left, caller.UsedUp(), caller.Policies)
		}
	}
	if w.valid(made.Token.Reveal()) {
		t.Fatal("a fourth request was let in")
	}
	l := w.row(made.Accessor)
	if l.State != lease.Revoking || l.Revocation.Reason != lease.ReasonUsedUp || l.Revocation.By.Name != made.Accessor || l.Version != 4 {
		t.Fatalf("its lease is %s at version %d: %+v", l.State, l.Version, l.Revocation)
	}
	if used, ended := w.events(event.TokenUsed), w.events(event.TokenRevoking); used != 2 || ended != 1 {
		t.Fatalf("%d events of uses, %d of the end", used, ended)
	}
}

// Being looked at by others takes no use; being refused does not either.
func TestLookingAtATokenIsNoUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.token(map[string]any{"num_uses": "1", "policies": "a", "ttl": "1h"})
	w.do(w.reg.LookupAccessor, map[string]any{"accessor": made.Accessor})
	w.do(w.reg.RenewAccessor, map[string]any{"accessor": made.Accessor})
	if got := w.do(w.reg.Lookup, map[string]any{"token": made.Token.Reveal()}).Data["num_uses"]; got != 1 {
		t.Fatalf("num_uses is %v", got)
	}
	a, err := w.as(made.Token.Reveal(), w.reg.LookupSelf, nil)
	must(t, err)
	if a.Data["id"] != made.Token.Reveal() || a.Data["num_uses"] != 0 {
		t.Fatalf("its last use shows %v", a.Data)
	}
}

// Of a thousand simultaneous requests with a token of one use exactly one is
// served, also by several processes.
func TestOneUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.token(map[string]any{"num_uses": "1", "policies": "a"})
	other := w.registry("first")
	const clients = 1000
	var served atomic.Int64
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	for i := range clients {
		g := w.reg
		if i%2 == 0 {
			g = other
		}
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-start
			_, _, err := g.Authenticate(t.Context(), made.Token, here, "id")
			switch {
			case err == nil:
				served.Add(1)
			case status(err) != 403:
				t.Error(err)
			}
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
	if n := served.Load(); n != 1 {
		t.Fatalf("%d of %d requests were served", n, clients)
	}
}

// Each call to the store fails once, in both ways (A6): a request is served only
// if its use is known to be taken, and never more than were granted.
func TestUsesWhenTheStoreFails(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Get", "Now", "Apply"} {
		for nth := 1; nth <= 4; nth++ {
			for _, done := range []bool{false, true} {
				w := newWorld(t)
				made := w.token(map[string]any{"num_uses": "2", "policies": "a", "ttl": "1h"})
				w.store.Break(storetest.Fault{Method: method, Nth: nth, Done: done})
				served, failed := 0, 0
				for range 5 {
					_, _, err := w.reg.Authenticate(t.Context(), secret.New(made.Token.Reveal()), here, "id")
					switch {
					case err == nil:
						served++
					case status(err) != 403:
						failed++
					}
				}
				want := 2
				if failed == 1 && method == "Apply" && done {
					want = 1 // it was taken, and nobody knew
				}
				if served != want || failed > 1 {
					t.Errorf("%s %d done=%t: %d of 2 were served, %d failed", method, nth, done, served, failed)
				}
				if w.valid(made.Token.Reveal()) {
					t.Errorf("%s %d done=%t: a use is left", method, nth, done)
				}
			}
		}
	}
}

// A token of limited uses cannot make others, which had none; nor can one on
// its last use.
func TestRestrictedTokensMakeNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.token(map[string]any{"num_uses": "4", "ttl": "1h"}) // may do everything
	for range 2 {
		for _, h := range []handler{w.reg.Create, w.reg.CreateOrphan} {
			_, err := w.as(made.Token.Reveal(), h, map[string]any{"no_parent": true})
			refused(t, "create", err, 400, "restricted use token cannot generate child tokens")
		}
	}
	if n := len(w.live()); n != 0 {
		t.Fatalf("%d tokens were made", n)
	}
}

// A limit on uses does not take the others away.
func TestUsesEndBeforeTheTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.token(map[string]any{"num_uses": "9", "policies": "a", "ttl": "1h"})
	w.clock.Advance(time.Hour)
	if w.valid(made.Token.Reveal()) {
		t.Fatal("an expired token was let in")
	}
	if l := w.row(made.Accessor); l.Uses != 9 {
		t.Fatalf("%d uses are left", l.Uses)
	}
}
