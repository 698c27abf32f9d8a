//go:build fault

package issuer_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// held is a credential that a client was given and that was not taken away.
type held struct {
	leaseID, username, password string
	// maybe: taking it away was answered with an error, which may mean "done".
	maybe bool
}

// story does everything once that a client does, and goes on whatever it is
// answered. It returns what the client holds in the end.
func story(w *world) []held {
	var mine []held
	issue := func(token string) *held {
		r := w.as(token, "GET", "database/creds/readonly", "")
		if r.code != 200 {
			return nil
		}
		e := r.envelope(w.t)
		mine = append(mine, held{
			leaseID: e.LeaseID, username: e.Data["username"].(string), password: e.Data["password"].(string),
		})
		return &mine[len(mine)-1]
	}
	// gone is said of the last credential, with the answer to its revocation.
	gone := func(r response) {
		last := len(mine) - 1
		if mine[last].maybe = r.code >= 300; !mine[last].maybe {
			mine = mine[:last]
		}
	}
	issue(w.root)
	if h := issue(w.root); h != nil {
		w.do("PUT", "sys/leases/renew", `{"lease_id":"`+h.leaseID+`","increment":7200}`)
		w.do("PUT", "sys/leases/renew", `{"lease_id":"`+h.leaseID+`","increment":600}`)
		w.do("PUT", "sys/leases/lookup", `{"lease_id":"`+h.leaseID+`"}`)
	}
	if h := issue(w.root); h != nil {
		gone(w.do("PUT", "sys/leases/revoke/"+h.leaseID, `{"sync":false}`))
	}
	if r := w.do("POST", "auth/token/create", `{"ttl":"1h","policies":["a"]}`); r.code == 200 {
		child := r.envelope(w.t).Auth.ClientToken
		h := issue(child)
		w.as(child, "PUT", "auth/token/renew-self", "")
		if h != nil {
			gone(w.do("PUT", "auth/token/revoke", `{"token":"`+child+`"}`))
		}
	}
	if h := unwrapped(w); h != nil {
		mine = append(mine, *h)
	}
	if r := w.wrapped(w.root, "GET", "database/creds/readonly", "", "1h"); r.code == 200 { // nobody opens it
		e := r.envelope(w.t)
		again(func() bool {
			return w.do("PUT", "auth/token/revoke-accessor", `{"accessor":"`+e.WrapInfo.Accessor+`"}`).code < 300
		})
	}
	if w.do("POST", "sys/mounts/db2", `{"type":"database"}`).code == 204 {
		w.do("PUT", "db2/config/x", `{"a":"b"}`)
		w.do("DELETE", "sys/mounts/db2", "")
	}
	w.do("GET", "sys/mounts", "")
	w.do("LIST", "sys/leases/lookup/database/creds/readonly", "")
	w.do("PUT", "sys/leases/revoke-prefix/nothing/here", `{"sync":true}`)
	return mine
}

// unwrapped is a credential that came in a wrapping token; whoever does not get
// it gives the token up.
func unwrapped(w *world) *held {
	r := w.wrapped(w.root, "GET", "database/creds/readonly", "", "1h")
	if r.code != 200 {
		return nil
	}
	wrap := r.envelope(w.t).WrapInfo
	token := wrap.Token
	again(func() bool {
		if r = w.as(token, "PUT", "sys/wrapping/rewrap", ""); r.code == 200 {
			token = r.envelope(w.t).WrapInfo.Token
		}
		return r.code == 200
	})
	if !again(func() bool { r = w.as(token, "PUT", "sys/wrapping/unwrap", ""); return r.code == 200 }) {
		again(func() bool {
			return w.do("PUT", "auth/token/revoke-accessor", `{"accessor":"`+wrap.Accessor+`"}`).code < 300
		})
		return nil
	}
	e := r.envelope(w.t)
	return &held{leaseID: e.LeaseID, username: e.Data["username"].(string), password: e.Data["password"].(string)}
}

// again tries as stock clients do.
func again(try func() bool) bool {
	for range 3 {
		if try() {
			return true
		}
	}
	return false
}

