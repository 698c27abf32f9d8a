package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
)

const (
	sampleEvery = time.Second
	// jump is how far a sample may be from the extrapolation before it counts
	// as a jump of the store's clock, and pause how long expiry waits after one.
	jump  = 2 * time.Second
	pause = 30 * time.Second
)

// Estimate extrapolates the store's clock with the local monotonic one between
// samples (A5). It decides only when to look at a lease; the commit decides
// whether it is due.
type Estimate struct {
	store Time
	clock clock.Clock

	mu      sync.Mutex
	base    time.Time // the store's clock at the last sample
	sampled time.Time // local, with its monotonic reading; zero: never
	calm    time.Time // local: expiry pauses until here
}

// NewEstimate returns an estimate of s's clock.
func NewEstimate(s Time, c clock.Clock) *Estimate { return &Estimate{store: s, clock: c} }

// Now is the store's time. It samples the store at most once a second, and
// goes on extrapolating from an old sample while the store does not answer.
func (e *Estimate) Now(ctx context.Context) (time.Time, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.clock.Now()
	if e.sampled.IsZero() || now.Sub(e.sampled) >= sampleEvery {
		t, err := e.store.Now(ctx)
		if err != nil && e.sampled.IsZero() {
			return time.Time{}, fmt.Errorf("sample the store's clock: %w", err)
		}
		if err == nil {
			e.sample(t)
		}
	}
	return e.base.Add(e.clock.Now().Sub(e.sampled)), nil
}

func (e *Estimate) sample(store time.Time) {
	// Sub takes the monotonic readings: a local wall clock that jumps does not
	// move the extrapolation.
	local := e.clock.Now()
	if !e.sampled.IsZero() {
		expected := e.base.Add(local.Sub(e.sampled))
		if d := store.Sub(expected); d > jump || d < -jump {
			e.calm = local.Add(pause)
		}
	}
	e.base, e.sampled = store.Round(0), local
}

// Paused reports whether the store's clock has just jumped, so that leases not
// yet in revoking must not be expired by it.
func (e *Estimate) Paused() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.clock.Now().Before(e.calm)
}
