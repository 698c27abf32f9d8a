// Package work drives due leases through their revocation.
//
// One batch of one target is one call of [Worker.Process]:
//
//	due ──(commit revoking, at the store's clock)──▶ disable, end sessions
//	    ──▶ remove, prove ──(commit final state with all times)──▶ ended
//
// What holds: each lease is re-read in the commit that decides about it, so a
// wrong hint does no harm (D1); a batch that passes all stages commits one
// transition a lease (A1); a lease at fault delays and fails only itself;
// whatever happens, each lease of the batch is either ended or has a time at
// which it is looked at again.
package work

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Worker processes batches. It may be used by many goroutines.
type Worker struct {
	store   store.Leases
	engines map[string]engine.Revoker // by engine type; "" is tokens
	time    *store.Estimate
	log     zerolog.Logger
}

// New returns a worker. engines maps engine types to revokers.
func New(s store.Leases, engines map[string]engine.Revoker, t *store.Estimate, log zerolog.Logger) *Worker {
	return &Worker{store: s, engines: engines, time: t, log: log}
}

// Result is what became of a batch.
type Result struct {
	Later []expiry.Member // to be looked at again, and when
	Ended int
	// Reached: the target answered. Down: it did not.
	Reached, Down bool
}

// job is one lease on its way through the stages.
type job struct {
	lease  lease.Lease
	stages lease.Stages
}

