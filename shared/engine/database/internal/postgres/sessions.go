package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/gather"
)

// hidden is a backend that is starting: it holds a virtual transaction id, but
// pg_stat_activity does not show whose it is. It may have passed the check for
// NOLOGIN before that was committed (C2).
type hidden struct{ pid, vxid string }

// roundIn asks to end all sessions of some accounts, and some backends that
// are starting. Each round serves many callers.
type roundIn struct {
	oids []uint32
	kill []hidden
}

// roundOut is what the round saw.
type roundOut struct {
	starting map[hidden]bool // before sessions were looked at
	left     map[uint32]int  // sessions that were told to end, by account
	spared   map[hidden]bool // not ours to end: of a superuser
	errs     map[uint32]error
	err      error
}

// startingSQL lists backends that are starting. Their order to others matters:
// one that is not listed any more, and was before, shows in pg_stat_activity
// from now on, or has ended. Versions from 18 on show it early, with neither
// user nor database.
const startingSQL = `SELECT l.pid::pg_catalog.text, l.virtualtransaction FROM pg_catalog.pg_locks l
 WHERE l.locktype = 'virtualxid' AND l.granted AND l.pid <> pg_catalog.pg_backend_pid()
 AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid = l.pid AND `

func (l *link) startingSQL() string {
	if l.facts.version >= 180000 {
		return startingSQL + `(a.usesysid IS NOT NULL OR a.datid IS NOT NULL))`
	}
	return startingSQL + `true)`
}

// rounds returns the function of a gatherer: one round for several calls.
func (t *Target) rounds(on *lane) func([]roundIn) []roundOut {
	return func(calls []roundIn) []roundOut {
		var all roundIn
		for _, c := range calls {
			all.oids, all.kill = append(all.oids, c.oids...), append(all.kill, c.kill...)
		}
		slices.Sort(all.oids)
		all.oids = slices.Compact(all.oids)
		var out roundOut
		ctx, cancel := context.WithTimeout(context.Background(), t.settings.Limits.Call) // serves many callers
		defer cancel()
		out.err = on.again(ctx, t.settings.Limits.Turn, func(ctx context.Context, l *link) error {
			out = roundOut{}
			return t.round(ctx, l, all, &out)
		})
		return slices.Repeat([]roundOut{out}, len(calls))
	}
}

func (t *Target) round(ctx context.Context, l *link, in roundIn, out *roundOut) error {
	out.starting, out.spared = map[hidden]bool{}, map[hidden]bool{}
	for _, h := range in.kill {
		_, err := l.query(ctx, `SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_locks
 WHERE locktype = 'virtualxid' AND pid = `+h.pid+` AND virtualtransaction = `+literal(h.vxid))
		switch {
		case hasCode(err, codePrivilege) && l.facts.signals:
			out.spared[h] = true
		case err != nil:
			return err
		}
	}
	out.left, out.errs = map[uint32]int{}, map[uint32]error{}
	// One message, but two transactions: each has its own copy of
	// pg_stat_activity, which it keeps to its end.
	got, err := l.queries(ctx, l.startingSQL(), terminateSQL(in.oids))
	switch {
	case err == nil:
		out.sees(got[0])
		return out.counts(in.oids, got[1])
	case !hasCode(err, codePrivilege):
		return err
	}
	for _, oid := range in.oids { // whose it is shows one by one
		got, err := l.queries(ctx, l.startingSQL(), terminateSQL([]uint32{oid}))
		switch {
		case hasCode(err, codePrivilege):
			out.errs[oid] = err
		case err != nil:
			return err
		default:
			out.sees(got[0])
			err = out.counts([]uint32{oid}, got[1])
		}
		if err != nil && out.errs[oid] == nil {
			return err
		}
	}
	return nil
}

// sees adds backends that are starting, as [link.startingSQL] lists them.
func (r *roundOut) sees(rows [][]string) {
	for _, row := range rows {
		r.starting[hidden{row[0], row[1]}] = true
	}
}

// counts takes in what terminateSQL returned for accounts.
func (r *roundOut) counts(oids []uint32, rows [][]string) error {
	for _, oid := range oids {
		r.left[oid] = 0
	}
	for _, row := range rows {
		oid, err := strconv.ParseUint(row[0], 10, 32)
		if err != nil {
			return fmt.Errorf("read OID: %w", err)
		}
		r.left[uint32(oid)]++
	}
	return nil
}

// terminateSQL ends the sessions of accounts and lists whose they were. usesysid
// is who logged in, whatever SET ROLE the session did.
func terminateSQL(oids []uint32) string {
	return `SELECT usesysid::pg_catalog.text, pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
 WHERE usesysid IN (` + list(oids, oidText) + `) AND pid <> pg_catalog.pg_backend_pid()`
}

