package sweep

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/engine"
)

// together is how many targets are swept at a time: those that do not answer
// hold up the others only where there are more of them.
const together = 16

// eachTarget sweeps all targets side by side (promise 4) and returns when all are
// done.
func eachTarget(ctx context.Context, engines map[string]engine.Sweeper, do func(string, engine.Sweeper, engine.Target) error) error {
	var mu sync.Mutex
	var errs error
	note := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		errs = errors.Join(errs, err)
	}
	places := make(chan struct{}, together)
	var wg sync.WaitGroup
	for name, sw := range engines {
		targets, err := sw.Targets(ctx)
		if err != nil {
			note(fmt.Errorf("list targets of %s: %w", name, err))
			continue
		}
		for _, t := range targets {
			places <- struct{}{}
			wg.Go(func() {
				defer func() { <-places }()
				if err := guarded(func() error { return do(name, sw, t) }); err != nil {
					note(fmt.Errorf("sweep %s%s: %w", t.Mount, t.Name, err))
				}
			})
		}
	}
	wg.Wait()
	return errs
}

// guarded turns a panic into an error: it would end the process.
func guarded(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return do()
}

// Ghosts ends sessions whose account no longer exists (C2), and notices a target
// that is not the one that it was (C6): restored, failed over or restarted, it
// may have accounts again that were proved absent. It asks at a steady pace, so
// that it also notices first that one that was away answers again (C8).
type Ghosts struct {
	Engines map[string]engine.Sweeper
	Log     zerolog.Logger
	Every   time.Duration
	// Changed is called, once a round, after a target has changed.
	Changed func()
	// Returned is called, once for each return, with a target that did not answer
	// in the round before and does now.
	Returned func(target string)

	mu    sync.Mutex
	lives map[string]string // incarnation by target
	away  map[string]bool   // targets that did not answer in the last round
}

// Name implements [step.Step].
func (s *Ghosts) Name() string { return "ghosts" }

// Do implements [step.Step].
func (s *Ghosts) Do(ctx context.Context) (time.Duration, error) {
	var changed atomic.Bool
	err := eachTarget(ctx, s.Engines, func(_ string, sw engine.Sweeper, t engine.Target) error {
		n, err := sw.EndGhosts(ctx, t.ID)
		if s.returned(t.ID, err == nil) {
			s.Returned(t.ID)
		}
		if err != nil {
			return fmt.Errorf("end sessions without an account: %w", err)
		}
		if n > 0 {
			s.Log.Warn().Str("target", t.ID).Int("sessions", n).Msg("sessions without an account were ended")
		}
		w, ok := sw.(engine.Watcher)
		if !ok {
			return nil
		}
		life, err := w.Incarnation(ctx, t.ID)
		if err != nil {
			return fmt.Errorf("look whether the target changed: %w", err)
		}
		if s.changed(t.ID, life) {
			s.Log.Warn().Str("target", t.ID).Str("now", life).Msg("target was restarted, restored or failed over")
			changed.Store(true)
		}
		return nil
	})
	if changed.Load() {
		s.Changed()
	}
	if err != nil && ctx.Err() == nil {
		s.Log.Warn().Err(err).Msg("sessions without an account were not looked for everywhere")
	}
	return s.Every, nil
}

// returned notes whether a target answers, and reports whether it does again.
func (s *Ghosts) returned(target string, answers bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !answers {
		if s.away == nil {
			s.away = map[string]bool{}
		}
		s.away[target] = true
		return false
	}
	before := s.away[target]
	delete(s.away, target)
	return before
}

// changed notes a target's incarnation and reports whether it had another.
func (s *Ghosts) changed(target, life string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lives == nil {
		s.lives = map[string]string{}
	}
	before, known := s.lives[target]
	s.lives[target] = life
	return known && before != life
}
