package auditor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/auditor/internal/appender"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	// lockName elects the auditor that appends, and lockTTL is how long it is
	// missed after a crash.
	lockName = "auditor"
	lockTTL  = 10 * time.Second
	// lockEvery is how often one that stands by tries to take the lock, and
	// lockWithin how long a try may take: two fit into the time of the lock.
	lockEvery  = 500 * time.Millisecond
	lockWithin = 4 * time.Second
)

// errHung says why an auditor gives way although it reaches the store.
var errHung = errors.New("the ledger does not answer")

// election takes and keeps the lock in the store (D5). It is a step of its own,
// so that a recovery or a slow disk does not let the lock lapse.
//
// What holds: trust in the lock is counted from before the attempt that took or
// extended it, by this process's own clock; so it ends before the store would
// give the lock to another, unless the two clocks do not run alike. An auditor
// whose ledger hangs stops extending: another may reach it.
type election struct {
	locks store.Locks
	clock clock.Clock
	log   zerolog.Logger
	owner string
	hung  func() bool // the ledger does not answer
	wake  step.Signal // set where a term begins

	waits bool // another has the lock, and that was logged

	mu   sync.Mutex
	term *term // the latest; nil: another auditor's
}

// newElection returns the election of the auditor that uses l, which name shows to
// people, and has l ask it before each use.
func newElection(d Deps, name string, l *keeper) *election {
	e := &election{
		locks: d.Locks, clock: d.Clock, log: d.Log, wake: step.NewSignal(),
		owner: name + "-" + lease.RandomBase62(8), hung: l.hung,
	}
	l.may = func() bool { return e.current() != nil }
	return e
}

// leading is the step that runs what one auditor does, which a is part of, while
// this one is elected.
func (e *election) leading(a *appender.Appender, l *keeper, steps ...step.Step) *lead {
	return &lead{election: e, log: e.log, appender: a, release: l.release, runner: step.New(e.clock, e.log, paced(), steps...)}
}

// term is one time of leading.
type term struct {
	lock  store.Lock
	until time.Time     // trust ends, unless it is extended before
	over  chan struct{} // closed where the store says that it has ended
}

// Name implements [step.Step].
func (e *election) Name() string { return "election" }

// Do implements [step.Step]: it takes or extends the lock.
func (e *election) Do(ctx context.Context) (time.Duration, error) {
	if e.hung() {
		e.end()
		return 0, fmt.Errorf("keep the appender's lock: %w", errHung)
	}
	before := e.clock.Now()
	ctx, cancel := context.WithTimeout(ctx, lockWithin)
	defer cancel()
	lock, ok, err := e.locks.Acquire(ctx, lockName, e.owner, lockTTL)
	switch {
	case err != nil:
		// What was trusted before is trusted until its time.
		return 0, fmt.Errorf("take the appender's lock: %w", err)
	case !ok:
		e.end()
		if !e.waits {
			e.log.Info().Msg("another auditor appends; standing by")
		}
		e.waits = true
		return lockEvery, nil
	}
	e.waits = false
	e.extend(lock, before.Add(lockTTL))
	return lockTTL / 4, nil
}

// extend makes the term last until then, or begins another: where another
// auditor had the lock meanwhile, or trust in it had ended.
func (e *election) extend(lock store.Lock, until time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.clock.Now()
	if !now.Before(until) {
		return // the answer took longer than it is good for
	}
	if t := e.term; t != nil && t.lock == lock && now.Before(t.until) {
		t.until = until
		return
	}
	e.finish()
	e.term = &term{lock: lock, until: until, over: make(chan struct{})}
	e.wake.Set()
}

// end ends the term, if there is one, without waiting for its time.
func (e *election) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.finish()
}

func (e *election) finish() {
	if e.term != nil {
		close(e.term.over)
		e.term = nil
	}
}

// current is the term in which this auditor leads; nil: it does not.
func (e *election) current() *term {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.term == nil || !e.clock.Now().Before(e.term.until) {
		return nil
	}
	return e.term
}

// left is how long t is trusted from now on, unless it is extended.
func (e *election) left(t *term) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return t.until.Sub(e.clock.Now())
}

// await returns when t has ended, or ctx has.
func (e *election) await(ctx context.Context, t *term) {
	for left := e.left(t); left > 0; left = e.left(t) {
		tick, stop := e.clock.Timer(left)
		select {
		case <-tick: // it may have been extended meanwhile
			stop()
		case <-t.over:
			stop()
			return
		case <-ctx.Done():
			stop()
			return
		}
	}
}

// resign lets another auditor lead at once. It is not called while Do runs, and
// the ledger is closed before.
func (e *election) resign(ctx context.Context) error {
	e.mu.Lock()
	t := e.term
	e.finish()
	e.mu.Unlock()
	if t == nil {
		return nil
	}
	if err := e.locks.Release(ctx, t.lock); err != nil {
		return fmt.Errorf("give up the appender's lock: %w", err)
	}
	return nil
}

var _ step.Step = (*election)(nil)
