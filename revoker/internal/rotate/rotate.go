// Package rotate does what falls due in targets by itself: it gives accounts of
// static roles new passwords, and keeps group roles. It is the part of that which
// is about time: the engine does the act, and the store decides that it is done
// once. Below, a rotation is either.
//
// # What holds
//
// A target never waits for another: each has at most one flight, which takes its
// accounts one after the other. One that does not answer is probed with one
// account at a time, with growing delay up to a minute, and its first success
// wakes its whole backlog (C8). An account that fails by itself keeps none of its
// neighbours: when it is tried again is on its role.
//
// Nothing is rotated on the word of a store that may lack something (A7), nor in
// a target that another installation sweeps (B3): a copy that rotates would lock
// out everybody whom the original serves.
//
// # What can fail
//
//	store away         nothing is rotated; passwords stay as they are
//	clock jumps        rotations pause as expiry does (A5)
//	process dies       the next look of any process takes the rotation up
//	copy at work       within one round of the stray sweep the target bears a mark
//	                   that the other does not know; from then on neither rotates
//	                   until a person confirms. A copy that is made and started
//	                   within one round is not seen in time.
package rotate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

// Store is what the step asks whether it may act.
type Store interface {
	store.Entries
	// Suspension is that of [store.Recovery].
	Suspension(ctx context.Context) (store.Suspension, bool, error)
}

// Deps are the collaborators; all are needed.
type Deps struct {
	Store   Store
	Engines map[string]engine.Rotator // by engine type; some may be an [engine.Marker]
	Time    *store.Estimate
	Clock   clock.Clock
	Log     zerolog.Logger
	// Due, which may be nil, hears at each look how many rotations are due.
	Due func(n int)
	// Told hears of each rotation that was done or failed; it must not block.
	Told func(r engine.Rotation, err error)
}

// Config tunes a [Rotations]; the zero value works.
type Config struct {
	Name     string        // of the step; "rotations"
	Every    time.Duration // at most between looks at the store; 5 s
	Least    time.Duration // at least between them; 500 ms
	MinProbe time.Duration // first delay after a target was down; 250 ms
	MaxProbe time.Duration // 1 min
}

// Rotations is the step.
type Rotations struct {
	Deps
	cfg  Config
	wake step.Signal

	mu      sync.Mutex
	targets map[string]*target
	said    string // why nothing is rotated, as logged last
	flights sync.WaitGroup
}

// target is what this process knows of one target.
type target struct {
	flying bool
	failed int       // in a row
	until  time.Time // local: not before
}

// New returns the step; it starts nothing.
func New(d Deps, cfg Config) *Rotations {
	cfg.Name = cmp.Or(cfg.Name, "rotations")
	cfg.Every = cmp.Or(cfg.Every, 5*time.Second)
	cfg.Least = cmp.Or(cfg.Least, 500*time.Millisecond)
	cfg.MinProbe = cmp.Or(cfg.MinProbe, 250*time.Millisecond)
	cfg.MaxProbe = cmp.Or(cfg.MaxProbe, time.Minute)
	return &Rotations{Deps: d, cfg: cfg, wake: step.NewSignal(), targets: map[string]*target{}}
}

// Name implements [step.Step].
func (s *Rotations) Name() string { return s.cfg.Name }

// Wake implements [step.Waker].
func (s *Rotations) Wake() <-chan struct{} { return s.wake }

// Wait returns when no flight is in the air.
func (s *Rotations) Wait() { s.flights.Wait() }

// Do implements [step.Step]: it starts a flight for every target with accounts
// that are due, and waits for none.
func (s *Rotations) Do(ctx context.Context) (time.Duration, error) {
	if len(s.Engines) == 0 {
		return s.cfg.Every, nil
	}
	why, err := s.doubt(ctx)
	if err != nil {
		return 0, err
	}
	s.say(why)
	if why != "" {
		return s.cfg.Every, nil
	}
	now, err := s.Time.Now(ctx)
	if err != nil {
		return 0, err
	}
	rest, waiting := s.cfg.Every, 0
	var errs error
	for name, e := range s.Engines {
		all, err := e.Rotations(ctx, now.Add(s.cfg.Every))
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("list rotations of %s: %w", name, err))
			continue
		}
		due := map[string][]engine.Rotation{}
		for _, r := range all {
			if wait := r.Due.Sub(now); wait > 0 {
				rest = min(rest, wait)
				continue
			}
			waiting++
			due[r.Target] = append(due[r.Target], r)
		}
		for target, list := range due {
			s.launch(ctx, e, target, list)
		}
	}
	if s.Due != nil && errs == nil {
		s.Due(waiting)
	}
	return max(rest, s.cfg.Least), errs
}

