package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
)

// subject is a lease whose account is closed.
type subject struct {
	lease  *lease.Lease
	handle Handle
}

// unconfirmed reports whether the account may still be about to come into
// being (B1). A stray was seen, so nothing is under way.
func (s subject) unconfirmed() bool { return !s.lease.Confirmed() && !s.lease.CreateDeadline.IsZero() }

// disabled is how stage (a) ended for one subject.
type disabled struct {
	err     error
	roles   []role // that stand for the lease; none: there is no such account
	lsn     string // of the primary, at or after the commit; where there are replicas
	streams bool   // to standbys that nobody named
}

func (d disabled) oids(h Handle) []uint32 {
	var out []uint32
	if h.RoleOID != 0 {
		out = append(out, h.RoleOID) // sessions can outlive the account
	}
	for _, r := range d.roles {
		if r.oid != h.RoleOID {
			out = append(out, r.oid)
		}
	}
	return out
}

// Disable is stages (a) and (b) of C1: it commits NOLOGIN, then ends all
// sessions, on the named replicas too. An account that does not exist is
// disabled.
func (t *Target) Disable(ctx context.Context, batch []lease.Lease) []engine.Outcome {
	out, _ := t.shut(ctx, batch)
	return out
}

// shut is Disable; it also returns which accounts it met.
func (t *Target) shut(ctx context.Context, batch []lease.Lease) ([]engine.Outcome, []disabled) {
	out, states := make([]engine.Outcome, len(batch)), make([]disabled, len(batch))
	var subjects []subject
	var at []int
	for i := range batch {
		h, err := DecodeHandle(batch[i].Handle)
		if err != nil {
			out[i].Err = &engine.Error{Kind: engine.Internal, Message: "the handle of the lease cannot be read", Err: err}
			continue
		}
		subjects, at = append(subjects, subject{&batch[i], h}), append(at, i)
	}
	if len(subjects) == 0 {
		return out, states
	}
	got, err := t.disabling.Do(ctx, subjects)
	if err != nil {
		got = slices.Repeat([]disabled{{err: busy("too much waits for the target")}}, len(subjects))
	}
	closed := t.clk.Now()
	var ending []int
	for n, d := range got {
		i := at[n]
		states[i], out[i].Err = d, d.err
		if out[i].Disabled = d.err == nil; !out[i].Disabled {
			continue
		}
		if ending = append(ending, n); d.streams {
			out[i].SessionsNote = "primary only"
		}
	}
	errs := t.endSessions(ctx, subjects, got, ending)
	for k, n := range ending {
		out[at[n]].Err = errs[k]
		out[at[n]].SessionsEnded = errs[k] == nil
		out[at[n]].DisabledAgo = t.clk.Now().Sub(closed)
	}
	return out, states
}

// disableAll is the gatherer's function for stage (a).
func (t *Target) disableAll(calls [][]subject) [][]disabled {
	var all []subject
	for _, c := range calls {
		all = append(all, c...)
	}
	// Many callers wait; the batch follows none of their contexts.
	ctx, cancel := context.WithTimeout(context.Background(), t.settings.Limits.Call)
	defer cancel()
	done := make([]disabled, 0, len(all))
	for chunk := range slices.Chunk(all, maxUnits) {
		done = append(done, t.disableChunk(ctx, chunk)...)
	}
	out := make([][]disabled, len(calls))
	for i, c := range calls {
		out[i], done = done[:len(c)], done[len(c):]
	}
	return out
}

// shortLock is how long a NOLOGIN waits for another transaction on the same
// row before it lets its neighbours go first.
const shortLock = 250 * time.Millisecond

// disableChunk disables until each account is, or was refused. What waits for a
// lock is tried again without its neighbours.
func (t *Target) disableChunk(ctx context.Context, chunk []subject) []disabled {
	out := make([]disabled, len(chunk))
	rest := make([]int, len(chunk))
	for i := range rest {
		rest[i] = i
	}
	for pass := 0; len(rest) > 0; pass++ {
		if pass > 0 {
			t.pause(ctx, jitter(pass))
		}
		err := t.disable.again(ctx, t.settings.Limits.Turn, func(ctx context.Context, l *link) error {
			return t.disableOnce(ctx, l, chunk, rest, out)
		})
		var open []int
		for _, i := range rest {
			if err != nil {
				out[i].err = t.person(err)
			}
			if out[i].err != nil && pass < tries && engine.AsError(out[i].err).Kind == engine.Conflict {
				open = append(open, i)
			}
		}
		rest = open
	}
	return out
}

