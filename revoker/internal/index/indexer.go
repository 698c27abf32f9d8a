package index

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

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
	if err := x.feed.offer(ctx, x.members(ctx, events, now)); err != nil {
		return 0, err
	}
	x.urge(events)
	if err := x.consumer.Ack(ctx); err != nil {
		return 0, fmt.Errorf("acknowledge events: %w", err)
	}
	for _, target := range slices.Sorted(maps.Keys(x.recalls)) {
		if err := x.recall.Recall(ctx, target, true); err != nil {
			return 0, err // it is tried again, with the next events
		}
		delete(x.recalls, target)
	}
	return 0, nil
}

// members are the leases of a batch with their times: those that fall due
// within the window as the store has them now, those beyond as the last of
// their events says.
func (x *Indexer) members(ctx context.Context, events []event.Event, now time.Time) []expiry.Member {
	var out []expiry.Member
	var soon []lease.ID
	for _, d := range x.latest(events) {
		at := due(d)
		if at.IsZero() || at.Sub(now) >= x.cfg.Ahead {
			continue
		}
		out = append(out, expiry.Member{ID: d.LeaseID, Target: d.Target, At: at})
		if at.Sub(now) < x.cfg.Window {
			soon = append(soon, d.LeaseID)
		}
	}
	if len(soon) == 0 {
		return out
	}
	found, err := x.store.GetMany(ctx, soon...)
	if err != nil {
		return out // the events will do: who claims a lease reads it again
	}
	current := make(map[lease.ID]time.Time, len(found))
	for i := range found {
		current[found[i].ID] = found[i].DueAt()
	}
	kept := out[:0]
	for _, m := range out {
		if m.At.Sub(now) < x.cfg.Window {
			// Zero where it is gone or never due.
			if m.At = current[m.ID]; m.At.IsZero() || m.At.Sub(now) >= x.cfg.Ahead {
				continue
			}
		}
		kept = append(kept, m)
	}
	return kept
}

// latest is the highest version that the events say of each lease, in the order
// in which the leases first come; it notes whose configuration changed.
func (x *Indexer) latest(events []event.Event) []*event.Data {
	var out []*event.Data
	places := map[lease.ID]int{}
	for i := range events {
		d := &events[i].Data
		if events[i].Type == event.ConfigChanged && d.Target != "" {
			x.recalls[d.Target] = true
		}
		if d.LeaseID == "" {
			continue
		}
		k, again := places[d.LeaseID]
		switch {
		case !again:
			places[d.LeaseID] = len(out)
			out = append(out, d)
		case d.Version > out[k].Version:
			out[k] = d
		}
	}
	return slices.DeleteFunc(out, func(d *event.Data) bool { return d.State.Final() })
}

// urge tells of the targets on which a request made a revocation due. The
// pipeline's own steps come with the same type: a look too many does no harm.
func (x *Indexer) urge(events []event.Event) {
	if x.cfg.Urged == nil {
		return
	}
	said := map[string]bool{}
	for i := range events {
		d := &events[i].Data
		if events[i].Type == event.LeaseProgress && d.Actor.RequestID != "" && !said[d.Target] {
			said[d.Target] = true
			x.cfg.Urged(d.Target)
		}
	}
}

// due is when a lease falls due, as far as an event tells.
func due(d *event.Data) time.Time {
	at := d.ExpiresAt
	if d.State == lease.Revoking {
		at = d.NextTryAt
	}
	if at == nil {
		return time.Time{}
	}
	return *at
}

// Close ends following the stream.
func (x *Indexer) Close() error {
	if x.consumer == nil {
		return nil
	}
	return x.consumer.Close()
}
