// Package withdraw lists what a withdrawal takes and puts it into revoking (A3).
//
// What holds: the caller has committed its mark (a token in revoking, a mount
// being disabled, a barrier) before the listing begins, so that an intent which
// the listing misses meets the mark at its activation; calling again after any
// failure is harmless.
package withdraw

import (
	"context"
	"errors"
	"fmt"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

const page = 500

// All puts every live lease that q selects into revoking. One that the
// store refuses keeps it from none of the others.
func All(ctx context.Context, s store.Leases, q store.Query, by lease.Actor, reason string) error {
	q.States, q.Limit = []lease.State{lease.Intent, lease.Active}, page
	var refused error
	for {
		found, err := s.Find(ctx, q)
		if err != nil {
			return errors.Join(refused, fmt.Errorf("list leases to revoke: %w", err))
		}
		items := make([]store.Transition, len(found))
		for i, l := range found {
			items[i].Change = lease.Change{
				ID: l.ID, Version: lease.AnyVersion, Key: lease.RandomBase62(16), By: by, Reason: reason, Do: lease.Revoke{},
			}
		}
		for _, o := range s.Apply(ctx, items...) {
			if o.Err != nil && !errors.Is(o.Err, lease.ErrOver) && refused == nil {
				refused = fmt.Errorf("revoke listed leases: %w", o.Err)
			}
		}
		if len(found) < page {
			return refused
		}
		q.After = found[len(found)-1].ID
	}
}
