package issuing

import (
	"context"
	"fmt"

	"github.com/curfew-project/curfew/issuer/internal/wire"
)

// Outbox counts the events that wait to be taken to the ledger.
type Outbox interface {
	Backlog(ctx context.Context) (int64, error)
}

// checkBacklog refuses issuing while too many events wait (D4).
func (d *Desk) checkBacklog(ctx context.Context) error {
	n, err := d.backlog.get(ctx)
	if err != nil {
		return fmt.Errorf("count unconfirmed events: %w", err)
	}
	if n > d.cfg.MaxBacklog {
		return wire.Unavailable(nil, "too many events wait for the audit log: issuing is stopped until it catches up")
	}
	return nil
}
