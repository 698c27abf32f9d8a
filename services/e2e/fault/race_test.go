//go:build e2e

package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/services/internal/faults"
	"github.com/curfew-project/curfew/shared/testkit"
)

const (
	// allRaces is how often each is run where everything is asked for.
	allRaces = 100
	// racers are clients that do the same thing at the same time.
	racers = 4
	// racingTTL is that of what runs out in a race.
	racingTTL = 2 * time.Second
)

// race is one that is run again and again.
type race struct {
	name string
	few  int // rounds where not everything is asked for; 0: none
	// together is how many rounds are run at a time, and between two checks.
	together, between int
	alone             bool // no load beside it
	distributed       bool // there must be two of a kind
	prepare           func(*racing)
	run               func(*racing)     // a round
	whole             func(*racing) int // several rounds that are one: how many
}

func races() []race {
	return []race{
		{name: "renew against expire", few: 8, together: 8, between: 25, run: (*racing).renewAtTheEnd},
		{name: "revoke against renew", few: 6, together: 3, between: 25, run: (*racing).revokeAgainstRenew},
		{name: "revoke-prefix against issue", together: 5, between: 20, run: (*racing).prefixAgainstIssue},
		{name: "token revoked against issue", together: 4, between: 20, run: (*racing).tokenAgainstIssue},
		{name: "unwrap against the end", few: 8, together: 8, between: 25, run: (*racing).unwrapAtTheEnd},
		{name: "two revokers, one claim", together: 1, between: 5, alone: true, distributed: true, run: (*racing).lapsed},
		{name: "creation beyond its grace", between: 1, alone: true, whole: (*racing).lateCreations},
		{name: "rotate-root killed in between", together: 1, between: 10, prepare: (*racing).rotationSteps, run: (*racing).rotation},
	}
}

// racing is a race that is being run: what its rounds share.
type racing struct {
	*testing.T
	*world
	ctx     context.Context
	network *network

	mu    sync.Mutex
	round int            // of those that were begun
	done  map[string]int // what came of the rounds
	late  []string       // works though its end was answered
	steps []string       // points of a rotation
}

// TestRaces lets clients do what does not go together at the same time, many at a
// time and again and again, and looks who won.
func TestRaces(t *testing.T) {
	w := open(t)
	w.prepareRaces(t)
	n := &network{tb: t, links: map[string][]*testkit.Proxy{}}
	if full() && distributed() {
		n.lay(t, w)
	}
	for _, x := range races() {
		t.Run(x.name, func(t *testing.T) {
			if x.distributed && !distributed() {
				t.Skip("there is one of a kind: " + formVariable + "=distributed")
			}
			all := rounds(t, allRaces, x.few)
			if !full() && x.few == 0 {
				t.Skip("it takes minutes: " + fullVariable + "=1")
			}
			w.race(t, x, n, all)
		})
	}
}

// prepareRaces writes what races need.
func (w *world) prepareRaces(t *testing.T) {
	t.Helper()
	racing := role(fmt.Sprint(racingTTL))
	granted := role(longTTL)
	granted["creation_statements"] = creation + ` GRANT SELECT ON items TO "{{name}}";`
	c := w.client(t)
	for path, data := range map[string]map[string]any{
		"database/roles/racing": racing, "database/roles/granted": granted, "database/roles/wrapped": role(longTTL),
		"sys/policies/acl/racing": {"policy": `path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }`},
	} {
		_, err := c.Logical().Write(path, data)
		must(t, err, "write "+path)
	}
}

// race runs one race and adds its row.
func (w *world) race(t *testing.T, x race, n *network, all int) {
	t.Helper()
	row, before := faults.Row{Fault: "race: " + x.name + ", " + w.form.name()}, w.record.count()
	r := &racing{T: t, world: w, network: n, ctx: context.WithoutCancel(t.Context()), done: map[string]int{}}
	if x.prepare != nil {
		x.prepare(r)
	}
	for row.Rounds < all {
		end := func() {}
		if !x.alone {
			end = w.load(t, 2).end
		}
		began := row.Rounds
		for row.Rounds < all && row.Rounds-began < x.between {
			r.round++
			row.Rounds += x.batch(r, min(x.together, all-row.Rounds))
		}
		end()
		w.settle(t, &row, w.again(t))
		w.fences(t, &row)
		for _, text := range r.late {
			row.Strays++
			t.Error(text)
		}
		r.late = nil
		w.letGo()
	}
	t.Logf("what came of it: %s", text(r.done))
	w.enter(t, row, before)
}

