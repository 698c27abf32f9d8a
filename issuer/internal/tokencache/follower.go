package tokencache

import (
	"context"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	// askEvery is how often the store is asked that gives no hint.
	askEvery = 250 * time.Millisecond
	// spacing is between two questions at least, however many hints there are.
	spacing = 20 * time.Millisecond
	// mostChanges bounds an answer; everything is forgotten where more changed.
	mostChanges = 10_000
)

// Applier is the [Cache] of a [Follower].
type Applier interface {
	Apply(asked time.Time, changes store.TokenChanges)
}

// Follower is the step that hears of what has changed.
type Follower struct {
	store store.Changes
	cache Applier
	clock clock.Clock
	wake  <-chan struct{}

	after event.Position // what was answered last
	asked time.Time
}

// NewFollower returns the step. wake, which may be nil, receives after commits.
func NewFollower(s store.Changes, a Applier, c clock.Clock, wake <-chan struct{}) *Follower {
	return &Follower{store: s, cache: a, clock: c, wake: wake}
}

// Name implements [step.Step].
func (*Follower) Name() string { return "tokens" }

// Wake implements [step.Waker].
func (f *Follower) Wake() <-chan struct{} { return f.wake }

// Do implements [step.Step]: it asks the store once.
func (f *Follower) Do(ctx context.Context) (time.Duration, error) {
	if err := f.pause(ctx); err != nil {
		return 0, err
	}
	// An answer that takes longer is worth nothing.
	ctx, cancel := context.WithTimeout(ctx, GoodFor)
	defer cancel()
	f.asked = f.clock.Now()
	changes, err := f.store.ChangedTokens(ctx, f.after, mostChanges)
	if err != nil {
		return 0, fmt.Errorf("ask which tokens changed: %w", err)
	}
	f.cache.Apply(f.asked, changes)
	f.after = changes.Head
	return askEvery, nil
}

// pause keeps questions apart.
func (f *Follower) pause(ctx context.Context) error {
	rest := spacing - f.clock.Now().Sub(f.asked)
	if f.asked.IsZero() || rest <= 0 {
		return nil
	}
	return clock.Sleep(ctx, f.clock, min(rest, spacing))
}

var (
	_ step.Step  = (*Follower)(nil)
	_ step.Waker = (*Follower)(nil)
)
