package operator

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer/internal/status"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	sampleEvery  = time.Second
	sampleWithin = 2 * time.Second
	// awayAfter is how long the store may be silent before nobody should be
	// sent here. Shorter, and a burst that fills the store's queues would take
	// every issuer out of service at the same time.
	awayAfter = 5 * time.Second
	// present is how recently a process must have said that it runs for its
	// clock and version to count.
	present = time.Minute
)

// Watch samples how things stand with the installation, so that nobody who asks
// about health waits for the store or burdens it. It is a step.
type Watch struct {
	store interface {
		Store
		store.Time
	}
	clock clock.Clock
	log   zerolog.Logger

	mu       sync.Mutex
	state    status.State
	answered time.Time // by the store, last
}

// NewWatch returns a watch that knows of nothing wrong yet.
func NewWatch(s interface {
	Store
	store.Time
}, c clock.Clock, log zerolog.Logger,
) *Watch {
	return &Watch{store: s, clock: c, log: log, answered: c.Now()}
}

// Standing implements [status.Standing].
func (w *Watch) Standing() status.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// Name implements [step.Step].
func (w *Watch) Name() string { return "standing" }

// Do implements [step.Step]: it samples once. A store that does not answer is
// what it reports, not what it fails with.
func (w *Watch) Do(ctx context.Context) (time.Duration, error) {
	bounded, cancel := context.WithTimeout(ctx, sampleWithin)
	defer cancel()
	s, err := w.sample(bounded)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	was, now := w.state.Away, w.clock.Now()
	if err == nil {
		w.state, w.answered = s, now
	} else {
		w.state.Away = now.Sub(w.answered) >= awayAfter // the rest is what was seen last
	}
	switch {
	case w.state.Away && !was:
		w.log.Warn().Err(err).Msg("the store does not answer: health says so until it does")
	case was && !w.state.Away:
		w.log.Info().Msg("the store answers again")
	}
	return sampleEvery, nil
}

func (w *Watch) sample(ctx context.Context) (s status.State, err error) {
	if _, s.Suspended, err = w.store.Suspension(ctx); err != nil {
		return s, err
	}
	if s.Doubted, err = doubts(ctx, w.store); err != nil {
		return s, err
	}
	now, err := w.store.Now(ctx)
	if err != nil {
		return s, err
	}
	processes, err := installation.Processes(ctx, w.store)
	if err != nil {
		return s, err
	}
	for _, p := range processes {
		if now.Sub(p.Seen) > present {
			continue
		}
		s.Skew = max(s.Skew, p.Skew.Abs())
		s.Versions = append(s.Versions, p.Version)
	}
	slices.Sort(s.Versions)
	if s.Versions = slices.Compact(s.Versions); len(s.Versions) < 2 {
		s.Versions = nil
	}
	return s, nil
}

var (
	_ step.Step       = (*Watch)(nil)
	_ status.Standing = (*Watch)(nil)
)
