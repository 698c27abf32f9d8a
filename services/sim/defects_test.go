package sim_test

import (
	"context"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// defect is a rule that is broken on purpose, to show what catches it.
type defect string

const (
	sound           defect = ""
	defectTombstone defect = "B1 a rolled-back intent is proved absent by looking for its account"
	defectRecheck   defect = "A3 the activation checks nothing"
	defectBarrier   defect = "A4 the activation does not check barriers"
	defectClock     defect = "A5 the commit does not ask whether a lease is due"
	defectRenewal   defect = "B9 the target is not told of renewals"
	defectSwap      defect = "B9 a renewal moves an expiry whosever it is"
	defectTrim      defect = "D4 events are deleted that the ledger does not have"
	defectAppend    defect = "D5 the ledger writes entries again"
	defectStale     defect = "B3 the sweep asks a copy of the store that lags"
	defectProof     defect = "C1 an account that refused to go counts as gone"
	defectGiveUp    defect = "C8 a revocation that needs a person is given up"
	defectVersion   defect = "A1 the store keeps the version where a lease ends"
	defectUnwrap    defect = "A9 opening a wrap is not committed"
)

// apply is the store's Apply.
func (w *world) apply(ctx context.Context, items []store.Transition) []store.Outcome {
	for i := range items {
		w.spoil(ctx, &items[i])
		if _, opens := items[i].Change.Do.(lease.Open); opens && w.defect == defectUnwrap {
			return []store.Outcome{w.opened(ctx, &items[i].Change)} // it comes alone
		}
	}
	out := w.store.Apply(ctx, items...)
	now, err := w.store.Now(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, o := range out {
		if o.Err == nil {
			if w.defect == defectVersion && o.Lease.State.Final() {
				o.Lease.Version--
			}
			w.checks.transition(ctx, o.Lease, now)
		}
	}
	return out
}

// opened is what opening a wrap would come to.
func (w *world) opened(ctx context.Context, c *lease.Change) store.Outcome {
	l, err := w.store.Get(ctx, c.ID)
	if err != nil {
		return store.Outcome{Err: err}
	}
	now, err := w.store.Now(ctx)
	if err != nil {
		return store.Outcome{Err: err}
	}
	after, err := c.Apply(l, now)
	return store.Outcome{Lease: after, Err: err}
}

// spoil breaks the rule of a transition that is to be broken.
func (w *world) spoil(ctx context.Context, t *store.Transition) {
	c := &t.Change
	switch do := c.Do.(type) {
	case lease.Activate:
		if w.defect == defectRecheck {
			t.Guard = store.Guard{}
		}
		if w.defect == defectBarrier {
			t.Guard.Barriers = false
		}
	case lease.Revoke:
		if l, err := w.store.Get(ctx, c.ID); w.defect == defectClock && do.If == lease.IfDue && err == nil && l.State == lease.Active {
			do.If, c.Reason = lease.Always, lease.ReasonExpired
			c.Do = do
		}
	case lease.Progress:
		if w.defect == defectGiveUp && do.Parked {
			c.Do = lease.Finish{To: lease.Abandoned}
		}
	}
}

func (w *world) create(ctx context.Context, target string, batch []engine.Creation) []engine.Created {
	return w.engine.Create(ctx, target, batch)
}

func (w *world) renew(ctx context.Context, target string, batch []engine.Renewal) []engine.Renewed {
	if w.defect == defectRenewal {
		return make([]engine.Renewed, len(batch))
	}
	if w.defect == defectSwap {
		batch = append([]engine.Renewal(nil), batch...)
		for i := range batch {
			if r := &batch[i]; r.If != "" { // it finds what it expects
				r.If = w.engine.Renew(ctx, target, []engine.Renewal{{Lease: r.Lease, Remaining: 1}})[0].Now
			}
		}
	}
	return w.engine.Renew(ctx, target, batch)
}

func (w *world) remove(ctx context.Context, target string, batch []lease.Lease) []engine.Outcome {
	if w.defect == defectTombstone {
		batch = append([]lease.Lease(nil), batch...)
		for i := range batch {
			batch[i].CreateDeadline = time.Time{}
		}
	}
	out := w.engine.Remove(ctx, target, batch)
	for i := range out {
		if out[i].Err == nil {
			delete(w.checks.odd, batch[i].Account)
		} else if w.defect == defectProof {
			out[i] = engine.Outcome{Disabled: true, SessionsEnded: true, Gone: true}
		}
	}
	return out
}

func (w *world) accounts(ctx context.Context, target, after string, limit int) ([]engine.Account, error) {
	return w.engine.Accounts(ctx, target, after, limit)
}

func (w *world) find(ctx context.Context, q store.Query) ([]lease.Lease, error) {
	found, err := w.store.Find(ctx, q)
	if w.defect == defectStale && q.Account != "" {
		now, _ := w.store.Now(ctx)
		var old []lease.Lease
		for _, l := range found {
			if now.Sub(l.IssuedAt) > 2*time.Minute {
				old = append(old, l)
			}
		}
		return old, err
	}
	return found, err
}

func (w *world) trim(ctx context.Context, upTo event.Position, limit int) (int, error) {
	if w.defect == defectTrim {
		head, err := w.store.Head(ctx)
		if err != nil {
			return 0, err
		}
		upTo = head
	}
	return w.store.Trim(ctx, upTo, limit)
}