// batch runs some rounds at the same time and says how many.
func (x *race) batch(r *racing, n int) int {
	if x.whole != nil {
		return x.whole(r)
	}
	if n == 1 {
		x.run(r) // on the goroutine of the test, which it may end
		return 1
	}
	var lanes sync.WaitGroup
	for range n {
		lanes.Go(func() { x.run(r) })
	}
	lanes.Wait()
	return n
}

// count counts what came of a round.
func (r *racing) count(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done[what]++
}

// outlived notes what works though its end was answered.
func (r *racing) outlived(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late = append(r.late, fmt.Sprintf(format, args...))
}

// works notes where a credential does not, though it must.
func (r *racing) works(cred credential, after string) {
	if err := r.target.login(r.ctx, cred.user, cred.password); err != nil {
		r.book.note(func() {
			r.book.early = append(r.book.early, fmt.Sprintf("%s does not work after %s: %v", cred.lease, after, err))
		})
	}
}

// fences: VALID UNTIL of what is held is never before the lease's end (B9).
func (w *world) fences(t *testing.T, row *faults.Row) {
	t.Helper()
	c := w.client(t)
	until := map[string]time.Time{}
	rows, err := w.target.super.Query(t.Context(), "SELECT rolname, rolvaliduntil FROM pg_roles WHERE starts_with(rolname, $1) AND isfinite(rolvaliduntil)", marked)
	must(t, err, "list accounts")
	var name string
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&name, &at}, func() error { until[name] = at; return nil })
	must(t, err, "list accounts")
	for _, cred := range w.book.holds() {
		ends, err := expiry(t.Context(), c, cred)
		if err != nil {
			t.Errorf("look up %s, which is held: %v", cred.lease, err)
			continue
		}
		const rounding = time.Second // to whole seconds
		if at := until[cred.user]; at.Before(ends.Add(margin - rounding)) {
			row.Early++
			t.Errorf("%s ends at %v, and the target closes its login at %v", cred.lease, ends, at)
		}
	}
}

// expiry is when a lease ends; an error where it is not active.
func expiry(ctx context.Context, c *vault.Client, cred credential) (at time.Time, err error) {
	s, err := c.Logical().WriteWithContext(ctx, "sys/leases/lookup", map[string]any{"lease_id": cred.lease})
	if err != nil {
		return at, err
	}
	return time.Parse(time.RFC3339Nano, fmt.Sprint(s.Data["expire_time"]))
}

// letGo gives everything back that is held.
func (w *world) letGo() {
	for _, cred := range w.book.holds() {
		w.book.asks(cred)
	}
}

// told reports whether a client was told that there is no such lease, token
// or wrapped answer any more.
func told(err error) bool {
	var answer *vault.ResponseError
	return errors.As(err, &answer) && (answer.StatusCode == http.StatusBadRequest || answer.StatusCode == http.StatusForbidden)
}

// at waits until an instant, which no test depends on.
func at(instant time.Time) { time.Sleep(time.Until(instant)) }

// about is an instant near another one.
func about(instant time.Time, within time.Duration) time.Time {
	return instant.Add(rand.N(2*within) - within)
}

// each runs the same at the same time by several clients.
func (r *racing) each(n int, do func(i int, c *vault.Client)) {
	var all sync.WaitGroup
	for i := range n {
		c := r.client(r)
		all.Go(func() { do(i, c) })
	}
	all.Wait()
}