// check verifies the promises after the story, once the faults are healed and
// the pipeline has had its turn.
func check(w *world, mine []held) error {
	w.store.Break()
	ctx := w.t.Context()
	w.clock.Advance(time.Minute) // past every creation's grace, before any expiry of the story
	for range 10 {
		w.work(ctx)
	}
	owned := map[string]bool{}
	for _, h := range mine {
		owned[h.username] = true
		if h.maybe {
			continue
		}
		// Nothing that a client holds is revoked early.
		if l := w.lease(h.leaseID); l.State != lease.Active {
			return fmt.Errorf("%s was answered and is %s: %s", h.leaseID, l.State, l.Revocation.Reason)
		}
		if err := w.probe.Login(ctx, h.username, h.password); err != nil {
			return fmt.Errorf("%s was answered: %w", h.leaseID, err)
		}
	}
	// No credential without a lease, and none that nobody holds.
	accounts := map[string]lease.State{}
	for _, l := range w.leases() {
		accounts[l.Account] = l.State
		if l.State == lease.Active && !owned[l.Account] {
			return fmt.Errorf("%s is active and nobody holds it", l.ID)
		}
		if l.State == lease.Active {
			// B8, B9: the target is never ahead of the store.
			until, err := w.probe.Expiry(ctx, l.Account)
			if err != nil {
				return err
			}
			if until.Before(l.ExpiresAt) {
				return fmt.Errorf("%s: target until %s, store until %s", l.ID, until, l.ExpiresAt)
			}
		}
	}
	for _, name := range w.probe.Names() {
		if accounts[name] != lease.Active { // the pipeline has ended all others
			return fmt.Errorf("account %s is in the target, its lease is %q", name, accounts[name])
		}
	}
	return recorded(w)
}

// recorded verifies that every credential's request is on record.
func recorded(w *world) error {
	served := map[string]bool{}
	for _, e := range w.events(event.RequestServed, event.RequestDenied) {
		served[e.Data.Actor.RequestID] = true
	}
	for _, l := range w.leases(lease.Active) {
		if !served[l.IssuedBy.RequestID] {
			return fmt.Errorf("%s was issued without its request on record", l.ID)
		}
	}
	return nil
}

// errors are the lines above information.
func (l *logs) errors() string {
	var out []string
	for line := range strings.Lines(l.String()) {
		if !strings.Contains(line, `"level":"info"`) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

var storeMethods = []string{"Apply", "Get", "Find", "Now", "Entry", "List", "Write", "Append", "Raise", "Backlog", "Due", "Children"}

// Each call to the store fails once, in both ways (A6): not done; done, with
// its answer lost.
func TestEachStoreCallFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.store.Break()
	if err := check(w, story(w)); err != nil {
		t.Fatalf("without any fault: %v", err)
	}
	w = newWorld(t)
	w.store.Break()
	story(w)
	for _, method := range storeMethods {
		calls := w.store.Calls(method)
		if calls == 0 {
			t.Errorf("the story never calls %s", method)
		}
		for nth := 1; nth <= calls; nth++ {
			for _, done := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %d done=%t", method, nth, done), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					w.store.Break(storetest.Fault{Method: method, Nth: nth, Done: done})
					if err := check(w, story(w)); err != nil {
						t.Fatalf("%v\n%s", err, w.logs.errors())
					}
				})
			}
		}
	}
}

// Each call to the target fails once, in both ways.
func TestEachEngineCallFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	story(w)
	for _, method := range []enginetest.Method{
		enginetest.MethodPlan, enginetest.MethodCreate, enginetest.MethodRenew, enginetest.MethodHandle,
	} {
		for nth := 1; nth <= w.engine.Calls(method); nth++ {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %d after=%t", method, nth, after), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					pass := make(chan struct{})
					close(pass)
					for range nth - 1 { // faults that only pass: the nth is the one
						w.engine.Inject(enginetest.Fault{Method: method, Wait: pass, Times: 1})
					}
					w.engine.Inject(enginetest.Fault{Method: method, After: after, Times: 1})
					if err := check(w, story(w)); err != nil {
						t.Fatalf("%v\n%s", err, w.logs.errors())
					}
				})
			}
		}
	}
}

// The store goes away in the middle and stays away: what is left is what the
// sweeps find, and no account is without its lease.
func TestStoreStaysAway(t *testing.T) {
	t.Parallel()
	for nth := 1; nth <= 12; nth++ {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("from Apply %d done=%t", nth, done), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				faults := make([]storetest.Fault, 0, 40)
				for n := nth; n < nth+40; n++ {
					faults = append(faults, storetest.Fault{Method: "Apply", Nth: n, Done: done})
				}
				w.store.Break(faults...)
				story(w)
				w.store.Break()
				// Whatever nobody holds ends at the latest at its expiry.
				w.clock.Advance(25 * time.Hour)
				for range 10 {
					w.work(t.Context())
				}
				if names := w.probe.Names(); len(names) != 0 {
					t.Fatalf("accounts are left: %s\n%s", strings.Join(names, " "), w.logs.errors())
				}
			})
		}
	}
}

// The checker is worth something: it finds what it is there to find.
func TestCheckerFinds(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(w *world, mine []held) []held{
		"an account without a lease": func(w *world, m []held) []held { _, _ = w.probe.Add("v-stray", true); return m },
		"a lease that nobody holds":  func(_ *world, m []held) []held { return m[1:] },
		"an early revocation": func(w *world, m []held) []held {
			w.do("PUT", "sys/leases/revoke/"+m[0].leaseID, `{"sync":false}`)
			return m
		},
	} {
		w := newWorld(t)
		if check(w, spoil(w, story(w))) == nil {
			t.Errorf("%s is not found", name)
		}
	}
}
