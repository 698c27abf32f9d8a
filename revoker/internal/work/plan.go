package work

import (
	"context"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
)

// planned gives each lease that has none a plan for its end: one that was
// brought in from the record, which does not keep plans (A7). It is asked for
// anew in each attempt and not kept. The outcomes have the failures: each is
// its own lease's (C8).
func (w *Worker) planned(ctx context.Context, eng engine.Revoker, target, name string, jobs []job) []engine.Outcome {
	outs := make([]engine.Outcome, len(jobs))
	sweeper, ok := eng.(engine.Sweeper)
	if !ok {
		return outs
	}
	for i := range jobs {
		if l := &jobs[i].lease; len(l.Plan) == 0 {
			outs[i] = w.ask(name, jobs[i:i+1], func() []engine.Outcome { return []engine.Outcome{{Err: plan(ctx, sweeper, target, l)}} })[0]
		}
	}
	return outs
}

func plan(ctx context.Context, sweeper engine.Sweeper, target string, l *lease.Lease) error {
	frozen, handle, err := sweeper.StrayPlan(ctx, target, engine.Account{Name: l.Account, CreatedAt: l.IssuedAt})
	if err != nil {
		return err
	}
	l.Plan = frozen
	if len(l.Handle) == 0 {
		l.Handle = handle
	}
	return nil
}
