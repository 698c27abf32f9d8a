package postgres

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
)

// Sample is one look at the target's clock.
type Sample struct {
	// Offset is the target's clock minus the local one.
	Offset time.Duration
	// Uncertainty is how far off Offset can be: half the round trip.
	Uncertainty time.Duration
}

// fresh is how long a sample serves. VALID UNTIL is read back against the
// target's clock anyway (B8).
const fresh = 30 * time.Second

// clocks keeps the latest sample, counted on with the local monotonic clock.
type clocks struct {
	clk clock.Clock

	mu     sync.Mutex
	at     time.Time // local
	target time.Time
}

// note takes a reading of the target's clock that was made between before and
// now.
func (c *clocks) note(before, target time.Time) Sample {
	now := c.clk.Now()
	half := now.Sub(before) / 2
	at := before.Add(half)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.target = at, target
	return Sample{Offset: target.Sub(at.Round(0)), Uncertainty: half}
}

// now is the target's time; false where no fresh sample says.
func (c *clocks) now() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	age := c.clk.Now().Sub(c.at)
	if c.target.IsZero() || age > fresh || age < 0 {
		return time.Time{}, false
	}
	return c.target.Add(age), true
}

// targetNow returns the target's time, asking it where it must.
func (t *Target) targetNow(ctx context.Context, l *link) (time.Time, error) {
	if now, ok := t.clocks.now(); ok {
		return now, nil
	}
	_, now, err := t.sample(ctx, l)
	return now, err
}

// clockSQL is the target's clock in microseconds since 1970.
const clockSQL = `(EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8::pg_catalog.text`

func (t *Target) sample(ctx context.Context, l *link) (Sample, time.Time, error) {
	before := t.clk.Now()
	got, err := l.query(ctx, "SELECT "+clockSQL)
	if err != nil {
		return Sample{}, time.Time{}, err
	}
	at, err := microseconds(got[0][0])
	if err != nil {
		return Sample{}, time.Time{}, err
	}
	return t.clocks.note(before, at), at, nil
}

func microseconds(s string) (time.Time, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("read target's clock: %w", err)
	}
	return time.UnixMicro(n).UTC(), nil
}

// Clock asks the target for its time.
func (t *Target) Clock(ctx context.Context) (Sample, error) {
	var s Sample
	err := t.look(ctx, func(ctx context.Context, l *link) error {
		var err error
		s, _, err = t.sample(ctx, l)
		return err
	})
	return s, err
}

// look runs queries on the observing lane; their errors are for people.
func (t *Target) look(ctx context.Context, do func(context.Context, *link) error) error {
	return t.person(t.observe.again(ctx, t.settings.Limits.Turn, do))
}
