package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// samples is a store's clock that can be moved, and be away.
type samples struct {
	now   time.Time
	err   error
	calls int
}

func (s *samples) Now(context.Context) (time.Time, error) {
	s.calls++
	return s.now, s.err
}

// A5: between samples, of which there is one a second, the store's time is
// extrapolated with the local clock; it goes on while the store is away.
func TestEstimateExtrapolates(t *testing.T) {
	t.Parallel()
	local := storetest.NewClock()
	s := &samples{now: time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC), err: errors.New("store is away")}
	e := store.NewEstimate(s, local)
	if _, err := e.Now(t.Context()); !errors.Is(err, s.err) {
		t.Errorf("without a sample: %v", err)
	}
	s.err = nil
	first := s.now
	check := func(want time.Duration, calls int) {
		t.Helper()
		if now, err := e.Now(t.Context()); err != nil || now.Sub(first) != want || s.calls != calls || e.Paused() {
			t.Errorf("%s after the first sample, %d samples, paused %v, %v; want %s, %d", now.Sub(first), s.calls, e.Paused(), err, want, calls)
		}
	}
	check(0, 2)
	local.Advance(999 * time.Millisecond)
	check(999*time.Millisecond, 2)
	local.Advance(time.Millisecond)
	s.now = first.Add(1500 * time.Millisecond) // half a second off is no jump
	check(1500*time.Millisecond, 3)
	s.err = errors.New("store is away")
	local.Advance(time.Minute)
	check(61500*time.Millisecond, 4)
	s.err, s.now = nil, first.Add(62*time.Second)
	check(62*time.Second, 5)
}

// A5: a sample that is more than 2 s off is a jump, either way; expiry then
// pauses for 30 s.
func TestEstimatePausesAfterAJump(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{2*time.Second + 1, -2*time.Second - 1, time.Hour, -time.Hour} {
		local := storetest.NewClock()
		s := &samples{now: time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)}
		e := store.NewEstimate(s, local)
		step := func(d, jump time.Duration) {
			t.Helper()
			local.Advance(d)
			s.now = s.now.Add(d + jump)
			if _, err := e.Now(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		step(0, 0)
		step(time.Second, 2*time.Second)
		if e.Paused() {
			t.Error("2 s off counts as a jump")
		}
		step(time.Second, off)
		if !e.Paused() {
			t.Errorf("%s off: not paused", off)
		}
		if now, err := e.Now(t.Context()); err != nil || !now.Equal(s.now) {
			t.Errorf("%s off: it is %s, the store says %s, %v", off, now, s.now, err)
		}
		step(30*time.Second-1, 0)
		if !e.Paused() {
			t.Errorf("%s off: paused too short", off)
		}
		if step(1, 0); e.Paused() {
			t.Errorf("%s off: paused too long", off)
		}
	}
}
