// Package index feeds the expiry index from the stream and from the store.
//
//	Indexer   stream → index: each event of a lease makes its row be read again
//	Upcoming  store → index: each lease once, as it enters the window (D2)
//	Overdue   store → index: what is due, whatever was forgotten (D1)
//
// What holds: nothing here decides anything; a member is a hint. The steps read
// only leases that are due or come due within the window, never all.
package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Config tunes the steps; the zero value works.
type Config struct {
	Window time.Duration // how far ahead the index knows; 1 min
	Every  time.Duration // between looks at the store; 1 s
	Page   int           // rows of one read; 1000
	Pages  int           // reads of one run; 8
}

func (c Config) withDefaults() Config {
	c.Window = cmp.Or(c.Window, time.Minute)
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

func member(d store.Due) expiry.Member { return expiry.Member{ID: d.ID, Target: d.Target, At: d.At} }

// Upcoming loads what enters the window. Each lease is read about once; what
// changes behind its back comes by events, or is found overdue.
type Upcoming struct {
	store  store.Leases
	time   *store.Estimate
	feed   *Feeder
	cfg    Config
	cursor store.Cursor
}

// NewUpcoming returns the step.
func NewUpcoming(s store.Leases, t *store.Estimate, f *Feeder, cfg Config) *Upcoming {
	return &Upcoming{store: s, time: t, feed: f, cfg: cfg.withDefaults()}
}

// Name implements [step.Step].
func (u *Upcoming) Name() string { return "upcoming" }

// Do implements [step.Step].
func (u *Upcoming) Do(ctx context.Context) (time.Duration, error) {
	now, err := u.time.Now(ctx)
	if err != nil {
		return 0, err
	}
	until := now.Add(u.cfg.Window)
	if u.cursor.At.Before(now) || u.cursor.At.After(until) {
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
func load(ctx context.Context, s store.Leases, f *Feeder, cfg Config, until time.Time, cursor *store.Cursor) (more bool, err error) {
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

// Indexer follows the stream. It keeps no memory of single leases (D3).
type Indexer struct {
	stream bus.Stream
	store  store.Leases
	time   *store.Estimate
	feed   *Feeder
	recall *Recaller
	cfg    Config
	name   string

	consumer bus.Consumer
	// recalls are targets whose configuration changed and whose revocations were
	// not recalled yet.
	recalls map[string]bool
}

// NewIndexer returns the step. name is the process's own among consumers.
func NewIndexer(b bus.Stream, s store.Leases, t *store.Estimate, f *Feeder, r *Recaller, name string, cfg Config) *Indexer {
	return &Indexer{
		stream: b, store: s, time: t, feed: f, recall: r, name: name, cfg: cfg.withDefaults(), recalls: map[string]bool{},
	}
}

// Name implements [step.Step].
func (x *Indexer) Name() string { return "indexer" }

// Do implements [step.Step]: takes one fetch of events.
func (x *Indexer) Do(ctx context.Context) (time.Duration, error) {
	if x.consumer == nil {
		c, err := x.stream.Consume(ctx, x.name, false)
		if err != nil {
			return 0, fmt.Errorf("follow the stream: %w", err)
		}
		x.consumer = c
	}
	events, err := x.consumer.Fetch(ctx, x.cfg.Page, x.cfg.Every)
	if err != nil {
		return 0, fmt.Errorf("fetch events: %w", err)
	}
	now, err := x.time.Now(ctx)
	if err != nil {
		return 0, err
	}
	var members []expiry.Member
	for _, id := range x.concerned(events, now) {
		l, err := x.store.Get(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("read a lease: %w", err)
		}
		if at := l.DueAt(); !at.IsZero() && at.Sub(now) < x.cfg.Window {
			members = append(members, expiry.Member{ID: l.ID, Target: l.Target, At: at})
		}
	}
	if err := x.feed.offer(ctx, members); err != nil {
		return 0, err
	}
	if err := x.consumer.Ack(ctx); err != nil {
		return 0, fmt.Errorf("acknowledge events: %w", err)
	}
	for target := range x.recalls {
		if err := x.recall.Recall(ctx, target, true); err != nil {
			return 0, err // it is tried again, with the next events
		}
		delete(x.recalls, target)
	}
	return 0, nil
}

// concerned picks the leases of a batch that may fall due within the window, and
// notes whose configuration changed.
func (x *Indexer) concerned(events []event.Event, now time.Time) []lease.ID {
	var ids []lease.ID
	seen := map[lease.ID]bool{}
	for _, e := range events {
		d := &e.Data
		if e.Type == event.ConfigChanged && d.Target != "" {
			x.recalls[d.Target] = true
		}
		soon := d.NextTryAt != nil || d.ExpiresAt != nil && d.ExpiresAt.Sub(now) < x.cfg.Window
		if d.LeaseID == "" || d.State.Final() || !soon || seen[d.LeaseID] {
			continue
		}
		seen[d.LeaseID] = true
		ids = append(ids, d.LeaseID)
	}
	return ids
}

// Close ends following the stream.
func (x *Indexer) Close() error {
	if x.consumer == nil {
		return nil
	}
	return x.consumer.Close()
}
