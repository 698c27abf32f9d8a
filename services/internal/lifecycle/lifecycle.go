// Package lifecycle runs the parts of a process and stops them in order.
//
// What holds: parts stop in the reverse order of their start, each after the one
// before it has stopped, and work until then although the caller's context has
// ended; a part that ends before it was asked to fails the whole; the stop of
// each part is bounded, and so is that of all together.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
)

// PartWithin bounds the stop of each part, Within that of all: what is left then
// is ended with the process, which every part survives (kill -9).
const (
	PartWithin = 15 * time.Second
	Within     = 40 * time.Second
)

// Lifecycle runs parts and stops them in reverse order of their start.
type Lifecycle struct {
	clock clock.Clock
	log   zerolog.Logger

	mu     sync.Mutex
	parts  []part
	failed chan error // first failure of a part
}

type part struct {
	name string
	stop func(context.Context) error
}

// New returns a lifecycle without parts.
func New(c clock.Clock, log zerolog.Logger) *Lifecycle {
	return &Lifecycle{clock: c, log: log, failed: make(chan error, 1)}
}

// OnStop adds what is to be done at its turn.
func (l *Lifecycle) OnStop(name string, stop func(context.Context) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parts = append(l.parts, part{name, stop})
}

// Run starts a part that works until its context ends; that is at its turn to
// stop, not when ctx ends. One that ends before fails the whole.
func (l *Lifecycle) Run(ctx context.Context, name string, work func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		err := work(ctx)
		if ctx.Err() == nil {
			l.fail(fmt.Errorf("%s ended: %w", name, errors.Join(err, errEarly)))
		}
		done <- err
	})
	l.OnStop(name, func(ctx context.Context) error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return fmt.Errorf("did not stop within %s", PartWithin)
		}
	})
}

var errEarly = errors.New("before it was asked to")

// Failed tells the first failure of a part.
func (l *Lifecycle) Failed() <-chan error { return l.failed }

func (l *Lifecycle) fail(err error) {
	select {
	case l.failed <- err:
	default: // the first failure is the one to tell
	}
}

// Stop stops all parts, the last started first, also where ctx has ended.
func (l *Lifecycle) Stop(ctx context.Context) error {
	l.mu.Lock()
	parts := l.parts
	l.parts = nil
	l.mu.Unlock()
	var errs error
	all, end := context.WithTimeout(context.WithoutCancel(ctx), Within)
	defer end()
	for i := len(parts) - 1; i >= 0; i-- {
		ctx, cancel := context.WithTimeout(all, PartWithin)
		if err := parts[i].stop(ctx); err != nil {
			errs = errors.Join(errs, fmt.Errorf("stop %s: %w", parts[i].name, err))
		}
		cancel()
		l.log.Debug().Str("component", parts[i].name).Msg("stopped")
	}
	return errs
}
