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
	// sampleWithin bounds one sample: who asks for the time must not wait long
	// for a store that does not answer.
	sampleWithin = 2 * time.Second
	// jump is how far a sample may be from the extrapolation before it counts
	// as a jump of the store's clock, and pause how long expiry waits after one.
	jump  = 2 * time.Second
	pause = 30 * time.Second
	// prompt is the longest answer that sets the estimate anew; a slower one
	// only confirms it, unless the estimate is older than stale.
	prompt = 250 * time.Millisecond
	stale  = time.Minute
)

// Estimate extrapolates the store's clock with the local monotonic one between
// samples (A5). It decides only when to look at a lease; the commit decides
// whether it is due. It is never ahead of the store's clock by more than the
// two drift apart between samples.
type Estimate struct {
	store Time
	clock clock.Clock

	asking chan struct{} // held while the store is asked

	mu    sync.Mutex
	asked time.Time // local: the last attempt to sample
	known bool
	base  time.Time     // the store's clock at the last sample, or a little before
	local time.Time     // local, with its monotonic reading, at base
	slack time.Duration // how much later than base it may have been
	calm  time.Time     // local: expiry pauses until here
}

// NewEstimate returns an estimate of s's clock.
func NewEstimate(s Time, c clock.Clock) *Estimate {
	return &Estimate{store: s, clock: c, asking: make(chan struct{}, 1)}
}

// Now is the store's time. It asks the store at most once a second, one caller
// at a time, and goes on extrapolating from an old sample while the store does
// not answer.
func (e *Estimate) Now(ctx context.Context) (time.Time, error) {
	t, known, fresh := e.extrapolate()
	switch {
	case fresh:
		return t, nil
	case known:
		select {
		case e.asking <- struct{}{}:
		default: // somebody else asks
			return t, nil
		}
	default:
		select {
		case e.asking <- struct{}{}:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("sample the store's clock: %w", ctx.Err())
		}
	}
	defer func() { <-e.asking }()
	if t, _, fresh = e.extrapolate(); fresh { // who asked before us has it
		return t, nil
	}
	err := e.ask(ctx)
	t, known, _ = e.extrapolate()
	if !known {
		return time.Time{}, fmt.Errorf("sample the store's clock: %w", err)
	}
	return t, nil
}

// extrapolate is the store's time as far as it is known. It is fresh if there
// is no reason to ask.
func (e *Estimate) extrapolate() (t time.Time, known, fresh bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.known {
		return time.Time{}, false, false
	}
	now := e.clock.Now()
	// Sub takes the monotonic readings: a local wall clock that jumps does not
	// move the extrapolation.
	return e.base.Add(now.Sub(e.local)), true, now.Sub(e.asked) < sampleEvery
}

func (e *Estimate) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sampleWithin)
	defer cancel()
	before := e.clock.Now()
	t, err := e.store.Now(ctx)
	after := e.clock.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = after
	if err == nil {
		e.sample(t.Round(0), before, after)
	}
	return err
}

// sample takes in that the store said t at some instant from before to after:
// an answer that was slow is no jump.
func (e *Estimate) sample(t, before, after time.Time) {
	took := after.Sub(before)
	if e.known {
		earliest := e.base.Add(before.Sub(e.local))
		latest := e.base.Add(after.Sub(e.local)).Add(e.slack)
		jumped := t.Before(earliest.Add(-jump)) || t.After(latest.Add(jump))
		switch {
		case jumped:
			// A clock that jumps again and again must not stop expiry: at most
			// half of the time is paused.
			if !after.Before(e.calm.Add(pause)) {
				e.calm = after.Add(pause)
			}
		case took > prompt && took > e.slack && after.Sub(e.local) < stale:
			return
		}
	}
	e.known, e.base, e.local, e.slack = true, t, after, took
}

// Paused reports whether the store's clock has just jumped, so that leases not
// yet in revoking must not be expired by it.
func (e *Estimate) Paused() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.clock.Now().Before(e.calm)
}