// Process takes due members of one target as far as they go now. An error means
// that the store did not answer; nothing is lost, the claim may lapse.
func (w *Worker) Process(ctx context.Context, target string, members []expiry.Member) (Result, error) {
	var res Result
	jobs, err := w.begin(ctx, members, &res)
	if err != nil || len(jobs) == 0 {
		return res, err
	}
	var mu sync.Mutex
	merge := func(r Result) {
		mu.Lock()
		defer mu.Unlock()
		res.Later = append(res.Later, r.Later...)
		res.Ended += r.Ended
		res.Reached, res.Down = res.Reached || r.Reached, res.Down || r.Down
	}
	// A lease that failed before goes alone, so that it delays nobody (B7).
	var wg sync.WaitGroup
	errs := make(chan error, len(jobs)+1)
	fresh := map[string][]job{}
	for _, j := range jobs {
		if j.lease.Revocation.Attempts == 0 {
			fresh[j.lease.Engine] = append(fresh[j.lease.Engine], j)
			continue
		}
		wg.Go(func() {
			r, err := w.stage(ctx, target, j.lease.Engine, []job{j})
			merge(r)
			errs <- err
		})
	}
	for name, batch := range fresh {
		wg.Go(func() {
			r, err := w.stage(ctx, target, name, batch)
			merge(r)
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	for e := range errs {
		err = errors.Join(err, e)
	}
	return res, err
}

// begin commits revoking for what is due by the store's clock, and sorts out
// what is not.
func (w *Worker) begin(ctx context.Context, members []expiry.Member, res *Result) ([]job, error) {
	items := make([]store.Transition, len(members))
	for i, m := range members {
		items[i].Change = lease.Change{
			ID: m.ID, Version: lease.AnyVersion, Key: lease.RandomBase62(16),
			By: lease.System(lease.ActorExpiry), Do: lease.Revoke{If: lease.IfDue},
		}
	}
	var jobs []job
	for i, o := range w.store.Apply(ctx, items...) {
		switch {
		case o.Err == nil, errors.Is(o.Err, lease.ErrOver) && o.Lease.State == lease.Revoking:
			jobs = append(jobs, job{lease: o.Lease})
		case errors.Is(o.Err, lease.ErrOver), errors.Is(o.Err, store.ErrNotFound):
			// ended already
		case errors.Is(o.Err, lease.ErrNotDue):
			if at := o.Lease.DueAt(); !at.IsZero() {
				res.Later = append(res.Later, expiry.Member{ID: o.Lease.ID, Target: members[i].Target, At: at})
			}
		default:
			return nil, fmt.Errorf("begin revocation: %w", o.Err)
		}
	}
	return jobs, nil
}

// stage runs the stages for jobs of one engine and commits how far they came.
func (w *Worker) stage(ctx context.Context, target, name string, jobs []job) (Result, error) {
	eng := w.engines[name]
	if eng == nil {
		return w.commit(ctx, jobs, failAll(jobs, &engine.Error{
			Kind: engine.Refused, Message: fmt.Sprintf("engine %q is not part of this program", name),
		}))
	}
	outs := eng.Disable(ctx, target, leases(jobs))
	now, err := w.time.Now(ctx)
	if err != nil {
		return Result{}, err
	}
	var rest []job
	var at []int
	for i := range jobs {
		jobs[i].note(outs[i], now)
		if outs[i].Err == nil {
			rest, at = append(rest, jobs[i]), append(at, i)
		}
	}
	if len(rest) > 0 {
		removed := eng.Remove(ctx, target, leases(rest))
		if now, err = w.time.Now(ctx); err != nil {
			return Result{}, err
		}
		for k, o := range removed {
			jobs[at[k]].note(o, now)
			outs[at[k]] = o
		}
	}
	return w.commit(ctx, jobs, outs)
}

// note records the stages of an outcome at the store's time now, also on the
// job's own copy of the lease: what follows need not repeat them.
func (j *job) note(o engine.Outcome, now time.Time) {
	r := &j.lease.Revocation
	if o.Disabled && j.stages.DisabledAt.IsZero() {
		j.stages.DisabledAt = now.Add(-o.DisabledAgo)
		r.DisabledAt = j.stages.DisabledAt
	}
	if o.SessionsEnded && j.stages.SessionsEndedAt.IsZero() {
		j.stages.SessionsEndedAt = now
		r.SessionsEndedAt = now
	}
	if o.SessionsNote != "" {
		j.stages.SessionsNote = o.SessionsNote
		r.SessionsNote = o.SessionsNote
	}
}

// commit records each outcome: the end, or the failure with its fate.
func (w *Worker) commit(ctx context.Context, jobs []job, outs []engine.Outcome) (Result, error) {
	var res Result
	items := make([]store.Transition, len(jobs))
	for i, o := range outs {
		c := &items[i].Change
		l := &jobs[i].lease
		*c = lease.Change{ID: l.ID, Version: lease.AnyVersion, Key: lease.RandomBase62(16), By: l.Revocation.By, Reason: l.Revocation.Reason}
		switch {
		case o.Gone:
			c.Do = lease.Finish{Stages: jobs[i].stages, To: lease.Revoked}
		case o.RanOut:
			c.Do = lease.Finish{Stages: jobs[i].stages, To: lease.Expired}
		default:
			err := engine.AsError(o.Err)
			if err == nil { // an engine that neither ended nor failed
				err = &engine.Error{Kind: engine.Internal, Message: "the engine did not prove absence"}
			}
			c.Do = fate(err, l.Revocation.Attempts, jobs[i].stages)
			w.logFailure(l, err)
		}
		down := isDown(o.Err)
		res.Down, res.Reached = res.Down || down, res.Reached || !down
	}
	for i, o := range w.store.Apply(ctx, items...) {
		switch {
		case o.Err == nil && o.Lease.State.Final():
			res.Ended++
		case o.Err == nil:
			res.Later = append(res.Later, expiry.Member{ID: o.Lease.ID, Target: jobs[i].lease.Target, At: o.Lease.DueAt()})
		case errors.Is(o.Err, lease.ErrOver): // another worker ended it (C7)
		default:
			return res, fmt.Errorf("record revocation: %w", o.Err)
		}
	}
	return res, nil
}

func (w *Worker) logFailure(l *lease.Lease, err *engine.Error) {
	if err.Kind == engine.NotYet {
		return
	}
	w.log.Warn().Str("lease", string(l.ID)).Str("target", l.Target).Str("kind", string(err.Kind)).
		Int("attempts", l.Revocation.Attempts+1).Str("error", err.Message).AnErr("cause", err.Err).Msg("revocation failed")
}

func isDown(err error) bool {
	e := engine.AsError(err)
	return e != nil && e.Kind == engine.Unreachable
}

func failAll(jobs []job, err error) []engine.Outcome {
	out := make([]engine.Outcome, len(jobs))
	for i := range out {
		out[i].Err = err
	}
	return out
}

func leases(jobs []job) []lease.Lease {
	out := make([]lease.Lease, len(jobs))
	for i := range jobs {
		out[i] = jobs[i].lease
	}
	return out
}
