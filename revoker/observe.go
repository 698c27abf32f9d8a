package revoker

import (
	"context"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Observer is told what operators want to see. Its methods are called by many
// goroutines and must not block.
type Observer interface {
	// Ended is told of each revocation that this process ended; the lease has
	// all its times.
	Ended(l *lease.Lease)
	// Failed is told of each attempt of this process that failed; the lease says
	// why, and whether it is parked.
	Failed(l *lease.Lease)
	// Compared is told what each look at index and store found; what was missing
	// was offered again. Processes that share an index find the same.
	Compared(d Drift)
	// Lapsed is told how many leases were in claims that ran out: whoever had them
	// died or was too slow.
	Lapsed(leases int)
	// Stray is told of each account without a lease that this process found and
	// put into revocation.
	Stray(t engine.Target)
	// Recounted is told of each comparison of the counts of living leases with the
	// leases, and for how many paths the count was wrong and is mended.
	Recounted(paths int)
	// RotationsDue is told at each look how many passwords of static roles should
	// have been rotated by now.
	RotationsDue(n int)
	// Rotated is told of each rotation of a static role that this process did, or
	// that failed with err.
	Rotated(r engine.Rotation, err error)
}

// Drift is what the index lacked of the leases that fall due next (D2).
type Drift struct {
	Known    bool // false: index or store did not answer, and nothing else is said
	Missing  int  // did not wait in the index at two looks in a row
	Compared int  // leases that the look covered
	Members  int  // of the whole index, due and in flight
}

// Revoking is d as a process says it to who asks how things stand; strays is how
// often it looks for accounts without a lease.
func (d Drift) Revoking(strays time.Duration) installation.Revoking {
	return installation.Revoking{Known: d.Known, Missing: d.Missing, Members: d.Members, StrayEvery: strays}
}

// Nop is an [Observer] that ignores everything.
type Nop struct{}

// Ended implements [Observer].
func (Nop) Ended(*lease.Lease) {}

// Failed implements [Observer].
func (Nop) Failed(*lease.Lease) {}

// Compared implements [Observer].
func (Nop) Compared(Drift) {}

// Lapsed implements [Observer].
func (Nop) Lapsed(int) {}

// Stray implements [Observer].
func (Nop) Stray(engine.Target) {}

// Recounted implements [Observer].
func (Nop) Recounted(int) {}

// RotationsDue implements [Observer].
func (Nop) RotationsDue(int) {}

// Rotated implements [Observer].
func (Nop) Rotated(engine.Rotation, error) {}

// watched is a store that tells an observer what the worker commits to it.
type watched struct {
	store.Leases
	observer Observer
}

// Apply implements [store.Leases].
func (w watched) Apply(ctx context.Context, items ...store.Transition) []store.Outcome {
	out := w.Leases.Apply(ctx, items...)
	for i := range out {
		if out[i].Err != nil {
			continue
		}
		switch do := items[i].Change.Do.(type) {
		case lease.Finish:
			w.observer.Ended(&out[i].Lease)
		case lease.Progress:
			if do.Failed {
				w.observer.Failed(&out[i].Lease)
			}
		}
	}
	return out
}
