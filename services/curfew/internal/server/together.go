package server

import (
	"context"
	"sync/atomic"

	"github.com/curfew-project/curfew/revoker"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/sqlite"
)

// together is the store of roles that share a process: what one of them commits
// about a lease, the others are told at once. These are hints (D1, D2): the event of
// each commit comes by the stream, too, a little later, and the store decides.
type together struct {
	*sqlite.Store
	revoker atomic.Pointer[revoker.Revoker]
	// told hears of each lease as it was committed.
	told func(*lease.Lease)
}

// Apply implements [store.Leases].
func (t *together) Apply(ctx context.Context, items ...store.Transition) []store.Outcome {
	out := t.Store.Apply(ctx, items...)
	for i := range out {
		if out[i].Err != nil {
			continue
		}
		l := &out[i].Lease
		t.told(l)
		switch items[i].Change.Do.(type) {
		case lease.Revoke, lease.Retry:
			if r := t.revoker.Load(); r != nil {
				r.Hint(ctx, l)
			}
		}
	}
	return out
}
