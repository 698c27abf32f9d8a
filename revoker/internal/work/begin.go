package work

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// again is when a lease is looked at again that could not be worked on.
const again = time.Second

// begin commits revoking for what is due by the store's clock, and sorts out
// what is not. A lease that the store refuses keeps nobody waiting but itself.
func (w *Worker) begin(ctx context.Context, members []expiry.Member, res *Result) ([]job, error) {
	var failed refusals
	if w.time.Paused() {
		members = w.begun(ctx, members, res, &failed)
	}
	jobs, members := w.revoking(ctx, members)
	if len(members) == 0 {
		return jobs, failed.err("begin revocation")
	}
	items := make([]store.Transition, len(members))
	for i, m := range members {
		items[i].Change = lease.Change{
			ID: m.ID, Version: lease.AnyVersion, Key: lease.RandomBase62(16),
			By: lease.System(lease.ActorExpiry), Do: lease.Revoke{If: lease.IfDue},
		}
	}
	suspended, decided := false, false
	for i, o := range w.store.Apply(ctx, items...) {
		switch {
		case errors.Is(o.Err, store.ErrSuspended):
			suspended = true
			jobs = append(jobs, w.suspended(ctx, members[i], o.Lease, res, &failed)...)
		case o.Err == nil, errors.Is(o.Err, lease.ErrOver) && o.Lease.State == lease.Revoking:
			decided = true
			jobs = append(jobs, job{lease: o.Lease})
		case errors.Is(o.Err, lease.ErrOver), errors.Is(o.Err, store.ErrNotFound):
			// ended already
		case errors.Is(o.Err, lease.ErrNotDue):
			res.wait(&o.Lease)
		default:
			failed.add(o.Err)
			res.Later = append(res.Later, w.soon(ctx, members[i]))
		}
	}
	w.noteSuspension(suspended, decided)
	return jobs, failed.err("begin revocation")
}

// few is how many leases are read before anything is committed.
const few = 16

// revoking picks out those of a few leases whose revocation was begun, as one by a
// request is: nothing has to be decided about them, and nothing takes that back.
// Of many, most are due by their time.
func (w *Worker) revoking(ctx context.Context, members []expiry.Member) (jobs []job, rest []expiry.Member) {
	if len(members) > few {
		return nil, members
	}
	ids := make([]lease.ID, len(members))
	for i, m := range members {
		ids[i] = m.ID
	}
	found, err := w.store.GetMany(ctx, ids...)
	if err != nil {
		return nil, members // the commit says what is wrong
	}
	begun := map[lease.ID]bool{}
	for _, l := range found {
		if l.State == lease.Revoking {
			begun[l.ID] = true
			jobs = append(jobs, job{lease: l})
		}
	}
	return jobs, slices.DeleteFunc(slices.Clone(members), func(m expiry.Member) bool { return begun[m.ID] })
}

// suspended is what becomes of a lease that the store does not decide about
// while it is suspended (A7): what is in revoking goes on, the rest is looked
// at again. l is the row, if the store told.
func (w *Worker) suspended(ctx context.Context, m expiry.Member, l lease.Lease, res *Result, failed *refusals) []job {
	if l.State == "" {
		var err error
		if l, err = w.store.Get(ctx, m.ID); err != nil {
			if !errors.Is(err, store.ErrNotFound) {
				failed.add(err)
			}
			// It may be brought in from the record yet.
			res.Later = append(res.Later, w.soon(ctx, m))
			return nil
		}
	}
	switch {
	case l.State == lease.Revoking:
		return []job{{lease: l}}
	case l.State.Live():
		w.later(ctx, m, &l, res)
	}
	return nil
}

// noteSuspension logs once that leases which are due wait for the store, and
// once that they do no more.
func (w *Worker) noteSuspension(suspended, decided bool) {
	switch {
	case suspended:
		if w.waiting.CompareAndSwap(false, true) {
			w.log.Warn().Msg("store is suspended: leases that are due wait, revocations go on")
		}
	case decided && w.waiting.CompareAndSwap(true, false):
		w.log.Info().Msg("store decides again: leases that are due are revoked")
	}
}

// begun keeps the members that are in revoking: while the store's clock is in
// doubt, nothing is expired by it (A5).
func (w *Worker) begun(ctx context.Context, members []expiry.Member, res *Result, failed *refusals) []expiry.Member {
	var out []expiry.Member
	for _, m := range members {
		l, err := w.store.Get(ctx, m.ID)
		switch {
		case errors.Is(err, store.ErrNotFound), err == nil && l.State.Final():
		case err != nil:
			failed.add(err)
			res.Later = append(res.Later, w.soon(ctx, m))
		case l.State == lease.Revoking:
			out = append(out, m)
		default:
			w.later(ctx, m, &l, res)
		}
	}
	return out
}

// later puts a live lease back: to its time, or for soon where that has passed.
func (w *Worker) later(ctx context.Context, m expiry.Member, l *lease.Lease, res *Result) {
	at := l.DueAt()
	if m = w.soon(ctx, m); at.IsZero() || at.After(m.At) {
		res.wait(l)
		return
	}
	res.Later = append(res.Later, m)
}

// wait puts a lease that is not due back to its time.
func (r *Result) wait(l *lease.Lease) {
	if at := l.DueAt(); !at.IsZero() {
		r.Later = append(r.Later, expiry.Member{ID: l.ID, Target: l.Target, At: at})
	}
}

func (w *Worker) soon(ctx context.Context, m expiry.Member) expiry.Member {
	if now, err := w.time.Now(ctx); err == nil {
		m.At = now.Add(again)
	}
	return m
}

// refusals counts what the store did not take, and keeps the first reason.
type refusals struct {
	n     int
	first error
}

func (r *refusals) add(err error) {
	if r.n++; r.first == nil {
		r.first = err
	}
}

func (r *refusals) err(act string) error {
	if r.n == 0 {
		return nil
	}
	return fmt.Errorf("%s of %d leases: %w", act, r.n, r.first)
}
