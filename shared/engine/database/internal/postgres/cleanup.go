package postgres

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
)

// cleanAll takes the accounts that a plain removal left through the safe
// default (C5), one by one.
func (t *Target) cleanAll(ctx context.Context, jobs []*job) {
	var rest []*job
	for _, j := range jobs {
		e := engine.AsError(j.err)
		if e != nil && (e.Kind == engine.Refused || e.Kind == engine.Invalid || e == errStays || j.overran) {
			rest = append(rest, j)
		}
	}
	if len(rest) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.settings.Limits.Call)
	defer cancel()
	rooms := &rooms{target: t, lanes: map[string]*lane{}}
	defer rooms.close(ctx)
	for _, j := range rest {
		if ctx.Err() != nil {
			j.err = busy("the target is too slow for what waits for it")
			continue
		}
		t.cleanOne(ctx, rooms, j)
	}
}

// cleanOne runs the safe default in a turn of the work lane, and in the solo
// lane where that is too short.
func (t *Target) cleanOne(ctx context.Context, rooms *rooms, j *job) {
	before := j.err
	limit := t.settings.Limits.Turn
	writer, err := t.writers.take(ctx, removals)
	if err != nil {
		j.err = err
		return
	}
	err = writer.use(ctx, limit, func(ctx context.Context, l *link) error { return t.clean(ctx, l, rooms, j, limit) })
	t.writers.give(ctx, writer)
	if hasCode(err, codeCanceled, codeLockTimeout) || errors.Is(err, context.DeadlineExceeded) {
		limit = t.settings.Limits.Call
		err = t.solo.once(ctx, limit, func(ctx context.Context, l *link) error { return t.clean(ctx, l, rooms, j, limit) })
	}
	j.state, j.err = sent, nil
	t.conclude(ctx, t.observe, t.dropping(), []*job{j})
	switch {
	case j.err == nil:
		if before != errStays { //nolint:errorlint // the value itself
			t.notes.Note(j.lease.ID, before.Error())
		}
	case j.err == errStays && err != nil: //nolint:errorlint // the value itself
		j.err = t.person(err)
	}
}

// clean hands over what the account owns, takes its privileges away in every
// database that the catalogue names, and drops it.
func (t *Target) clean(ctx context.Context, l *link, rooms *rooms, j *job, limit time.Duration) error {
	h, err := DecodeHandle(j.lease.Handle)
	if err != nil {
		return err
	}
	c, err := t.count(ctx, l, []string{j.name}, []uint32{h.RoleOID})
	if err != nil {
		return err
	}
	if h.SystemID != "" && h.SystemID != c.SystemID {
		return moved(h.SystemID, c.SystemID)
	}
	account, ok := c.find(j.name, h.RoleOID)
	if !ok {
		return nil
	}
	j.name = account.name
	joined := l.facts.superuser
	if !joined {
		// Without being a member it may neither reassign nor drop what the
		// account owns. A refusal shows itself below, with its reason.
		joined = t.step(ctx, l, transaction{}, limit, unit{doing: "join the account", after: []string{l.join(j.name)}}) == nil
	}
	if j.kind != 0 && joined && !l.facts.superuser && hasCode(j.err, codePrivilege) {
		_ = t.own(ctx, l, j, limit) // what it could not do before; the default follows anyway
	}
	databases, err := t.dependents(ctx, l, account.oid)
	if err != nil {
		return err
	}
	for _, name := range databases {
		if len(j.plan.Databases) > 0 && !slices.Contains(j.plan.Databases, name) {
			return &engine.Error{Kind: engine.Refused, Message: "the account has privileges or objects in database " + ident(name) +
				", which the connection leaves out: add it to databases, or revoke them by hand"}
		}
		if err := rooms.in(ctx, l, name, limit, func(ctx context.Context, l *link) error {
			return t.step(ctx, l, transaction{advisory: true}, limit, t.disown(l, j, account))
		}); err != nil {
			return err
		}
	}
	return t.step(ctx, l, transaction{}, limit, unit{doing: "drop the account", after: []string{"DROP ROLE IF EXISTS " + ident(j.name)}})
}

