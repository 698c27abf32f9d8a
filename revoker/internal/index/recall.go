package index

import (
	"context"
	"fmt"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Recaller makes revocations of a target due at once.
type Recaller struct {
	store store.Leases
	time  *store.Estimate
	feed  *Feeder
}

// NewRecaller returns a recaller.
func NewRecaller(s store.Leases, t *store.Estimate, f *Feeder) *Recaller {
	return &Recaller{store: s, time: t, feed: f}
}

// Recall offers every open revocation of target as due now; those that need a
// person only if parked is set (C8).
func (r *Recaller) Recall(ctx context.Context, target string, parked bool) error {
	const page = 1000
	q := store.Query{Target: target, States: []lease.State{lease.Revoking}, Limit: page}
	for {
		now, err := r.time.Now(ctx)
		if err != nil {
			return err
		}
		found, err := r.store.Find(ctx, q)
		if err != nil {
			return fmt.Errorf("recall revocations: %w", err)
		}
		members := make([]expiry.Member, 0, len(found))
		for _, l := range found {
			if parked || !l.Revocation.Parked {
				members = append(members, expiry.Member{ID: l.ID, Target: l.Target, At: now})
			}
		}
		if err := r.feed.offer(ctx, members); err != nil {
			return err
		}
		if len(found) < page {
			return nil
		}
		q.After = found[len(found)-1].ID
	}
}
