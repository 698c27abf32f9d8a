package issuing

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Overdue finds the leases that nobody has looked at in time.
type Overdue interface {
	Due(ctx context.Context, until time.Time, after store.Cursor, limit int) ([]store.Due, error)
	Now(ctx context.Context) (time.Time, error)
}

// lag refuses issuing on targets where revocation is behind by more than its
// limit (protocol, section E): what is issued there would be taken away late
// too. Only leases whose turn has passed count. One whose revocation fails and
// waits for its next try is late by its target's fault or by its own, and is
// shown as such.
//
// It looks at most once a second, on behalf of whoever asks first.
type lag struct {
	overdue Overdue
	clock   clock.Clock
	limit   time.Duration

	mu      sync.Mutex
	sampled time.Time
	behind  []string // targets
}

// A target that is behind has many such leases: a few thousand of them tell of
// every target that is behind by much.
const (
	overduePage  = 1000
	overduePages = 5
)

func (l *lag) check(ctx context.Context, target string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.clock.Now(); l.sampled.IsZero() || now.Sub(l.sampled) >= sampleEvery {
		behind, err := l.sample(ctx)
		if err != nil {
			return fmt.Errorf("look for overdue leases: %w", err)
		}
		l.sampled, l.behind = now, behind
	}
	if slices.Contains(l.behind, target) {
		return wire.Unavailable(nil, "revocation on this connection is more than %s behind: issuing there is stopped until it catches up", l.limit)
	}
	return nil
}

func (l *lag) sample(ctx context.Context) (behind []string, err error) {
	now, err := l.overdue.Now(ctx)
	if err != nil {
		return nil, err
	}
	var after store.Cursor
	for range overduePages {
		page, err := l.overdue.Due(ctx, now.Add(-l.limit), after, overduePage)
		if err != nil {
			return nil, err
		}
		for _, d := range page {
			if d.Kind != lease.Token && !slices.Contains(behind, d.Target) {
				behind = append(behind, d.Target)
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