// doubt is why nothing may be rotated anywhere; "" where it may.
func (s *Rotations) doubt(ctx context.Context) (string, error) {
	_, suspended, err := s.Store.Suspension(ctx)
	switch {
	case err != nil:
		return "", fmt.Errorf("ask whether the store is suspended: %w", err)
	case suspended:
		return "the store is suspended", nil
	case s.Time.Paused():
		return "the store's clock has jumped", nil
	}
	reasons, err := installation.Current(ctx, s.Store)
	return strings.Join(reasons, "; "), err
}

// say logs why nothing is rotated, once for each change.
func (s *Rotations) say(why string) {
	if why == s.said { // only the step itself calls it
		return
	}
	if s.said = why; why == "" {
		s.Log.Info().Str("step", s.cfg.Name).Msg("what falls due in targets is done again")
		return
	}
	s.Log.Warn().Str("step", s.cfg.Name).Str("reason", why).Msg("what falls due in targets is not done")
}

// launch starts a flight where the target has none, and is not down.
func (s *Rotations) launch(ctx context.Context, e engine.Rotator, name string, due []engine.Rotation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.targets[name]
	if t == nil {
		t = &target{}
		s.targets[name] = t
	}
	if t.flying || t.failed > 0 && s.Clock.Now().Before(t.until) {
		return
	}
	t.flying = true
	// What has failed before keeps nobody waiting.
	slices.SortFunc(due, func(a, b engine.Rotation) int {
		return cmp.Or(cmp.Compare(a.Attempts, b.Attempts), a.Due.Compare(b.Due), strings.Compare(a.ID, b.ID))
	})
	if t.failed > 0 {
		due = due[:1]
	}
	s.flights.Go(func() { s.land(name, s.fly(ctx, e, name, due)) })
}

// fly rotates one account after the other, until the target does not answer or
// the process is to stop; down says that it did not.
func (s *Rotations) fly(ctx context.Context, e engine.Rotator, name string, due []engine.Rotation) (down bool) {
	for _, r := range due {
		if ctx.Err() != nil {
			return false
		}
		done, err := s.rotate(ctx, e, name, r)
		if done || err != nil {
			s.Told(r, err)
		}
		if err != nil && ofTarget(engine.AsError(err).Kind) {
			return true
		}
		// What failed by itself says on its role when it is tried again.
	}
	return false
}

// ofTarget reports whether every account of the target would have failed so.
func ofTarget(k engine.Kind) bool {
	return k == engine.Unreachable || k == engine.Busy || k == engine.NotYet
}

// rotate is the engine's, where a bug must not end the process.
func (s *Rotations) rotate(ctx context.Context, e engine.Rotator, name string, r engine.Rotation) (done bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			s.Log.Error().Err(err).Str("target", name).Str("role", r.Mount+r.Role).Msg("rotation broke down")
		}
	}()
	return e.Rotate(ctx, r, func(ctx context.Context) error { return s.allowed(ctx, e, name) })
}

// allowed says why an account of a target may not be rotated now.
func (s *Rotations) allowed(ctx context.Context, e engine.Rotator, name string) error {
	why, err := s.doubt(ctx)
	if err != nil {
		return err
	}
	if why != "" {
		return notYet(why)
	}
	m, ok := e.(engine.Marker)
	if !ok {
		return nil
	}
	found, err := m.Mark(ctx, name)
	if err != nil {
		return err
	}
	// The store is read after the mark: whatever another process of this
	// installation wrote there, it had committed before.
	o, _, err := installation.Owned(ctx, s.Store, name)
	switch {
	case err != nil:
		return err
	case o.Contested != "":
		return notYet(fmt.Sprintf("another installation sweeps this target: its mark was %q", o.Contested))
	case !o.Knows(found) && !o.Adopt:
		return notYet(fmt.Sprintf("another installation sweeps this target: its mark is %q", found))
	}
	return nil
}

func notYet(why string) error {
	return &engine.Error{Kind: engine.NotYet, Message: "nothing is changed in the target by itself for now: " + why}
}

// land ends a flight and notes how the target did.
func (s *Rotations) land(name string, down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.targets[name]
	t.flying = false
	switch {
	case down:
		t.failed++
		t.until = s.Clock.Now().Add(step.Jitter(min(s.cfg.MinProbe<<min(t.failed-1, 10), s.cfg.MaxProbe)))
		return
	case t.failed > 0:
		s.Log.Info().Str("target", name).Msg("target answers again")
		s.wake.Set()
	}
	delete(s.targets, name)
}
