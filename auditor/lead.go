package auditor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/step"
)

// lead appends while this auditor is the elected one (D5). Two locks keep
// several apart: the one in the store, which every machine sees ([election]), and
// the ledger's own, in its directory, whose fencing number each checkpoint bears.
// An appender that loses the first while it hangs in a write still has the
// second, so that no other can write; once it goes on, it starts no further
// write (keeper.may), and gives the ledger up.
type lead struct {
	election *election
	log      zerolog.Logger
	appender interface {
		// Leave forgets what is only good while this auditor appends.
		Leave() error
	}
	runner  *step.Runner // of the appender
	release func(context.Context) error
}

// Name implements [step.Step].
func (l *lead) Name() string { return "lead" }

// Wake implements [step.Waker].
func (l *lead) Wake() <-chan struct{} { return l.election.wake }

// Do implements [step.Step]: it appends as long as a term lasts, a recovery of
// the store (A7) included.
func (l *lead) Do(ctx context.Context) (time.Duration, error) {
	t := l.election.current()
	if t == nil {
		return lockTTL, nil // the next term wakes
	}
	l.log.Info().Int64("fence", t.lock.Fence).Msg("this auditor appends")
	if err := l.serve(ctx, t); err != nil || ctx.Err() != nil {
		return 0, err // at a stop Close gives everything up, in order
	}
	l.log.Warn().Int64("fence", t.lock.Fence).Msg("this auditor does not append any more: its lock was lost")
	if err := errors.Join(l.appender.Leave(), l.release(ctx)); err != nil {
		return 0, fmt.Errorf("give the ledger up: %w", err)
	}
	return 0, nil
}

// serve runs the appender until the term or ctx ends.
func (l *lead) serve(ctx context.Context, t *term) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() {
		l.election.await(ctx, t)
		cancel()
	})
	return l.runner.Run(ctx)
}

// lookEvery is how often an auditor that shares its ledger looks for what
// another has appended.
const lookEvery = 250 * time.Millisecond

// lookout tells readers what another auditor has appended.
type lookout struct {
	end   func() (event.Position, error) // the ledger's last entry
	grown func(event.Position)
}

// Name implements [step.Step].
func (l *lookout) Name() string { return "lookout" }

// Do implements [step.Step].
func (l *lookout) Do(context.Context) (time.Duration, error) {
	p, err := l.end()
	if err != nil {
		return 0, fmt.Errorf("look at the ledger: %w", err)
	}
	l.grown(p)
	return lookEvery, nil
}

var (
	_ step.Step  = (*lead)(nil)
	_ step.Waker = (*lead)(nil)
	_ step.Step  = (*lookout)(nil)
)
