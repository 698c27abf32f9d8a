//go:build e2e

package fault

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/testkit"
)

const (
	// creations are begun at the same time, and paused together.
	creations = 8
	// graceEnds is later than any creation may take: its intent is rolled back.
	graceEnds = 12 * time.Second
	// lateBy is when a message arrives that was on its way since before that. A
	// rollback has ended by then.
	lateBy = 25 * time.Second
)

// lateCreations: creations are paused beyond their grace, in the process, in the
// target or on their way, and then go on. None of their accounts stays, whatever
// the rollback found meanwhile (B1).
func (r *racing) lateCreations() int {
	pauses := []func(){
		func() { r.killed(0) }, func() { r.killed(graceEnds) }, func() { r.frozen(0) }, func() { r.frozen(graceEnds) }, r.backendsFrozen,
	}
	if distributed() {
		pauses = append(pauses, r.onTheirWay)
	}
	before := r.rolledBack()
	pauses[(r.round-1)%len(pauses)]()
	n := 0
	if !soon(cleanWithin, func() bool { n = r.rolledBack() - before; return n > 0 }) {
		r.Error("no creation was rolled back")
	}
	r.tally(map[string]int{"creations": creations, "rolled back": n})
	return creations
}

// begin asks for credentials whose creations wait in the target until release.
func (r *racing) begin() (release func(), answered *sync.WaitGroup) {
	r.Helper()
	release = r.lock("GRANT SELECT ON items TO PUBLIC") // the next grant on it waits
	answered = r.create("granted")
	if !soon(hang, func() bool { return r.open() >= creations && len(r.backends()) > 0 }) {
		r.Errorf("%d intents are open and %d statements wait in the target", r.open(), len(r.backends()))
	}
	return release, answered
}

// create asks for credentials at the same time.
func (r *racing) create(role string) *sync.WaitGroup {
	var answered sync.WaitGroup
	for range creations {
		c := r.client(r)
		c.SetClientTimeout(lateBy + hang) // who is frozen may answer yet
		answered.Go(func() {
			if cred, err := r.issue(r.ctx, c, "database/creds/"+role); err == nil {
				r.book.hold(cred)
			}
		})
	}
	return &answered
}

// issuers are the processes that create.
func (r *racing) issuers() (names []string) {
	for _, name := range r.form.ours() {
		if strings.HasPrefix(name, "issuer-") || name == "server" {
			names = append(names, name)
		}
	}
	return names
}

// killed: who creates is, and the target goes on after a while.
func (r *racing) killed(wait time.Duration) {
	release, answered := r.begin()
	defer release()
	r.form.kill(r, r.issuers()...)
	if wait == 0 {
		release()
	}
	r.again(r.T)
	time.Sleep(wait)
	release()
	answered.Wait()
	r.count(fmt.Sprintf("killed, the target goes on after %v", wait))
}

// frozen: who creates is, until the grace is over; the target goes on after a
// while.
func (r *racing) frozen(wait time.Duration) {
	release, answered := r.begin()
	defer release()
	var pids []int
	for _, name := range r.issuers() {
		pids = append(pids, r.pid(name))
	}
	thaw := r.freeze(pids...)
	defer thaw()
	if wait == 0 {
		release()
	}
	time.Sleep(graceEnds)
	release()
	thaw()
	answered.Wait()
	r.count(fmt.Sprintf("frozen, the target goes on after %v", wait))
}

// backendsFrozen: processes of the target that create are frozen, and go on when
// the grace is over.
func (r *racing) backendsFrozen() {
	release, answered := r.begin()
	defer release()
	var pids []int
	for _, pid := range r.backends() {
		// Not a process that only has that number here, as one of a container has.
		if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && strings.HasPrefix(string(text), "postgres: ") {
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		r.Error("no process of the target creates")
	}
	thaw := r.freeze(pids...)
	defer thaw()
	release()
	time.Sleep(graceEnds)
	thaw()
	answered.Wait()
	r.count("frozen in the target")
}

// onTheirWay: the target has them only when they were rolled back and who sent
// them has long given up. The fence is all that is left.
func (r *racing) onTheirWay() {
	fenced := func() int { return strings.Count(r.target.Log(r), "create deadline passed at") }
	before, rolledBack := fenced(), r.rolledBack()
	if _, err := r.issue(r.ctx, r.client(r), "database/creds/brief"); err != nil { // a connection is there
		r.Errorf("issue: %v", err)
	}
	link := r.network.of("issuer–target")
	defer link.each((*testkit.Proxy).Cure)
	link.each(func(p *testkit.Proxy) { p.Poison(testkit.ToServer, testkit.Toxic{Latency: lateBy}) })
	answered := r.create("app")
	if !soon(lateBy-time.Second, func() bool { return r.rolledBack() > rolledBack }) || fenced() > before {
		r.Error("no creation was rolled back before it arrived")
	}
	if !soon(hang, func() bool { return fenced() > before }) {
		r.Error("no creation arrived and was refused")
	}
	r.tally(map[string]int{"refused by the fence": fenced() - before})
	link.each((*testkit.Proxy).Cure)
	answered.Wait()
	r.count("late on their way")
}

// open is how many leases have but an intent, by the record.
func (r *racing) open() (n int) {
	if r.read(r, &finding{}) != nil {
		return 0
	}
	for _, h := range r.record.leases {
		if h.last().Data.Kind == "secret" && h.state() == "intent" {
			n++
		}
	}
	return n
}

// rolledBack is how many leases never became active, by the record.
func (r *racing) rolledBack() (n int) {
	must(r, r.read(r, &finding{}), "read the record")
	for _, h := range r.record.leases {
		if strings.HasSuffix(h.types(), " rolled_back") {
			n++
		}
	}
	return n
}

// backends are the processes of the target that wait for a lock.
func (r *racing) backends() (pids []int) {
	rows, err := r.target.super.Query(r.ctx,
		"SELECT pid FROM pg_stat_activity WHERE usename = $1 AND wait_event_type = 'Lock'", r.target.admin.User)
	must(r, err, "list what waits")
	var pid int
	_, err = pgx.ForEachRow(rows, []any{&pid}, func() error { pids = append(pids, pid); return nil })
	must(r, err, "list what waits")
	return pids
}
