// Package work drives due leases through their revocation.
//
// One batch of one target is one call of [Worker.Process]:
//
//	due ──(commit revoking, at the store's clock)──▶ disable, end sessions
//	    ──▶ remove, prove ──(commit final state with all times)──▶ ended
//
// What holds: each lease is re-read in the commit that decides about it, so a
// wrong hint does no harm (D1); a batch that passes all stages commits one
// transition a lease (A1); a lease at fault, in the target or in the store,
// delays and fails only itself; a bug in an engine is a failed attempt; while
// the store's clock is in doubt, or the store is suspended, nothing is begun, but
// what was begun goes on (A5, A7); a lease that came back from the record gets the
// plan of a stray;
// whatever happens, each lease of the batch is either ended or has a time at
// which it is looked at again.
package work

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
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
	waiting atomic.Bool // leases that are due wait for a suspended store
}

// New returns a worker. engines maps engine types to revokers.
func New(s store.Leases, engines map[string]engine.Revoker, t *store.Estimate, log zerolog.Logger) *Worker {
	return &Worker{store: s, engines: engines, time: t, log: log}
}

// Result is what became of a batch.
type Result struct {
	Later []expiry.Member // to be looked at again, and when
	Ended int
	// Reached: the target answered at least once. Down: it did not at least once.
	Reached, Down bool
}

// job is one lease on its way through the stages.
type job struct {
	lease  lease.Lease
	stages lease.Stages
}

// Process takes due members of one target as far as they go now. Whatever
// happens, each member has ended or is in the result's Later; an error tells why
// some could not be worked on, for the log. closed is called once no lease of the
// batch waits for stages (a) and (b); not where they failed.
func (w *Worker) Process(ctx context.Context, target string, members []expiry.Member, closed func()) (Result, error) {
	var res Result
	jobs, err := w.begin(ctx, members, &res)
	if len(jobs) == 0 {
		return res, err
	}
	var mu sync.Mutex
	merge := func(r Result, e error) {
		mu.Lock()
		defer mu.Unlock()
		res.Later = append(res.Later, r.Later...)
		res.Ended += r.Ended
		res.Reached, res.Down = res.Reached || r.Reached, res.Down || r.Down
		err = errors.Join(err, e)
	}
	parties := party(jobs)
	var open atomic.Int64
	open.Store(int64(len(parties)))
	var wg sync.WaitGroup
	for _, p := range parties {
		passed := sync.OnceFunc(func() {
			if open.Add(-1) == 0 {
				closed()
			}
		})
		wg.Go(func() { merge(w.guarded(ctx, target, p[0].lease.Engine, p, passed)) })
	}
	wg.Wait()
	return res, err
}

// party groups jobs that go through the stages together: those of one engine,
// but a lease that failed by its own fault goes alone, so that it delays nobody
// (B7).
func party(jobs []job) [][]job {
	var out [][]job
	fresh := map[string][]job{}
	for _, j := range jobs {
		if !j.lease.Revocation.OwnFault {
			fresh[j.lease.Engine] = append(fresh[j.lease.Engine], j)
			continue
		}
		out = append(out, []job{j})
	}
	return slices.AppendSeq(out, maps.Values(fresh))
}

// guarded is stage where a bug in it must neither end the process nor lose a
// lease.
func (w *Worker) guarded(ctx context.Context, target, name string, jobs []job, closed func()) (res Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			res, err = Result{}, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			for i := range jobs {
				l := &jobs[i].lease
				res.Later = append(res.Later, w.soon(ctx, expiry.Member{ID: l.ID, Target: l.Target, At: l.DueAt()}))
			}
		}
	}()
	return w.stage(ctx, target, name, jobs, closed)
}

// stage runs the stages for jobs of one engine and commits how far they came;
// closed is called after (a) and (b), where they hold for all of them.
func (w *Worker) stage(ctx context.Context, target, name string, jobs []job, closed func()) (Result, error) {
	var res Result
	eng := w.engines[name]
	if eng == nil {
		return res, w.commit(ctx, jobs, failAll(jobs, &engine.Error{
			Kind: engine.Refused, Message: fmt.Sprintf("engine %q is not part of this program", name),
		}), &res)
	}
	outs := w.planned(ctx, eng, target, name, jobs)
	if err := w.pass(ctx, name, jobs, outs, &res, func(batch []lease.Lease) []engine.Outcome { return eng.Disable(ctx, target, batch) }); err != nil {
		return res, err
	}
	if !slices.ContainsFunc(outs, func(o engine.Outcome) bool { return o.Err != nil }) {
		closed() // at a failure the place is kept: the target may be down
	}
	if err := w.pass(ctx, name, jobs, outs, &res, func(batch []lease.Lease) []engine.Outcome { return eng.Remove(ctx, target, batch) }); err != nil {
		return res, err
	}
	return res, w.commit(ctx, jobs, outs, &res)
}

