package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/store"
)

// identity tells one database from its copies and standbys (A7).
type identity struct {
	// system is made by initdb and shared by all copies and standbys; another
	// one means that the data was loaded from a dump. Empty: may not be read.
	system string
	// timeline rises with each promotion and each recovery to a point in time.
	timeline int64
}

const (
	// currentTimeline is the one that is written now; the control file says so
	// only after the first checkpoint.
	currentTimeline = `('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint`

	maySelectSystem = `SELECT has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')`
	selectSystem    = `SELECT system_identifier::text FROM pg_control_system()`
	selectTimeline  = `SELECT ` + currentTimeline
	selectIdentity  = `SELECT system_id, timeline, recoveries FROM {s}.meta`
	updateIdentity  = `UPDATE {s}.meta SET system_id = $1, timeline = $2`
	selectSerials   = `SELECT id, commits FROM {s}.writers WHERE id = ANY($1)`
)

// identify reads what the database is.
func identify(ctx context.Context, c *pgx.Conn) (now identity, err error) {
	var may bool
	if err := c.QueryRow(ctx, maySelectSystem).Scan(&may); err != nil {
		return now, err
	}
	if may {
		if err := c.QueryRow(ctx, selectSystem).Scan(&now.system); err != nil {
			return now, err
		}
	}
	err = c.QueryRow(ctx, selectTimeline).Scan(&now.timeline)
	return now, err
}

// compare checks, with each new connection, whether the database is the one
// that its own record and this process know, and suspends it if it is not (A7).
func (s *Store) compare(ctx context.Context, c *pgx.Conn) error {
	had := s.answered.all() // before the question: what comes meanwhile is more
	now, err := identify(ctx, c)
	if err != nil {
		return fmt.Errorf("read the identity of the database: %w", err)
	}
	var was identity
	var recoveries int64
	if err := c.QueryRow(ctx, s.schema.in(selectIdentity)).Scan(&was.system, &was.timeline, &recoveries); err != nil {
		return fmt.Errorf("read the recorded identity: %w", err)
	}
	// What was answered before a recovery is known to be missing since: a process
	// that comes late, as one that was paused, does not begin another.
	maps.DeleteFunc(had, func(_ string, a answer) bool { return a.recoveries < recoveries })
	missing, err := s.missing(ctx, c, had)
	if err != nil {
		return err
	}
	switch {
	case now.system == "":
		s.blind.Store(true)
		now.system = was.system
	case was.system == "": // who recorded it could not read it
		was.system = now.system
		if now.timeline == was.timeline {
			if _, err := c.Exec(ctx, s.schema.in(updateIdentity), now.system, now.timeline); err != nil {
				return fmt.Errorf("record the identity of the database: %w", err)
			}
		}
	}
	if now == was && len(missing) == 0 {
		return nil
	}
	return s.suspect(ctx, c, was, now, missing)
}

// missing names the slots that have fewer commits than they were answered.
func (s *Store) missing(ctx context.Context, c *pgx.Conn, had map[string]answer) (lost []string, err error) {
	if len(had) == 0 {
		return nil, nil
	}
	rows, err := c.Query(ctx, s.schema.in(selectSerials), slices.Collect(maps.Keys(had)))
	if err != nil {
		return nil, fmt.Errorf("read the serials of commits: %w", err)
	}
	var id string
	var n int64
	if _, err = pgx.ForEachRow(rows, []any{&id, &n}, func() error {
		if n >= had[id].commits {
			delete(had, id)
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read the serials of commits: %w", err)
	}
	return slices.Sorted(maps.Keys(had)), nil
}

// suspect suspends the store in the database that c leads to, and records what
// that is now, in one commit. It may be done by many at once.
func (s *Store) suspect(ctx context.Context, c *pgx.Conn, was, now identity, missing []string) error {
	why := store.Suspension{Lost: len(missing) > 0, Reason: reasonOf(was, now, missing)}
	t := &tx{ctx: ctx, s: s, conn: c}
	w := s.suspending(why)
	decide := w.decide
	w.decide = func(t *tx) error {
		t.queue(updateIdentity, now.system, now.timeline)
		return decide(t)
	}
	err := t.begin(w)
	if err == nil {
		err = t.decide(w)
	}
	if err == nil {
		var end ending
		if end, err = t.commit(nil, 0); end == committed { //nolint:contextcheck // t has it
			s.answered.forget()
			s.log.Error().Str("reason", why.Reason).Bool("lost", why.Lost).Msg("store suspended")
			return nil
		}
	}
	t.rollback()
	return fmt.Errorf("suspend the store: %w", errors.Join(err, errIdentity))
}

func reasonOf(was, now identity, missing []string) string {
	reason := ""
	switch {
	case was.system != now.system:
		reason = fmt.Sprintf("the database was restored or copied: its system identifier is %s, not %s", now.system, was.system)
	case was.timeline != now.timeline:
		reason = fmt.Sprintf("a standby was promoted, or a backup was recovered: the timeline is %d, not %d", now.timeline, was.timeline)
	}
	if len(missing) == 0 {
		return reason
	}
	if reason != "" {
		reason += "; "
	}
	return reason + "commits are missing that were answered"
}
