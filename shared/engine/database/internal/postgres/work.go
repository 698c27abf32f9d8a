package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/gather"
	"github.com/curfew-project/curfew/shared/lease"
)

// act is what the jobs of one gatherer have in common.
type act struct {
	class class
	// unit renders a job for a connection at the target's time now.
	unit func(l *link, j *job, now time.Time) (unit, error)
	// look, if set, reads what unit needs to know of the jobs, and returns the
	// target's time of that moment. It may settle jobs, and orders them.
	look func(ctx context.Context, l *link, jobs []*job) (now time.Time, err error)
	// fence makes the transaction fail after the leases' deadlines.
	fence bool
	// confirm looks at what jobs in state sent came to, and settles them or
	// opens them again. It may run twice.
	confirm func(ctx context.Context, l *link, jobs []*job) error
}

// submit gathers jobs with those of other callers and returns when all are
// settled. Those that run over are finished in the solo lane, so that only
// their own caller waits.
func (t *Target) submit(ctx context.Context, gatherers []*gather.Gatherer[[]*job, error], a act, jobs []*job) {
	if len(jobs) == 0 {
		return
	}
	waiting := &t.waiting[a.class]
	if waiting.Add(int64(len(jobs))) > int64(t.settings.Limits.Waiting) {
		waiting.Add(-int64(len(jobs)))
		settle(jobs, busy("too much waits for the target"))
		return
	}
	g := gatherers[t.next.Add(1)%uint64(len(gatherers))]
	_, err := g.Do(ctx, jobs)
	waiting.Add(-int64(len(jobs)))
	if err != nil {
		settle(jobs, busy("too much waits for the target"))
		return
	}
	t.finishAlone(ctx, a, jobs)
}

func settle(jobs []*job, err error) {
	for _, j := range jobs {
		if j.state != settled {
			j.fail(err)
		}
	}
}

// work returns the function of a gatherer: it takes the jobs of several calls
// through as many turns as they need.
func (t *Target) work(a act) func([][]*job) []error {
	return func(calls [][]*job) []error {
		var jobs []*job
		for _, c := range calls {
			jobs = append(jobs, c...)
		}
		// The batch serves many callers and follows none of their contexts (A8).
		ctx, cancel := context.WithTimeout(context.Background(), t.settings.Limits.Call)
		defer cancel()
		for pass := 0; ; pass++ {
			chunks := cut(jobs)
			if len(chunks) == 0 || ctx.Err() != nil {
				break
			}
			for _, chunk := range chunks {
				t.turn(ctx, a, chunk)
			}
			if retrying(jobs) {
				t.pause(ctx, jitter(pass))
			}
		}
		settleOpen(jobs)
		return make([]error, len(calls))
	}
}

func settleOpen(jobs []*job) {
	for _, j := range jobs {
		if j.state == open || j.state == sent {
			j.fail(busy("the target is too slow for what waits for it"))
		}
	}
}

func retrying(jobs []*job) bool {
	for _, j := range jobs {
		if j.state == open && j.attempts > 0 {
			return true
		}
	}
	return false
}

// jitter keeps those who were in each other's way from meeting again.
func jitter(pass int) time.Duration {
	return time.Duration(rand.Int64N(int64(20*time.Millisecond) << min(pass, 4))) //nolint:gosec // not a secret
}

// pause waits on the injected clock.
func (t *Target) pause(ctx context.Context, d time.Duration) {
	_ = clock.Sleep(ctx, t.clk, d) // who is told to stop is refused by the next call
}

// turn runs one batch on a writer. Afterwards each job is settled, slow, or
// open for another turn.
func (t *Target) turn(ctx context.Context, a act, chunk []*job) {
	writer, err := t.writers.take(ctx, a.class)
	if err != nil {
		settle(chunk, err)
		return
	}
	defer t.writers.give(ctx, writer)
	err = writer.use(ctx, t.settings.Limits.Turn, func(ctx context.Context, l *link) error {
		return t.commit(ctx, l, a, chunk, transaction{statement: t.settings.Limits.Turn / 2})
	})
	if e, ok := errors.AsType[*engine.Error](err); ok {
		settle(chunk, e) // nothing was sent: the target is not there
		return
	}
	t.conclude(ctx, writer, a, chunk)
}

// conclude reads back what was sent.
func (t *Target) conclude(ctx context.Context, on *lane, a act, chunk []*job) {
	var out []*job
	for _, j := range chunk {
		if j.state == sent {
			out = append(out, j)
		}
	}
	if len(out) == 0 {
		return
	}
	err := on.again(ctx, t.settings.Limits.Turn, func(ctx context.Context, l *link) error { return a.confirm(ctx, l, out) })
	if err != nil {
		settle(out, t.person(err))
	}
}