// renewAtTheEnd: several clients renew a lease about when it ends, most for an
// hour and some for no longer than it had. Whoever is told that it was renewed
// holds a credential that works until then; it never ends before its time, and
// VALID UNTIL is never before it (B8, B9, A5).
func (r *racing) renewAtTheEnd() {
	began := time.Now()
	cred, err := r.issue(r.ctx, r.client(r), "database/creds/racing")
	if err != nil {
		return
	}
	end := began.Add(racingTTL)
	r.book.ends(cred) // by itself, unless somebody is faster
	shortens := rand.IntN(3) == 0
	var mu sync.Mutex
	var renewed, unclearly int
	r.each(racers, func(i int, c *vault.Client) {
		at(about(end, 150*time.Millisecond))
		increment := 3600
		if shortens && i == 0 {
			increment = int(racingTTL.Seconds())
		}
		_, err := c.Sys().RenewWithContext(r.ctx, cred.lease, increment)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			renewed++
		case !told(err):
			unclearly++
		}
	})
	ends, err := expiry(r.ctx, r.client(r), cred)
	switch lives := err == nil && time.Until(ends) > time.Minute; {
	case lives && renewed+unclearly > 0:
		r.count("renewed")
		r.book.note(func() { delete(r.book.ended, cred.user); r.book.held[cred.user] = cred })
		r.works(cred, "it was renewed")
	case renewed > 0 && !shortens && told(err):
		r.count("renewed")
		r.book.note(func() {
			r.book.early = append(r.book.early, cred.lease+" was renewed for an hour and is not active: "+err.Error())
		})
	case renewed > 0:
		r.count("renewed for a moment")
	default:
		r.count("expired")
	}
}

// revokeAgainstRenew: several clients revoke a lease and others renew it. It is
// gone when a revocation was answered, and cannot be renewed any more.
func (r *racing) revokeAgainstRenew() {
	cred, err := r.issue(r.ctx, r.client(r), "database/creds/app")
	if err != nil {
		return
	}
	r.book.asks(cred)
	var mu sync.Mutex
	var revoked, renewed int
	r.each(2*racers, func(i int, c *vault.Client) {
		at(time.Now().Add(rand.N(60 * time.Millisecond)))
		if i >= 2 {
			_, err := c.Sys().RenewWithContext(r.ctx, cred.lease, 3600+i)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				renewed++
			}
			return
		}
		if err := revoke(r.ctx, c, cred, true); err != nil {
			return
		}
		if err := r.target.login(r.ctx, cred.user, cred.password); err == nil {
			r.outlived("%s works after its revocation was answered", cred.lease)
		}
		if _, err := c.Sys().RenewWithContext(r.ctx, cred.lease, 3600); err == nil {
			r.outlived("%s was renewed after its revocation was answered", cred.lease)
		}
		mu.Lock()
		defer mu.Unlock()
		revoked++
	})
	if revoked > 0 {
		r.book.ends(cred)
		r.count("revoked")
	}
	if renewed > 0 {
		r.count("renewed first")
	}
}

// unwrapAtTheEnd: several clients open a wrapped answer about when it ends, or is
// revoked. One of them at most is given what is inside; where none is, it ends
// (A9).
func (r *racing) unwrapAtTheEnd() {
	s := &teller{TB: r, w: r.world, c: r.client(r), ctx: r.ctx}
	wrap := s.wrappedAt("database/creds/wrapped", fmt.Sprint(racingTTL))
	if wrap == nil {
		return
	}
	end, revokes := wrap.CreationTime.Add(racingTTL), rand.IntN(3) == 0
	if revokes {
		end = time.Now().Add(50 * time.Millisecond)
	}
	end = about(end, 30*time.Millisecond) // or nobody would ever be too late
	var mu sync.Mutex
	var opened []credential
	var unclearly int
	r.each(2*racers, func(i int, c *vault.Client) {
		if revokes && i == 0 {
			at(about(end, 5*time.Millisecond))
			_, _ = c.Logical().WriteWithContext(r.ctx, "auth/token/revoke-accessor", map[string]any{"accessor": wrap.Accessor})
			return
		}
		at(about(end, 5*time.Millisecond))
		a, err := c.Logical().WriteWithContext(r.ctx, "sys/wrapping/unwrap", map[string]any{"token": wrap.Token})
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil && a != nil:
			opened = append(opened, credential{a.LeaseID, fmt.Sprint(a.Data["username"]), fmt.Sprint(a.Data["password"])})
		case !told(err):
			unclearly++
		}
	})
	switch {
	case len(opened) > 1:
		r.book.hold(opened[0])
		r.outlived("%s was given to %d clients", opened[0].lease, len(opened))
	case len(opened) == 1:
		r.book.hold(opened[0])
		r.works(opened[0], "it was unwrapped")
		r.count("unwrapped")
	case unclearly > 0:
		r.book.note(func() { r.book.unanswered++ })
		r.count("unclear")
	default:
		r.count("ended") // the check looks for what nobody holds
	}
}
