package issuing

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Overdue finds the leases that nobody has looked at in time.
type Overdue interface {
	Due(ctx context.Context, until time.Time, after store.Cursor, limit int) ([]store.Due, error)
	Now(ctx context.Context) (time.Time, error)
}

// A target that is behind has many such leases: a few thousand of them tell of
// every target that is behind by much.
const (
	overduePage  = 1000
	overduePages = 5
)

// checkLag refuses issuing on targets where revocation is behind by more than its
// limit (protocol, section E): what is issued there would be taken away late
// too. Only leases whose turn has passed count. One whose revocation fails and
// waits for its next try is late by its target's fault or by its own, and is
// shown as such.
func (d *Desk) checkLag(ctx context.Context, target string) error {
	behind, err := d.behind.get(ctx)
	if err != nil {
		return fmt.Errorf("look for overdue leases: %w", err)
	}
	if slices.Contains(behind, target) {
		return wire.Unavailable(nil, "revocation on this connection is more than %s behind: issuing there is stopped until it catches up", d.cfg.MaxLag)
	}
	return nil
}

// findBehind lists the targets where leases have been overdue for longer than
// the limit.
func (d *Desk) findBehind(ctx context.Context) (behind []string, err error) {
	now, err := d.store.Now(ctx)
	if err != nil {
		return nil, err
	}
	var after store.Cursor
	for range overduePages {
		page, err := d.store.Due(ctx, now.Add(-d.cfg.MaxLag), after, overduePage)
		if err != nil {
			return nil, err
		}
		for _, o := range page {
			if o.Kind != lease.Token && !slices.Contains(behind, o.Target) {
				behind = append(behind, o.Target)
			}
		}
		if len(page) < overduePage {
			break
		}
		last := page[len(page)-1]
		after = store.Cursor{At: last.At, ID: last.ID}
	}
	return behind, nil
}
