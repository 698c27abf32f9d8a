package leases

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/step"
)

const (
	// endsRest is how long [Ends] rests without a hint.
	endsRest = time.Second
	// endsPause is how long it pauses at most.
	endsPause = 10 * time.Millisecond
	// toldPause is how long it pauses where it is told of what is committed.
	toldPause = 100 * time.Millisecond
	// endsPage is how many leases one exchange reads.
	endsPage = 500
)

// Ends is the step that tells waiting requests of what became of their leases:
// after each commit of the store it reads all of them in one exchange, however
// many wait, and pauses then for some times as long. It makes them fast; each looks
// for itself too, more and more seldom (C9).
type Ends struct {
	store Store
	clock clock.Clock
	wake  <-chan struct{}
	pace  step.Pace
	told  atomic.Bool // somebody calls Tell

	mu      sync.Mutex
	waiting map[lease.ID][]*waiter
}

// waiter is one request. It holds what is known of its lease last.
type waiter struct {
	id      lease.ID
	version int64
	changed chan lease.Lease // the latest only
}

// NewEnds returns the step. wake, which may be nil, receives after commits.
func NewEnds(s Store, c clock.Clock, wake <-chan struct{}) *Ends {
	return &Ends{store: s, clock: c, wake: wake, pace: step.Pace{Factor: 4, Most: endsPause}, waiting: map[lease.ID][]*waiter{}}
}

// Pause implements [step.Paced].
func (e *Ends) Pause() time.Duration {
	if e.told.Load() {
		return toldPause
	}
	return e.pace.Pause()
}

// Tell passes on a lease as somebody in this process has committed it. Then it is
// only for what others commit that the store is read.
func (e *Ends) Tell(l *lease.Lease) {
	e.told.Store(true)
	e.tell(*l)
}

// Name implements [step.Step].
func (*Ends) Name() string { return "ends" }

// Wake implements [step.Waker].
func (e *Ends) Wake() <-chan struct{} { return e.wake }

// wait begins to look at a lease, whose changes after this call are told.
func (e *Ends) wait(id lease.ID) *waiter {
	w := &waiter{id: id, changed: make(chan lease.Lease, 1)}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting[id] = append(e.waiting[id], w)
	return w
}

func (e *Ends) leave(w *waiter) {
	e.mu.Lock()
	defer e.mu.Unlock()
	left := slices.DeleteFunc(e.waiting[w.id], func(x *waiter) bool { return x == w })
	if len(left) == 0 {
		delete(e.waiting, w.id)
		return
	}
	e.waiting[w.id] = left
}

// Do implements [step.Step].
func (e *Ends) Do(ctx context.Context) (time.Duration, error) {
	began := e.clock.Now()
	defer func() { e.pace.Worked(e.clock.Now().Sub(began)) }()
	for ids := range slices.Chunk(e.ids(), endsPage) {
		found, err := e.store.GetMany(ctx, ids...)
		if err != nil {
			return 0, fmt.Errorf("look at revocations that are waited for: %w", err)
		}
		e.tell(found...)
	}
	return endsRest, nil
}

func (e *Ends) ids() []lease.ID {
	e.mu.Lock()
	defer e.mu.Unlock()
	ids := make([]lease.ID, 0, len(e.waiting))
	for id := range e.waiting {
		ids = append(ids, id)
	}
	return ids
}

// tell passes on what has changed; who has not taken the last word gets this one
// in its place.
func (e *Ends) tell(found ...lease.Lease) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range found {
		for _, w := range e.waiting[l.ID] {
			if w.version >= l.Version {
				continue
			}
			w.version = l.Version
			select {
			case <-w.changed:
			default:
			}
			w.changed <- l
		}
	}
}

var (
	_ step.Step  = (*Ends)(nil)
	_ step.Waker = (*Ends)(nil)
	_ step.Paced = (*Ends)(nil)
)
