package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
)

// stopWithin bounds the stop of each part.
const stopWithin = 15 * time.Second

// lifecycle runs parts and stops them in reverse order of their start.
type lifecycle struct {
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

func newLifecycle(c clock.Clock, log zerolog.Logger) *lifecycle {
	return &lifecycle{clock: c, log: log, failed: make(chan error, 1)}
}

// onStop adds what is to be done at its turn.
func (l *lifecycle) onStop(name string, stop func(context.Context) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parts = append(l.parts, part{name, stop})
}

// run starts a part that works until its context ends; that is at its turn to
// stop, not when ctx ends. One that ends before fails the whole.
func (l *lifecycle) run(ctx context.Context, name string, work func(context.Context) error) {
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
	l.onStop(name, func(ctx context.Context) error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return fmt.Errorf("did not stop within %s", stopWithin)
		}
	})
}

var errEarly = errors.New("before it was asked to")

func (l *lifecycle) fail(err error) {
	select {
	case l.failed <- err:
	default: // the first failure is the one to tell
	}
}

// stop stops all parts, the last started first, also where ctx has ended.
func (l *lifecycle) stop(ctx context.Context) error {
	l.mu.Lock()
	parts := l.parts
	l.parts = nil
	l.mu.Unlock()
	var errs error
	for i := len(parts) - 1; i >= 0; i-- {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		if err := parts[i].stop(ctx); err != nil {
			errs = errors.Join(errs, fmt.Errorf("stop %s: %w", parts[i].name, err))
		}
		cancel()
		l.log.Debug().Str("component", parts[i].name).Msg("stopped")
	}
	return errs
}
