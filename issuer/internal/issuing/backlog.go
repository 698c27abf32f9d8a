package issuing

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/clock"
)

// Outbox counts the events that wait to be taken to the ledger.
type Outbox interface {
	Backlog(ctx context.Context) (int64, error)
}

// backlog refuses issuing while too many events wait (D4). It counts at most
// once a second, on behalf of whoever asks first.
type backlog struct {
	outbox Outbox
	clock  clock.Clock
	most   int64

	mu      sync.Mutex
	sampled time.Time
	full    bool
}

const sampleEvery = time.Second

func (b *backlog) check(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := b.clock.Now(); b.sampled.IsZero() || now.Sub(b.sampled) >= sampleEvery {
		n, err := b.outbox.Backlog(ctx)
		if err != nil {
			return fmt.Errorf("count unconfirmed events: %w", err)
		}
		b.sampled, b.full = now, n > b.most
	}
	if b.full {
		return wire.Unavailable(nil, "too many events wait for the audit log: issuing is stopped until it catches up")
	}
	return nil
}
