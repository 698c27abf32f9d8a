package storetest

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

// Append implements [store.Outbox].
func (f *Fake) Append(ctx context.Context, events ...event.Event) error {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err == nil {
		f.append(f.now(), events...)
	}
	return err
}

// Number implements [store.Outbox].
func (f *Fake) Number(ctx context.Context, l store.Lock, limit int) (event.Position, int, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err == nil && (l.Owner == "" || f.locks[l.Name].Lock != l) {
		err = fmt.Errorf("number events: %w", store.ErrLost)
	}
	if err == nil && f.suspended() != nil {
		err = fmt.Errorf("number events: %w", store.ErrSuspended)
	}
	if err != nil {
		return event.Position{}, 0, err
	}
	n := f.number(limit)
	return f.head, n, nil
}

// number gives the next numbers to at most limit events.
func (f *Fake) number(limit int) int {
	n := min(limit, int(f.trimmed)+len(f.events)-len(f.positions))
	for range n {
		f.head.Number++
		f.positions = append(f.positions, f.head)
	}
	return n
}

// positionOf is the position of the event seq; false where it has none yet.
func (f *Fake) positionOf(seq int64) (event.Position, bool) {
	if seq > int64(len(f.positions)) {
		return event.Position{}, false
	}
	return f.positions[seq-1], true
}

// Head implements [store.Outbox].
func (f *Fake) Head(ctx context.Context) (event.Position, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	return f.head, err
}

// Events implements [store.Outbox].
func (f *Fake) Events(ctx context.Context, after event.Position, limit int) ([]event.Event, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var all []event.Event
	for i, e := range f.events {
		at, numbered := f.positionOf(f.trimmed + int64(i) + 1)
		if len(all) < limit && numbered && after.Before(at) {
			e = clone(e)
			e.Position = at
			all = append(all, e)
		}
	}
	return all, nil
}

// Confirm implements [store.Outbox].
func (f *Fake) Confirm(ctx context.Context, consumer string, upTo event.Position) error {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err == nil && f.head.Before(upTo) {
		err = fmt.Errorf("confirm events: %w", store.ErrAhead)
	}
	if err == nil && f.confirm[consumer].Before(upTo) {
		f.confirm[consumer] = upTo
	}
	return err
}

// Confirmed implements [store.Outbox].
func (f *Fake) Confirmed(ctx context.Context, consumer string) (event.Position, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	return f.confirm[consumer], err
}

// Trim implements [store.Outbox].
func (f *Fake) Trim(ctx context.Context, upTo event.Position, limit int) (int, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n := 0
	for n < limit && n < len(f.events) {
		at, numbered := f.positionOf(f.trimmed + 1)
		if !numbered || upTo.Before(at) {
			break
		}
		n, f.trimmed = n+1, f.trimmed+1
	}
	f.events = f.events[n:]
	return n, nil
}

// Backlog implements [store.Outbox].
func (f *Fake) Backlog(ctx context.Context) (int64, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	return int64(len(f.events)), err
}

// Acquire implements [store.Locks].
func (f *Fake) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (store.Lock, bool, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if owner == "" {
		err = cmp.Or(err, store.ErrNoOwner)
	}
	if err != nil {
		return store.Lock{}, false, err
	}
	now, have := f.now(), f.locks[name]
	if have.Owner != owner {
		if have.Owner != "" && now.Before(have.until) {
			return store.Lock{}, false, nil
		}
		have.Fence++
	}
	have.Name, have.Owner, have.until = name, owner, now.Add(ttl)
	f.locks[name] = have
	return have.Lock, true, nil
}

// Release implements [store.Locks].
func (f *Fake) Release(ctx context.Context, l store.Lock) error {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if have := f.locks[l.Name]; err == nil && have.Lock == l && l.Owner != "" {
		have.Owner = ""
		f.locks[l.Name] = have
	}
	return err
}