// pass takes the jobs that have not failed through one call of the engine, and
// notes how far they came.
func (w *Worker) pass(
	ctx context.Context, name string, jobs []job, outs []engine.Outcome, res *Result, call func([]lease.Lease) []engine.Outcome,
) error {
	var rest []job
	var at []int
	for i := range jobs {
		if outs[i].Err == nil {
			rest, at = append(rest, jobs[i]), append(at, i)
		}
	}
	if len(rest) == 0 {
		return nil
	}
	answers := w.ask(name, rest, func() []engine.Outcome { return call(leases(rest)) })
	now, err := w.time.Now(ctx)
	if err != nil {
		return err
	}
	for k, o := range answers {
		res.contact(o.Err)
		jobs[at[k]].note(o, now)
		outs[at[k]] = o
	}
	return nil
}

// ask calls an engine. One that panics, or does not answer for each lease, has
// failed: each of its leases is then tried alone, and the bug meets its own.
func (w *Worker) ask(name string, jobs []job, call func() []engine.Outcome) (outs []engine.Outcome) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error().Str("engine", name).Int("leases", len(jobs)).Str("panic", fmt.Sprint(p)).
				Str("stack", string(debug.Stack())).Msg("engine panicked")
			outs = failAll(jobs, &engine.Error{Kind: engine.Internal, Message: "the engine broke down; the server's log says where"})
		}
	}()
	if outs = call(); len(outs) != len(jobs) {
		return failAll(jobs, &engine.Error{
			Kind: engine.Internal, Message: fmt.Sprintf("engine %q answered for %d of %d leases", name, len(outs), len(jobs)),
		})
	}
	return outs
}

// contact notes what an answer says about the target's health. What failed
// before the target was asked says nothing.
func (r *Result) contact(err error) {
	e := engine.AsError(err)
	if e == nil {
		r.Reached = true
		return
	}
	switch e.Kind {
	case engine.Unreachable:
		r.Down = true
	case engine.Refused, engine.Conflict, engine.NotYet:
		r.Reached = true
	case engine.Internal, engine.Busy, engine.Invalid, engine.NotFound, engine.UnsupportedPath, engine.UnsupportedOperation:
	}
}

// note records the stages of an outcome at the store's time now, also on the
// job's own copy of the lease: what follows need not repeat them.
func (j *job) note(o engine.Outcome, now time.Time) {
	r := &j.lease.Revocation
	if o.Disabled && j.stages.DisabledAt.IsZero() {
		j.stages.DisabledAt = now.Add(-o.DisabledAgo)
		if j.stages.DisabledAt.Before(r.Since) { // now is an estimate, Since a fact
			j.stages.DisabledAt = r.Since
		}
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

// commit records each outcome: the end, or the failure with its fate. A lease
// whose outcome the store did not take is worked on again soon.
func (w *Worker) commit(ctx context.Context, jobs []job, outs []engine.Outcome, res *Result) error {
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
			p := fate(err, l.Revocation.Attempts, jobs[i].stages)
			p.Since = l.Version
			c.Do = p
			w.logFailure(l, err)
		}
	}
	var failed refusals
	for i, o := range w.store.Apply(ctx, items...) {
		m := expiry.Member{ID: jobs[i].lease.ID, Target: jobs[i].lease.Target}
		switch {
		case o.Err == nil && o.Lease.State.Final():
			res.Ended++
		case o.Err == nil:
			m.At = o.Lease.DueAt()
			res.Later = append(res.Later, m)
		case errors.Is(o.Err, lease.ErrOver): // another worker ended it (C7)
		default:
			failed.add(o.Err)
			res.Later = append(res.Later, w.soon(ctx, m))
		}
	}
	return failed.err("record revocation")
}

func (w *Worker) logFailure(l *lease.Lease, err *engine.Error) {
	if err.Kind == engine.NotYet {
		return
	}
	w.log.Warn().Str("lease", string(l.ID)).Str("target", l.Target).Str("kind", string(err.Kind)).
		Int("attempts", l.Revocation.Attempts+1).Str("error", err.Message).AnErr("cause", err.Err).Msg("revocation failed")
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