// disableOnce looks the accounts up and closes those that can log in, in one
// transaction.
func (t *Target) disableOnce(ctx context.Context, l *link, chunk []subject, rest []int, out []disabled) error {
	before := t.clk.Now()
	got, err := l.queries(ctx, countSQL(accountsOf(chunk, rest), oidsOf(chunk, rest)), `SELECT (`+streamsSQL+`)::pg_catalog.text`)
	if err != nil {
		return err
	}
	c, err := t.counted(before, got[0])
	if err != nil {
		return err
	}
	tx := transaction{statement: t.settings.Limits.Turn / 2, lock: shortLock}
	var at []int
	for _, i := range rest {
		s := chunk[i]
		out[i] = disabled{streams: len(t.replicas) == 0 && got[1][0][0] == "true"}
		if want := s.handle.SystemID; want != "" && want != l.facts.SystemID {
			out[i].err = moved(want, l.facts.SystemID)
			continue
		}
		out[i].roles = c.both(s)
		if len(out[i].roles) == 0 && s.unconfirmed() && !c.at.After(s.lease.CreateDeadline) {
			out[i].err = notYet(s.lease, c.at)
			continue
		}
		for _, r := range out[i].roles {
			if u := l.bar(r); len(u.after) > 0 {
				tx.units, at = append(tx.units, u), append(at, i)
			}
		}
	}
	faults := make([]error, len(tx.units))
	if len(tx.units) > 0 {
		if faults, err = l.transact(ctx, tx); err != nil {
			return err
		}
	}
	for n, f := range faults {
		if f != nil && !hasCode(f, codeUndefinedObject) {
			out[at[n]].err = t.person(f)
		}
	}
	if len(t.replicas) == 0 {
		return nil
	}
	reached, err := l.query(ctx, `SELECT pg_catalog.pg_current_wal_lsn()::pg_catalog.text`) // after the commit (C3)
	if err != nil {
		return err
	}
	for _, i := range rest {
		out[i].lsn = reached[0][0]
	}
	return nil
}

// streamsSQL says whether physical standbys take the WAL.
const streamsSQL = `EXISTS (SELECT FROM pg_catalog.pg_stat_replication r WHERE NOT EXISTS (
 SELECT FROM pg_catalog.pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical'))`

// bar are the statements that take the login away. Where the admin may not
// end sessions of others, it joins the account, whose sessions it may end then
// (C4).
func (l *link) bar(r role) unit {
	u := unit{doing: "disable the account"}
	if r.login {
		u.after = append(u.after, "ALTER ROLE "+ident(r.name)+" NOLOGIN")
	}
	if !l.facts.signals {
		u.after = append(u.after, l.join(r.name))
	}
	return u
}

// join makes the admin a member of the account.
func (l *link) join(name string) string {
	sql := "GRANT " + ident(name) + " TO CURRENT_USER"
	if l.facts.version >= createroleGrants {
		sql += " WITH INHERIT TRUE, SET TRUE"
	}
	return sql
}

// both returns the accounts that stand for a subject: by name and, if that is
// another, by OID.
func (c *census) both(s subject) []role {
	var out []role
	if r, ok := c.byName[s.lease.Account]; ok {
		out = append(out, r)
	}
	if r, ok := c.byOID[s.handle.RoleOID]; ok && s.handle.RoleOID != 0 && r.name != s.lease.Account {
		out = append(out, r)
	}
	return out
}

func accountsOf(chunk []subject, at []int) []string {
	out := make([]string, len(at))
	for n, i := range at {
		out[n] = chunk[i].lease.Account
	}
	return out
}

func oidsOf(chunk []subject, at []int) []uint32 {
	var out []uint32
	for _, i := range at {
		if oid := chunk[i].handle.RoleOID; oid != 0 {
			out = append(out, oid)
		}
	}
	return out
}

// notYet is the answer before the create deadline (B1).
func notYet(l *lease.Lease, now time.Time) error {
	return &engine.Error{
		Kind:    engine.NotYet,
		Message: "the creation of the account may still be under way",
		After:   max(0, l.CreateDeadline.Sub(now)) + 50*time.Millisecond,
	}
}
