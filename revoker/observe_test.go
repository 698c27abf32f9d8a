package revoker_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/curfew-project/curfew/revoker"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/expiry/memory"
	"github.com/curfew-project/curfew/shared/lease"
)

// notes are what an observer was told.
type notes struct {
	revoker.Nop
	mu     sync.Mutex
	ended  map[lease.ID][]lease.Lease
	failed map[lease.ID][]lease.Lease
	drifts []revoker.Drift
}

func newNotes() *notes {
	return &notes{ended: map[lease.ID][]lease.Lease{}, failed: map[lease.ID][]lease.Lease{}}
}

func (n *notes) Ended(l *lease.Lease) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended[l.ID] = append(n.ended[l.ID], *l)
}

func (n *notes) Failed(l *lease.Lease) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failed[l.ID] = append(n.failed[l.ID], *l)
}

func (n *notes) Compared(d revoker.Drift) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drifts = append(n.drifts, d)
}

func (n *notes) Rotated(engine.Rotation, error) {}

// drift is the last that was told, and how much was missing in all.
func (n *notes) drift() (last revoker.Drift, missing int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, d := range n.drifts {
		missing += d.Missing
		last = d
	}
	return last, missing
}

// An observer is told once of each lease that ended, with the times that tell
// how late it was, and of each attempt that failed; two revokers together are
// told as much as one.
func TestObserver(t *testing.T) {
	t.Parallel()
	bubble(t, "", func(w *world) {
		n := newNotes()
		for i := range 2 {
			cfg := alone()
			cfg.Name, cfg.Observer = fmt.Sprint("observed ", i), n
			defer w.start(cfg, memory.New())()
		}
		const all = 30
		leases := make([]lease.Lease, all)
		for i := range leases {
			leases[i] = w.issue("a", 5*time.Second, "")
		}
		bad := leases[7]
		heal := w.engine.Inject(enginetest.Fault{
			Method: enginetest.MethodRemove, Account: bad.Account,
			Err: &engine.Error{Kind: engine.Refused, Message: "must be owner of table items"},
		})
		time.Sleep(time.Hour)
		heal()
		for _, l := range leases {
			w.ended(w.wait(l.ID, 16*time.Minute))
		}
		attempts := w.lease(bad.ID).Revocation.Attempts
		n.mu.Lock()
		defer n.mu.Unlock()
		if len(n.ended) != all || len(n.failed) != 1 || len(n.failed[bad.ID]) != attempts || attempts < 4 {
			w.Errorf("told of %d ended and %d failed leases, %d of %d failed attempts", len(n.ended), len(n.failed), len(n.failed[bad.ID]), attempts)
		}
		for _, l := range leases {
			if len(n.ended[l.ID]) != 1 {
				w.Fatalf("told %d times of the end of a lease", len(n.ended[l.ID]))
			}
			r := n.ended[l.ID][0].Revocation
			if !r.DueAt.Equal(l.ExpiresAt) || r.DisabledAt.Before(r.DueAt) || r.DisabledAt.Sub(r.DueAt) > 2*time.Second || r.EndedAt.IsZero() {
				w.Fatalf("told of an end without its times: %+v", r)
			}
		}
		if f := n.failed[bad.ID]; f[0].Revocation.LastError == "" || !f[len(f)-1].Revocation.Parked {
			w.Errorf("told of a failure without its reason: %+v", f)
		}
	})
}

// D2: a revoker notices that its index lost all that it knew, and makes it good
// before anything is late.
func TestIndexForgets(t *testing.T) {
	t.Parallel()
	bubble(t, "", func(w *world) {
		n, x := newNotes(), memory.New()
		cfg := alone()
		cfg.Observer = n
		defer w.start(cfg, x)()
		leases := make([]lease.Lease, 500)
		for i := range leases {
			leases[i] = w.issue([]string{"a", "b"}[i%2], 40*time.Second, "")
		}
		settled := func() (all int) {
			t.Helper()
			time.Sleep(7 * time.Second) // all members are counted each five
			last, all := n.drift()
			if !last.Known || last.Missing != 0 || last.Members != 500 {
				w.Errorf("drift is %+v; want 0 of 500", last)
			}
			return all
		}
		before := settled()                                         // what was issued within the window, but for what the first run loaded
		for target := range map[string]bool{"a": true, "b": true} { // forget it all
			c, err := x.Claim(w.Context(), target, time.Now().Add(time.Hour), 500, time.Minute)
			if err != nil || len(c.Members) != 250 {
				w.Fatalf("claimed %d, %v", len(c.Members), err)
			}
			if err := x.Complete(w.Context(), c); err != nil {
				w.Fatal(err)
			}
		}
		if lost := settled() - before; lost != 500 {
			w.Errorf("%d leases were said to be missing, 500 were lost", lost)
		}
		for _, l := range leases {
			l = w.wait(l.ID, time.Minute)
			w.ended(l)
			if late := l.Revocation.DisabledAt.Sub(l.ExpiresAt); late > 300*time.Millisecond {
				w.Fatalf("disabled %s late: not by the index", late)
			}
		}
	})
}
