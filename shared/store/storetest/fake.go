package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

// ErrClosed is the error of calls on a closed [Fake].
var ErrClosed = errors.New("store is closed")

// Fake is the whole contract in memory: nothing survives it. One mutex is its
// commit order. It looks through everything it has, so it is for tests only.
type Fake struct {
	clock clock.Clock

	mu       sync.Mutex
	closed   bool
	last     time.Time // the store's time never goes back
	position int64
	leases   map[lease.ID]row
	entries  map[store.Ref]store.Entry
	barriers map[string]store.Barrier // by the id of the entry
	events   []event.Event            // those that were not trimmed
	trimmed  int64                    // how many were
	// positions has what every event was numbered as, the trimmed ones too.
	positions  []event.Position
	head       event.Position
	suspension *store.Suspension
	started    time.Time // of the server, where nobody has compared since; see ServerStarted
	confirm    map[string]event.Position
	locks      map[string]lock
	drift      map[string]int64 // what was mended, by path: these counts are never wrong by themselves
	watchers   step.Watchers
}

// row is a lease as it is stored. It shares no memory with callers.
type row struct {
	lease lease.Lease
	event int64 // its last event, counted from 1 over all epochs
}

type lock struct {
	store.Lock
	until time.Time
}

// NewFake returns an empty store that goes by c.
func NewFake(c clock.Clock) *Fake {
	return &Fake{
		clock: c, head: event.Position{Epoch: 1},
		leases: map[lease.ID]row{}, entries: map[store.Ref]store.Entry{}, barriers: map[string]store.Barrier{},
		confirm: map[string]event.Position{}, locks: map[string]lock{},
	}
}

// enter locks the store; the caller unlocks it whatever the error.
func (f *Fake) enter(ctx context.Context) error {
	f.mu.Lock()
	if f.closed {
		return ErrClosed
	}
	return ctx.Err()
}

func (f *Fake) now() time.Time {
	if now := f.clock.Now().Round(0).UTC(); now.After(f.last) {
		f.last = now
	}
	return f.last
}

// append stores events without a number; it returns the first one's place,
// counted from 1 over all epochs.
func (f *Fake) append(now time.Time, events ...event.Event) int64 {
	first := f.trimmed + int64(len(f.events)) + 1
	for _, e := range events {
		e.Time, e.Position = now, event.Position{}
		f.events = append(f.events, clone(e))
	}
	if len(events) > 0 {
		f.watchers.Set()
	}
	return first
}

// clone copies by way of JSON, as a store does.
func clone[T any](v T) (copied T) {
	body, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(body, &copied)
	}
	if err != nil {
		panic(fmt.Sprintf("clone %T: %v", v, err)) // a type of ours that is no JSON
	}
	return copied
}

// lease is a copy of a row; the zero Lease where there is none.
func (f *Fake) lease(id lease.ID) lease.Lease {
	l := f.leases[id].lease
	l.Plan, l.Handle = slices.Clone(l.Plan), slices.Clone(l.Handle)
	return l
}

// Apply implements [store.Leases].
func (f *Fake) Apply(ctx context.Context, items ...store.Transition) []store.Outcome {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	out := make([]store.Outcome, len(items))
	for i := range items {
		if err != nil {
			out[i].Err = fmt.Errorf("apply change: %w", err)
			continue
		}
		out[i] = f.apply(&items[i])
	}
	return out
}

func (f *Fake) apply(item *store.Transition) store.Outcome {
	now, before := f.now(), f.lease(item.Change.ID)
	d, err := item.Decide(before, now, f.refuses(item, now), store.Checks{
		Withdrawn: func() (string, error) { return f.withdrawn(item, &before, now), nil },
		Full:      func() (string, error) { return f.full(item.Change.ID) },
	})
	if err != nil {
		return store.Outcome{Err: err}
	}
	if d.Err != nil {
		return d.Outcome()
	}
	if before.State == "" {
		f.position++
		d.After.Position = f.position
	}
	number := f.append(now, append([]event.Event{d.Event(now)}, item.Also...)...)
	f.leases[item.Change.ID] = row{lease: clone(d.After), event: number}
	return d.Outcome()
}

func (f *Fake) withdrawn(item *store.Transition, before *lease.Lease, now time.Time) string {
	for _, ref := range item.Guard.Entries {
		if e, ok := f.entries[ref]; !ok || e.Withdrawn {
			return string(ref.Kind)
		}
	}
	if id := item.Guard.Token; id != "" {
		if l := f.lease(id); l.Kind != lease.Token || !l.Usable(now) {
			return store.WithdrawnToken
		}
	}
	if item.Guard.Barriers && before.State != "" {
		for _, b := range f.barriers {
			if b.Covers(before.ID, before.Position) {
				return store.WithdrawnPrefix
			}
		}
	}
	return ""
}

// Now implements [store.Time].
func (f *Fake) Now(ctx context.Context) (time.Time, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err != nil {
		return time.Time{}, err
	}
	return f.now(), nil
}

// Watch implements [store.Watcher].
func (f *Fake) Watch() (<-chan struct{}, func()) { return f.watchers.Watch() }

// Close implements [store.Store].
func (f *Fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

// Leases returns every lease there is, ordered by id: what a checker of a whole
// state asks for and a store does not offer.
func (f *Fake) Leases() []lease.Lease {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sorted()
}

func (f *Fake) sorted() []lease.Lease {
	all := make([]lease.Lease, 0, len(f.leases))
	for _, id := range slices.Sorted(maps.Keys(f.leases)) {
		all = append(all, f.lease(id))
	}
	return all
}

var (
	_ store.Store   = (*Fake)(nil)
	_ store.Watcher = (*Fake)(nil)
)
