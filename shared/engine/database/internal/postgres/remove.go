package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/sqltext"
	"github.com/curfew-project/curfew/shared/lease"
)

// Remove is stages (c) and (d) of C1: the account is dropped, and its absence
// was seen on the recorded system. Stages (a) and (b) are repeated where this
// attempt has not been through them.
func (t *Target) Remove(ctx context.Context, batch []lease.Lease) []engine.Outcome {
	out, found := t.reclose(ctx, batch)
	jobs := make([]*job, len(batch))
	for i := range batch {
		jobs[i] = t.removal(&batch[i], found[i])
		if out[i].Err != nil {
			jobs[i].fail(out[i].Err)
		}
	}
	t.buryAll(ctx, jobs, found, out)
	going := unsettled(jobs)
	t.submit(ctx, t.removing, t.dropping(), going)
	t.cleanAll(ctx, going)
	for i, j := range jobs {
		out[i].Err = j.err
		out[i].Gone = j.err == nil
	}
	return out
}

// reclose takes leases through stages (a) and (b) again, but those for which
// this attempt's Disable did so just now.
func (t *Target) reclose(ctx context.Context, batch []lease.Lease) ([]engine.Outcome, []disabled) {
	out, found := make([]engine.Outcome, len(batch)), make([]disabled, len(batch))
	var again []lease.Lease
	var at []int
	for i := range batch {
		r := batch[i].Revocation
		if r.Attempts == 0 && !r.DisabledAt.IsZero() && !r.SessionsEndedAt.IsZero() && batch[i].Confirmed() {
			out[i] = engine.Outcome{Disabled: true, SessionsEnded: true, SessionsNote: r.SessionsNote}
			continue
		}
		again, at = append(again, batch[i]), append(at, i)
	}
	outcomes, states := t.shut(ctx, again)
	for k, i := range at {
		out[i], found[i] = outcomes[k], states[k]
	}
	return out, found
}

// removal prepares the job of a lease. A script that this version refuses is
// left out: the safe default follows (C5).
func (t *Target) removal(l *lease.Lease, found disabled) *job {
	j := &job{lease: l, name: l.Account, at: t.clk.Now()}
	if len(found.roles) > 0 {
		j.name = found.roles[0].name // it may have been renamed
	}
	plan, err := t.plans.get(l.Plan)
	if err != nil {
		j.fail(err)
		return j
	}
	j.plan, j.kind = plan, sqltext.Revocation
	if !l.Confirmed() && len(plan.Rollback) > 0 {
		j.kind = sqltext.Rollback
	}
	if _, err := plan.script(j.kind); err != nil {
		t.notes.Note(l.ID, err.Error())
		j.kind = 0
	}
	return j
}

// buryAll proves, for leases that were never confirmed, that their creation
// cannot happen any more (B1). It settles the jobs of those for which it cannot,
// yet, and closes again what turned out to exist.
func (t *Target) buryAll(ctx context.Context, jobs []*job, found []disabled, out []engine.Outcome) {
	var graves []int
	for i, j := range jobs {
		if j.state != settled && (subject{lease: j.lease}).unconfirmed() {
			graves = append(graves, i)
		}
	}
	if len(graves) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.settings.Limits.Call)
	defer cancel()
	var now time.Time
	err := t.look(ctx, func(ctx context.Context, l *link) (err error) {
		_, now, err = t.sample(ctx, l)
		return err
	})
	var absent []int
	for _, i := range graves {
		switch j := jobs[i]; {
		case err != nil:
			j.fail(err)
		case !now.After(j.lease.CreateDeadline):
			j.fail(notYet(j.lease, now))
		case len(found[i].roles) == 0:
			absent = append(absent, i)
		}
		// One that was created cannot be created again: names are used once,
		// and what is late meets the fence.
	}
	for chunk := range slices.Chunk(absent, maxUnits) {
		t.bury(ctx, jobs, out, chunk)
	}
}