// own runs the role's own statements in a transaction of their own.
func (t *Target) own(ctx context.Context, l *link, j *job, limit time.Duration) error {
	u, err := t.scriptUnit(j)
	if err != nil {
		return err
	}
	alone := !j.script().Batchable()
	err = t.step(ctx, l, transaction{advisory: j.script().Conflicting(), alone: alone}, limit, u)
	if alone && !lost(err) {
		_, reset := l.run(ctx, "DISCARD ALL")
		return cmp.Or(err, reset)
	}
	return err
}

// step runs one unit in a transaction, again where others were in the way.
func (t *Target) step(ctx context.Context, l *link, tx transaction, limit time.Duration, u unit) error {
	tx.units, tx.statement = []unit{u}, limit
	for pass := 0; ; pass++ {
		faults, err := l.transact(ctx, tx)
		if err == nil {
			err = faults[0]
		}
		if err == nil || !transient(err) || pass >= tries {
			return err
		}
		t.pause(ctx, jitter(pass))
	}
}

// dependents lists the databases in which something depends on the account. The
// current one stands for what is shared by all.
func (t *Target) dependents(ctx context.Context, l *link, oid uint32) ([]string, error) {
	got, err := l.query(ctx, `SELECT DISTINCT COALESCE(d.datname, pg_catalog.current_database())::pg_catalog.text
 FROM pg_catalog.pg_shdepend s LEFT JOIN pg_catalog.pg_database d ON d.oid = s.dbid
 WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.refobjid = `+oidText(oid)+` ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(got))
	for i, row := range got {
		out[i] = row[0]
	}
	return out, nil
}

// disown is the safe default in one database.
func (t *Target) disown(l *link, j *job, account role) unit {
	u := unit{doing: "take objects and privileges away"}
	if cmp.Or(j.plan.OwnedObjects, t.settings.OwnedObjects) == Drop {
		u.after = []string{"DROP OWNED BY " + ident(account.name)}
		return u
	}
	owner := cmp.Or(j.plan.ReassignTo, t.settings.ReassignTo, l.facts.user)
	u.heir = owner
	u.after = []string{
		"SET LOCAL search_path=pg_catalog",
		"REASSIGN OWNED BY " + ident(account.name) + " TO " + ident(owner),
		nothingOwned(account.oid),
		"DROP OWNED BY " + ident(account.name),
	}
	return u
}

// nothingOwned raises an error while the account owns what DROP OWNED would
// delete: all but its default privileges and its mappings to foreign servers,
// which REASSIGN OWNED leaves.
func nothingOwned(oid uint32) string {
	return `SELECT CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_shdepend s
 WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.refobjid = ` + oidText(oid) + ` AND s.deptype = 'o'
 AND s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
 AND s.classid NOT IN ('pg_catalog.pg_default_acl'::pg_catalog.regclass, 'pg_catalog.pg_user_mapping'::pg_catalog.regclass))
 THEN ('it still owns objects at ' || pg_catalog.clock_timestamp()::pg_catalog.text)::pg_catalog.int4 ELSE 0 END`
}

// rooms are connections to other databases of the server, for the length of one
// call.
type rooms struct {
	target *Target
	lanes  map[string]*lane
}

// in runs do in a database, on l where that is the one.
func (r *rooms) in(ctx context.Context, l *link, database string, limit time.Duration, do func(context.Context, *link) error) error {
	if database == l.facts.database {
		return do(ctx, l)
	}
	room := r.lanes[database]
	if room == nil {
		room = newLane(r.target.main)
		room.database = database
		r.lanes[database] = room
	}
	return room.use(ctx, limit, do)
}

func (r *rooms) close(ctx context.Context) {
	for _, l := range r.lanes {
		_ = l.close(context.WithoutCancel(ctx)) // nobody else uses it: there is no wait
	}
}
