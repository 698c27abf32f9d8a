package step

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
)

// Step is one loop's unit of work.
type Step interface {
	// Name is constant and short: it names the loop in logs and metrics.
	Name() string
	// Do works once and says how long the loop may rest. It returns early
	// with ctx's error when ctx ends. 0 means: at once again.
	Do(ctx context.Context) (rest time.Duration, err error)
}

// Waker is the optional ability of a step to be woken before its rest is over.
type Waker interface {
	// Wake returns a channel on which a value means "run now".
	Wake() <-chan struct{}
}

// ErrFatal ends the runner where a step's error wraps it: the process must stop.
var ErrFatal = errors.New("fatal")

// Config tunes a [Runner]; the zero value works.
type Config struct {
	MinBackoff time.Duration // first delay after an error; 100 ms
	MaxBackoff time.Duration // 10 s
}

// Runner runs steps.
type Runner struct {
	clock clock.Clock
	log   zerolog.Logger
	cfg   Config
	steps []Step
}

// New returns a runner of steps; it starts nothing.
func New(c clock.Clock, log zerolog.Logger, cfg Config, steps ...Step) *Runner {
	cfg.MinBackoff = cmp.Or(cfg.MinBackoff, 100*time.Millisecond)
	cfg.MaxBackoff = cmp.Or(cfg.MaxBackoff, 10*time.Second)
	return &Runner{clock: c, log: log, cfg: cfg, steps: steps}
}

// Run blocks until ctx ends or a step fails fatally, and all steps have
// returned. It returns nil when ctx ended it.
func (r *Runner) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, s := range r.steps {
		wg.Go(func() {
			if err := r.loop(ctx, s); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, ErrFatal) {
		return cause
	}
	return nil
}

func (r *Runner) loop(ctx context.Context, s Step) error {
	var wake <-chan struct{}
	if w, ok := s.(Waker); ok {
		wake = w.Wake()
	}
	own := clock.For(r.clock, s.Name())
	delay := time.Duration(0)
	for ctx.Err() == nil {
		rest, err := call(ctx, s)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // asked to stop: whatever was cut short is not a failure
		case errors.Is(err, ErrFatal):
			return fmt.Errorf("%s: %w", s.Name(), err)
		case err != nil:
			delay = min(max(2*delay, r.cfg.MinBackoff), r.cfg.MaxBackoff)
			r.log.Warn().Err(err).Str("step", s.Name()).Dur("retry_in", delay).Msg("step failed")
			// No wake-up shortens a back-off: what fails would spin.
			sleep(ctx, own, Jitter(delay), nil)
			continue
		}
		delay = 0
		if p, ok := s.(Paced); ok {
			pause := p.Pause()
			sleep(ctx, own, pause, nil)
			rest -= pause
		}
		sleep(ctx, own, rest, wake)
	}
	return nil
}

func sleep(ctx context.Context, c clock.Clock, d time.Duration, wake <-chan struct{}) {
	if d <= 0 {
		return
	}
	t, stop := c.Timer(d)
	defer stop()
	select {
	case <-ctx.Done():
	case <-t:
	case <-wake:
		clock.Turn(c)
	}
}

// call turns a panic of a step into its error: one broken lease must not stop
// the revocation of all others.
func call(ctx context.Context, s Step) (rest time.Duration, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return s.Do(ctx)
}

// Jitter returns a random duration from half of d to d, so that what failed
// together does not come back together. It draws from the source of keys and
// ids: a simulation that seeds that one repeats the delays, too.
func Jitter(d time.Duration) time.Duration {
	var b [8]byte
	rand.Read(b[:])                                                            // never fails: it would end the process
	return d/2 + time.Duration(binary.LittleEndian.Uint64(b[:])%uint64(d/2+1)) //nolint:gosec // at most d/2: no overflow
}

// Signal is a wake-up that is never lost and never blocks its sender.
type Signal chan struct{}

// NewSignal returns a signal.
func NewSignal() Signal { return make(Signal, 1) }

// Set wakes the receiver once, however often it is called before.
func (s Signal) Set() {
	select {
	case s <- struct{}{}:
	default:
	}
}
