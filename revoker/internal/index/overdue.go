package index

import (
	"context"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/store"
)

// Overdue finds what is due, whatever was forgotten. It reads in two places: at
// the tail, what has fallen due since the last run, so that it is found within
// the interval however many leases of a dead target are overdue (promise 4);
// and round all the others, most overdue first, some pages each run.
type Overdue struct {
	store store.Leases
	time  *store.Estimate
	feed  offerer
	cfg   Config

	round, tail store.Cursor
	// edge is where the round ends, which is where the tail began: zero time,
	// no run yet.
	edge time.Time
}

// late is how long after its due time a lease may become visible: it was
// committed with a time that was the present when its commit began.
const late = 2 * time.Second

// NewOverdue returns the step. It feeds a [Feeder] or a [Sieve].
func NewOverdue(s store.Leases, t *store.Estimate, f offerer, cfg Config) *Overdue {
	return &Overdue{store: s, time: t, feed: f, cfg: cfg.withDefaults()}
}

// Name implements [step.Step].
func (o *Overdue) Name() string { return "overdue" }

// Do implements [step.Step].
func (o *Overdue) Do(ctx context.Context) (time.Duration, error) {
	now, err := o.time.Now(ctx)
	if err != nil {
		return 0, err
	}
	if o.edge.IsZero() || o.edge.After(now) { // the first run, or the clock went back
		o.edge = now.Add(-late)
		o.tail = store.Cursor{At: o.edge}
	}
	more, err := load(ctx, o.store, o.feed, o.cfg, now, &o.tail)
	if err != nil {
		return 0, fmt.Errorf("read leases that fell due: %w", err)
	}
	if !more {
		o.edge = now.Add(-late)
		o.tail = store.Cursor{At: o.edge}
	}
	open, err := load(ctx, o.store, o.feed, o.cfg, o.edge, &o.round)
	if err != nil {
		return 0, fmt.Errorf("read overdue leases: %w", err)
	}
	if !open {
		o.round = store.Cursor{}
	}
	if more {
		return 0, nil
	}
	return o.cfg.Every, nil
}
