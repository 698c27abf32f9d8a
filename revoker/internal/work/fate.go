package work

import (
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/step"
)

// The delays of C8.
const (
	firstRetry = 500 * time.Millisecond
	maxRetry   = 60 * time.Second
	parkRetry  = 15 * time.Minute
)

// fate decides what becomes of a failed attempt (C8): retried, or parked for a
// person; nothing ends by itself. before is the number of attempts that failed
// already.
func fate(err *engine.Error, before int, stages lease.Stages) lease.Progress {
	p := lease.Progress{Stages: stages, Failed: true, Error: err.Message, Own: !ofTarget(err)}
	switch {
	case err.Kind == engine.NotYet:
		p.Failed, p.Own, p.Error, p.After = false, false, "", max(err.After, 100*time.Millisecond)
		return p
	case err.Parks():
		p.Parked, p.After = true, parkRetry
		if before == 0 { // one quick look at whether it was a passing state
			p.After = firstRetry
		}
	default:
		p.After = backoff(before)
	}
	if err.After > 0 {
		p.After = min(p.After, err.After)
	}
	return p
}

// ofTarget reports whether every lease of the target would have failed so.
func ofTarget(err *engine.Error) bool {
	return err.Kind == engine.Unreachable || err.Kind == engine.Busy
}

// backoff grows from firstRetry to maxRetry, with half of it random.
func backoff(before int) time.Duration {
	return step.Jitter(min(firstRetry<<min(before, 10), maxRetry))
}
