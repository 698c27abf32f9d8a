//go:build e2e

package fault

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/faults"
	"github.com/curfew-project/curfew/shared/testkit/crashpoint"
)

const (
	// copyEvery is how many plans of a recovery begin at the same copy of the store.
	copyEvery = 6
	// fewRecoveries are killed where not all are asked for.
	fewRecoveries = 3
)

// TestRecoveryCrashPoints puts an older copy of the store back, again and again,
// and kills the recovery that follows before and after each of its outbound calls,
// and takes the answer of each away (A7). What was issued, prolonged or revoked
// since the copy was made is on record, and comes back each time.
func TestRecoveryCrashPoints(t *testing.T) {
	if distributed() {
		t.Skip("a standby is promoted once: TestStoreFailover")
	}
	w := open(t)
	s, ok := w.form.(*single)
	if !ok {
		t.Fatal("this is not the form of one machine")
	}
	w.record.rewound = true
	row := faults.Row{Fault: "store: recovery killed, " + s.name()}
	found := map[string][]string{}
	const usual = "a recovery"
	w.rewind(t, s, &row, func(back func(crashpoint.Plan) bool) {
		must(t, w.control.Forget(), "forget the hits")
		back(crashpoint.Plan{Point: "none", Mode: crashpoint.Before})
		for _, h := range w.hits(t) {
			if _, recovers := inRecovery()[crashpoint.Name(h)]; recovers {
				found[h] = []string{usual}
			}
		}
	})
	plans := w.plans(found)
	t.Logf("%d points came about in a recovery; %d plans", len(found), len(plans))
	if !full() {
		w.chance.Shuffle(len(plans), func(i, j int) { plans[i], plans[j] = plans[j], plans[i] })
		plans = plans[:min(fewRecoveries, len(plans))]
	}
	for batch := range slices.Chunk(plans, copyEvery) {
		w.rewind(t, s, &row, func(back func(crashpoint.Plan) bool) {
			for _, p := range batch {
				began := time.Now()
				if !back(p) {
					t.Errorf("%s: nobody came by", p)
					continue
				}
				row.Rounds++
				t.Logf("%s: %v", p, time.Since(began).Round(time.Millisecond))
			}
		})
	}
	if full() {
		missing := inRecovery()
		for h := range found {
			delete(missing, crashpoint.Name(h))
		}
		for _, name := range slices.Sorted(maps.Keys(missing)) {
			t.Errorf("never hit: %s", name)
		}
	}
	w.close(t, &row)
}

// rewind copies the store, lets clients go on, and then plays with a function that
// puts the copy back, starts the server with a plan armed, starts it again where
// that killed it, and waits for the recovery; it reports whether the plan was taken.
// Then everything is checked.
func (w *world) rewind(t *testing.T, s *single, row *faults.Row, play func(back func(crashpoint.Plan) bool)) {
	t.Helper()
	lives := func() {
		l := w.load(t, loadClients)
		l.serve(t, 60)
		l.end()
		w.settle(t, row, time.Now()) // nothing is known to the store alone
	}
	// How to renew a lease that came back is on no record: the clients begin anew.
	c := w.client(t)
	for _, cred := range w.book.holds() {
		w.book.asks(cred)
		must(t, revoke(t.Context(), c, cred, false), "revoke")
		w.book.ends(cred)
	}
	lives()
	store, older := filepath.Join(s.dir, "store"), filepath.Join(t.TempDir(), "store")
	l := w.load(t, loadClients)
	l.serve(t, 20)
	s.kill(t) // amid creations and revocations
	must(t, os.CopyFS(older, os.DirFS(store)), "copy the store")
	up := w.again(t)
	l.end()
	w.settle(t, row, up)
	had := w.book.holds()
	for i, cred := range had[:len(had)/2] {
		w.book.asks(cred)
		must(t, revoke(t.Context(), c, cred, i%2 == 0), "revoke")
		w.book.ends(cred)
	}
	for _, cred := range had[len(had)/2:] {
		_, err := c.Sys().Renew(cred.lease, longIncrement)
		must(t, err, "renew")
	}
	lives()
	before := len(w.installation(t).Recoveries)
	play(func(p crashpoint.Plan) bool {
		s.kill(t)
		must(t, os.RemoveAll(store), "remove the store")
		must(t, os.CopyFS(store, os.DirFS(older)), "put the copy back")
		must(t, w.control.Arm(p), "arm "+p.String())
		up = w.again(t)
		w.insist(t, "recover", func() error {
			in, err := w.look(t)
			if err == nil && (in.Suspended || len(in.Recoveries) <= before) {
				err = fmt.Errorf("it has not: %+v", in)
			}
			return err
		})
		// A sweep takes nothing away until a person has looked; then all that has
		// no lease, so that what did not come back shows.
		w.insist(t, "confirm the installation", func() error {
			_, err := w.client(t).Logical().Write("sys/installation/confirm", nil)
			return err
		})
		fired := soon(2*time.Second, func() bool { return len(w.fired(t)) > 0 })
		must(t, w.control.Disarm(), "disarm")
		up = w.again(t)
		return fired
	})
	w.settle(t, row, up)
}