// commit sends a batch, with the timeouts of tx, and sorts the outcome. It
// returns an error only where the connection is of no more use.
func (t *Target) commit(ctx context.Context, l *link, a act, chunk []*job, tx transaction) error {
	here := l.belonging(chunk)
	look := a.look
	if look == nil {
		look = func(ctx context.Context, l *link, _ []*job) (time.Time, error) { return t.targetNow(ctx, l) }
	}
	now, err := look(ctx, l, here)
	if err != nil {
		for _, j := range here {
			j.later(t.person(err))
		}
		return err
	}
	tx.alone = len(chunk) == 1 && !chunk[0].script().Batchable()
	var live []*job
	for _, j := range unsettled(here) {
		u, err := a.unit(l, j, now)
		if err != nil {
			j.fail(err)
			continue
		}
		tx.units, live = append(tx.units, u), append(live, j)
		tx.advisory = tx.advisory || j.script().Conflicting()
	}
	if len(live) == 0 {
		return nil
	}
	if a.fence {
		tx.last = func(alive []int) []string { return fence(live, alive) }
	}
	faults, err := l.transact(ctx, tx)
	switch {
	case err == nil:
		t.sort(live, faults)
	case lost(err):
		for _, j := range live {
			j.state, j.unsure = sent, true // perhaps: it is read back
		}
	default:
		t.undo(ctx, l, live, err)
	}
	if tx.alone && err == nil {
		_, err = l.run(ctx, "DISCARD ALL") // (B4)
	}
	if lost(err) {
		return err
	}
	return nil
}

// belonging are the jobs whose accounts are in the system at the other end (C6);
// the others fail.
func (l *link) belonging(chunk []*job) (here []*job) {
	for _, j := range chunk {
		if want := identityOf(j.lease).SystemID; want != "" && want != l.facts.SystemID {
			j.fail(moved(want, l.facts.SystemID))
			continue
		}
		here = append(here, j)
	}
	return here
}

// sort settles the jobs of a transaction that committed.
func (t *Target) sort(live []*job, faults []error) {
	for i, j := range live {
		trial := j.trial()
		switch err := faults[i]; {
		case err == nil:
			j.state = sent
			if trial != nil && len(live) == 1 {
				trial.set(true)
			}
		case j.unsure && hasCode(err, codeDuplicateObject, codeUniqueViolation):
			j.state = sent // by the transaction whose end was not heard
		case transient(err), errors.Is(err, errOvertaken):
			j.later(t.person(err))
		case hasCode(err, codeCanceled):
			j.state = slow
		default:
			if trial != nil && len(live) == 1 {
				trial.set(false)
			}
			j.fail(t.person(err))
		}
	}
}

// undo decides about the jobs of a transaction that did not happen.
func (t *Target) undo(ctx context.Context, l *link, live []*job, err error) {
	switch {
	case errors.Is(err, errFence):
		t.late(ctx, l, live)
	case ctx.Err() != nil, hasCode(err, codeCanceled):
		for _, j := range live {
			if len(live) == 1 {
				j.state = slow
			}
			j.share = max(1, len(live)/2)
		}
	case transient(err):
		for _, j := range live {
			j.later(t.person(err))
		}
	case len(live) > 1: // whose fault it is shows when each runs alone
		for _, j := range live {
			j.solitary = true
		}
	default:
		if trial := live[0].trial(); trial != nil {
			trial.set(false)
		}
		settle(live, t.person(err))
	}
}

// late settles the jobs whose deadline has passed by the target's clock; the
// others are tried again (B1).
func (t *Target) late(ctx context.Context, l *link, live []*job) {
	_, now, err := t.sample(ctx, l)
	for _, j := range live {
		if err == nil && now.Before(j.lease.CreateDeadline) {
			j.later(errLate)
			continue
		}
		j.fail(errLate)
	}
}

var errLate = &engine.Error{
	Kind:    engine.Conflict,
	Message: "the target took longer than the creation may take; nothing was created",
}

// finishAlone runs what ran over: one lease at a time on a connection that is
// closed afterwards, for as long as the call may take (B7).
func (t *Target) finishAlone(ctx context.Context, a act, jobs []*job) {
	var over []*job
	for _, j := range jobs {
		if j.state == slow {
			over = append(over, j)
		}
	}
	if len(over) == 0 {
		return
	}
	limit := t.settings.Limits.Call
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	for _, j := range over {
		j.state = open
		err := t.solo.once(ctx, limit, func(ctx context.Context, l *link) error {
			return t.commit(ctx, l, a, []*job{j}, transaction{statement: limit, lock: limit})
		})
		if e, ok := errors.AsType[*engine.Error](err); ok {
			j.fail(e)
		}
		t.conclude(ctx, t.observe, a, []*job{j})
		if j.state != settled {
			j.overran = true
			j.fail(&engine.Error{Kind: engine.Conflict, Message: "the statements of the role take too long: the target ended them after " + lease.Short(limit)})
		}
	}
}
