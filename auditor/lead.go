package auditor

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	// lockName elects the auditor that appends, and lockTTL is how long it is
	// missed after a crash.
	lockName = "auditor"
	lockTTL  = 10 * time.Second
	// lookEvery is how often one that stands by looks at the ledger and at the
	// lock.
	lookEvery  = 250 * time.Millisecond
	lockWithin = 5 * time.Second
)

// lead lets one of several auditors append (D5). Two locks keep them apart: this
// one in the store, which every machine sees, and the ledger's own, in its
// directory, whose fencing number each checkpoint bears. An appender that lost
// the first while it hung in a write still has the second, or finds at its next
// batch that another has stamped it: the ledger never has two.
type lead struct {
	locks    store.Locks
	clock    clock.Clock
	log      zerolog.Logger
	owner    string
	appender step.Step
	release  func(context.Context) error    // gives the ledger up
	end      func() (event.Position, error) // the ledger's last entry
	grown    func(event.Position)           // the ledger has it
	last     event.Position                 // that readers were told of

	lock    store.Lock
	held    bool
	nextTry time.Time // of the lock: to take it, or to extend it
	until   time.Time // trust in it ends, counted from before the attempt
}

// Name implements [step.Step].
func (l *lead) Name() string { return "lead" }

// Do implements [step.Step]: it appends where this auditor leads, else shows
// readers what another has appended.
func (l *lead) Do(ctx context.Context) (time.Duration, error) {
	err := l.elect(ctx)
	if l.held && l.clock.Now().Before(l.until) {
		rest, failed := l.appender.Do(ctx)
		return min(rest, lockTTL/4), failed
	}
	if l.held {
		l.log.Warn().AnErr("reason", err).Msg("the lock of the appender was lost; standing by")
		l.standBy(ctx)
	}
	if err != nil {
		return 0, err
	}
	return lookEvery, l.follow()
}

// elect takes or keeps the lock.
func (l *lead) elect(ctx context.Context) error {
	now := l.clock.Now()
	if now.Before(l.nextTry) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lockWithin)
	defer cancel()
	lock, ok, err := l.locks.Acquire(ctx, lockName, l.owner, lockTTL)
	if err != nil {
		return fmt.Errorf("take the appender's lock: %w", err)
	}
	l.nextTry = now.Add(lookEvery)
	switch {
	case !ok:
		l.until = time.Time{}
		return nil
	case !l.held:
		l.log.Info().Int64("fence", lock.Fence).Msg("this auditor appends")
	case lock.Fence != l.lock.Fence: // another had it meanwhile
		l.standBy(ctx)
	}
	l.lock, l.held, l.until, l.nextTry = lock, true, now.Add(lockTTL), now.Add(lockTTL/4)
	return nil
}

// standBy gives the ledger up, for another to take.
func (l *lead) standBy(ctx context.Context) {
	l.held = false
	if err := l.release(ctx); err != nil {
		l.log.Warn().Err(err).Msg("the ledger was not closed in order")
	}
}

// follow tells readers what is new.
func (l *lead) follow() error {
	p, err := l.end()
	if err != nil {
		return fmt.Errorf("look at the ledger: %w", err)
	}
	if l.last.Before(p) {
		l.last = p
		l.grown(p)
	}
	return nil
}

// close lets another auditor lead at once. The ledger is closed before.
func (l *lead) close(ctx context.Context) error {
	if !l.held {
		return nil
	}
	l.held = false
	if err := l.locks.Release(ctx, l.lock); err != nil {
		return fmt.Errorf("give up the appender's lock: %w", err)
	}
	return nil
}

var _ step.Step = (*lead)(nil)