// endSessions is stage (b) for the subjects at the places in which, on the
// primary and on all replicas; errs[k] belongs to which[k].
func (t *Target) endSessions(ctx context.Context, subjects []subject, got []disabled, which []int) []error {
	errs := make([]error, len(which))
	if len(which) == 0 {
		return errs
	}
	oids := make([][]uint32, len(which))
	var all []uint32
	for k, n := range which {
		oids[k] = got[n].oids(subjects[n].handle)
		all = append(all, oids[k]...)
	}
	if len(all) == 0 {
		return errs
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.settings.Limits.Call)
	defer cancel()
	places := make([]map[uint32]error, 1+len(t.replicas))
	acts := []func(){func() { places[0] = t.empty(ctx, t.ending, all) }}
	for i, r := range t.replicas {
		acts = append(acts, func() { places[i+1] = t.endOn(ctx, r, lsns(got, which), all) })
	}
	together(acts...)
	for k := range which {
		for _, place := range places {
			for _, oid := range oids[k] {
				errs[k] = either(errs[k], place[oid])
			}
		}
	}
	return errs
}

func either(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func lsns(got []disabled, which []int) []string {
	all := map[string]bool{}
	for _, n := range which {
		all[got[n].lsn] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// empty ends all sessions of accounts on one server: repeated until none is
// left and none that was starting at the beginning still is (C2).
func (t *Target) empty(ctx context.Context, rounds *gather.Gatherer[roundIn, roundOut], oids []uint32) map[uint32]error {
	errs := map[uint32]error{}
	all := func(err error) map[uint32]error {
		for _, oid := range oids {
			errs[oid] = either(errs[oid], err)
		}
		return errs
	}
	var starting map[hidden]bool
	begun, wait := t.clk.Now(), time.Millisecond
	for {
		in := roundIn{oids: oids}
		if t.clk.Now().Sub(begun) >= t.settings.Limits.Hidden {
			in.kill = slices.Collect(maps.Keys(starting))
		}
		r, err := rounds.Do(ctx, in)
		if err = errors.Join(err, r.err); err != nil {
			return all(t.roundError(err))
		}
		if starting == nil {
			starting = maps.Clone(r.starting)
		}
		maps.DeleteFunc(starting, func(h hidden, _ bool) bool { return !r.starting[h] || r.spared[h] })
		left := 0
		for _, oid := range oids {
			if errs[oid] = t.person(r.errs[oid]); errs[oid] == nil {
				left += r.left[oid]
			}
		}
		if left == 0 && len(starting) == 0 {
			return errs
		}
		if ctx.Err() != nil {
			return all(&engine.Error{Kind: engine.Conflict, Message: fmt.Sprintf(
				"%d sessions have not ended, %d are still starting", left, len(starting))})
		}
		t.pause(ctx, wait)
		wait = min(2*wait, 100*time.Millisecond)
	}
}

func (t *Target) roundError(err error) error {
	if errors.Is(err, gather.ErrFull) {
		return busy("too much waits for the target")
	}
	return t.person(err)
}

// replica is a standby on which sessions are ended too.
type replica struct {
	lane   *lane
	ending *gather.Gatherer[roundIn, roundOut]
}

func newReplica(t *Target, d *dialer) *replica {
	r := &replica{lane: newLane(d)}
	r.ending = gather.New(gather.Config{Max: maxUnits}, t.rounds(r.lane))
	return r
}

// endOn ends sessions on a replica once it has replayed the NOLOGIN (C3).
func (t *Target) endOn(ctx context.Context, r *replica, lsns []string, oids []uint32) map[uint32]error {
	err := t.replayed(ctx, r, lsns)
	var errs map[uint32]error
	if err == nil {
		errs = t.empty(ctx, r.ending, oids)
	} else {
		errs = map[uint32]error{}
		for _, oid := range oids {
			errs[oid] = err
		}
	}
	for oid, err := range errs {
		if err != nil {
			e := *engine.AsError(err)
			e.Message = "replica " + r.lane.dialer.name() + ": " + e.Message
			errs[oid] = &e
		}
	}
	return errs
}

// replayed waits until the replica shows what the primary committed.
func (t *Target) replayed(ctx context.Context, r *replica, lsns []string) error {
	var reached []string
	for _, lsn := range lsns {
		if lsn != "" {
			reached = append(reached, "pg_catalog.pg_last_wal_replay_lsn() >= "+literal(lsn)+"::pg_catalog.pg_lsn")
		}
	}
	if len(reached) == 0 {
		return nil
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		done := false
		err := r.lane.again(ctx, t.settings.Limits.Turn, func(ctx context.Context, l *link) error {
			got, err := l.query(ctx, "SELECT COALESCE("+strings.Join(reached, " AND ")+", false)::pg_catalog.text")
			done = err == nil && got[0][0] == "true"
			return err
		})
		switch {
		case err != nil:
			return t.person(err)
		case done:
			return nil
		case ctx.Err() != nil:
			return &engine.Error{Kind: engine.Conflict, Message: "it has not replayed the revocation yet"}
		}
		t.pause(ctx, wait)
	}
}
