package index

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

// Everything is a [Config.Ahead] without end.
const Everything = time.Duration(math.MaxInt64)

// Config tunes the steps; the zero value works.
type Config struct {
	Window time.Duration // how far ahead the store is read; 1 min
	Ahead  time.Duration // how far ahead events are offered; Window, which is the least
	Every  time.Duration // between looks at the store; 1 s
	Page   int           // rows of one read; 1000
	Pages  int           // reads of one run; 8
	// Urged, which may be nil, hears of targets on which a person wants another
	// try now.
	Urged func(target string)
}

func (c Config) withDefaults() Config {
	c.Window = cmp.Or(c.Window, time.Minute)
	c.Ahead = max(c.Ahead, c.Window)
	c.Every = cmp.Or(c.Every, time.Second)
	c.Page = cmp.Or(c.Page, 1000)
	c.Pages = cmp.Or(c.Pages, 8)
	return c
}

// Feeder offers members to an index and says so.
type Feeder struct {
	index expiry.Index
	nudge func()
}

// NewFeeder returns a feeder; nudge is called after members were offered.
func NewFeeder(x expiry.Index, nudge func()) *Feeder { return &Feeder{index: x, nudge: nudge} }

// offerer takes what a step found due.
type offerer interface {
	offer(ctx context.Context, members []expiry.Member) error
}

var _ offerer = (*Feeder)(nil)

func (f *Feeder) offer(ctx context.Context, members []expiry.Member) error {
	if len(members) == 0 {
		return nil
	}
	if err := f.index.Offer(ctx, members...); err != nil {
		return fmt.Errorf("offer to the index: %w", err)
	}
	f.nudge()
	return nil
}

// Hint offers a lease whose revocation is due, as it was committed.
func (f *Feeder) Hint(ctx context.Context, l *lease.Lease) error {
	at := l.DueAt()
	if l.State != lease.Revoking || at.IsZero() {
		return nil
	}
	return f.offer(ctx, []expiry.Member{{ID: l.ID, Target: l.Target, At: at}})
}

func member(d store.Due) expiry.Member { return expiry.Member{ID: d.ID, Target: d.Target, At: d.At} }

// Upcoming loads what enters the window. Each lease is read about once; what
// changes behind its back comes by events, by Drift, or is found overdue.
type Upcoming struct {
	store  store.Leases
	time   *store.Estimate
	feed   *Feeder
	cfg    Config
	cursor store.Cursor
	wake   step.Signal
	anew   atomic.Bool
}

// NewUpcoming returns the step.
func NewUpcoming(s store.Leases, t *store.Estimate, f *Feeder, cfg Config) *Upcoming {
	return &Upcoming{store: s, time: t, feed: f, cfg: cfg.withDefaults(), wake: step.NewSignal()}
}

// Restart makes the step load the whole window anew, at once: the index has lost
// what it was given.
func (u *Upcoming) Restart() {
	u.anew.Store(true)
	u.wake.Set()
}

// Wake implements [step.Waker].
func (u *Upcoming) Wake() <-chan struct{} { return u.wake }

// Name implements [step.Step].
func (u *Upcoming) Name() string { return "upcoming" }

// Do implements [step.Step].
func (u *Upcoming) Do(ctx context.Context) (time.Duration, error) {
	now, err := u.time.Now(ctx)
	if err != nil {
		return 0, err
	}
	until := now.Add(u.cfg.Window)
	if u.anew.Swap(false) || u.cursor.At.Before(now) || u.cursor.At.After(until) {
		// What is older is overdue: not this step's. What is beyond the window was
		// read before the store's clock went back.
		u.cursor = store.Cursor{At: now}
	}
	more, err := load(ctx, u.store, u.feed, u.cfg, until, &u.cursor)
	if err != nil {
		return 0, fmt.Errorf("read upcoming leases: %w", err)
	}
	if more {
		return 0, nil
	}
	return u.cfg.Every, nil
}

// load offers what falls due from the cursor up to until, and moves the cursor
// behind it; more: the pages of one run did not reach the end.
func load(ctx context.Context, s store.Leases, f offerer, cfg Config, until time.Time, cursor *store.Cursor) (more bool, err error) {
	for range cfg.Pages {
		due, err := s.Due(ctx, until, *cursor, cfg.Page)
		if err != nil {
			return false, err
		}
		members := make([]expiry.Member, len(due))
		for i, d := range due {
			members[i] = member(d)
		}
		if err := f.offer(ctx, members); err != nil {
			return false, err
		}
		if len(due) > 0 {
			last := due[len(due)-1]
			*cursor = store.Cursor{At: last.At, ID: last.ID}
		}
		if len(due) < cfg.Page {
			return false, nil
		}
	}
	return true, nil
}