// bury sets the tombstones of a chunk, first without waiting for locks, then
// one by one.
func (t *Target) bury(ctx context.Context, jobs []*job, out []engine.Outcome, chunk []int) {
	faults := slices.Repeat([]error{errStays}, len(chunk))
	writer, err := t.writers.take(ctx, removals)
	if err == nil {
		err = writer.use(ctx, t.settings.Limits.Turn, func(ctx context.Context, l *link) (err error) {
			tx := transaction{statement: t.settings.Limits.Turn / 2, lock: shortLock}
			for _, i := range chunk {
				tx.units = append(tx.units, tombstone(jobs[i].name))
			}
			if got, err := l.transact(ctx, tx); err == nil {
				faults = got
			} else if lost(err) {
				return err
			}
			return nil
		})
		t.writers.give(ctx, writer)
	}
	for n, i := range chunk {
		j, fault := jobs[i], faults[n]
		if err != nil {
			j.fail(t.person(err))
			continue
		}
		if fault != nil && !taken(fault) {
			fault = t.wait(ctx, j.name)
		}
		if taken(fault) { // it was committed meanwhile
			outcomes, _ := t.shut(ctx, []lease.Lease{*j.lease})
			out[i], fault = outcomes[0], outcomes[0].Err
		}
		if fault != nil {
			j.fail(t.person(fault))
		}
	}
}

// tombstone takes the name of an account that is not there and gives it back.
// The unique index makes it wait for a creation that is still open.
func tombstone(name string) unit {
	return unit{
		doing: "take the name of the account",
		after: []string{"CREATE ROLE " + ident(name) + " NOLOGIN", "DROP ROLE " + ident(name)},
	}
}

// taken reports whether a tombstone found the account.
func taken(err error) bool { return hasCode(err, codeDuplicateObject, codeUniqueViolation) }

// wait sets one tombstone, in the solo lane, and waits for as long as ctx
// lasts.
func (t *Target) wait(ctx context.Context, name string) error {
	limit := t.settings.Limits.Call
	return t.solo.once(ctx, limit, func(ctx context.Context, l *link) error {
		faults, err := l.transact(ctx, transaction{statement: limit, lock: limit, units: []unit{tombstone(name)}})
		if err != nil {
			return err
		}
		return faults[0]
	})
}

// dropping is how accounts are removed: the role's statements, then a bare
// DROP ROLE, which is enough where nothing depends on the account.
func (t *Target) dropping() act {
	return act{class: removals, unit: t.dropUnit, confirm: t.confirmDropped}
}

func (t *Target) dropUnit(_ *link, j *job, _ time.Time) (unit, error) {
	u, err := t.scriptUnit(j)
	u.doing = "drop the account"
	u.after = []string{"DROP ROLE IF EXISTS " + ident(j.name)}
	return u, err
}

// confirmDropped is the proof of absence (d).
func (t *Target) confirmDropped(ctx context.Context, l *link, jobs []*job) error {
	var all []string
	var oids []uint32
	for _, j := range jobs {
		all = append(all, j.lease.Account, j.name)
		if h, err := DecodeHandle(j.lease.Handle); err == nil && h.RoleOID != 0 {
			oids = append(oids, h.RoleOID)
		}
	}
	c, err := t.count(ctx, l, all, oids)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		t.proveAbsence(j, c)
	}
	return nil
}

// proveAbsence settles a job by what the catalogue says, if this catalogue is
// the one that counts (C6).
func (t *Target) proveAbsence(j *job, c *census) {
	h, err := DecodeHandle(j.lease.Handle)
	want := h.SystemID
	if want == "" {
		want = t.settings.Identity.SystemID
	}
	_, named := c.find(j.lease.Account, h.RoleOID)
	_, renamed := c.byName[j.name]
	switch {
	case err != nil:
		j.fail(&engine.Error{Kind: engine.Internal, Message: "the handle of the lease cannot be read", Err: err})
	case want != "" && want != c.SystemID:
		j.fail(moved(want, c.SystemID))
	case c.recovery:
		j.fail(&engine.Error{Kind: engine.Unreachable, Message: "target moved: a standby answers, and absence there proves nothing"})
	case named || renamed:
		j.fail(errStays)
	default:
		j.state, j.err = settled, nil
	}
}

var errStays = &engine.Error{Kind: engine.Conflict, Message: "the account is still there"}
