package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

// work is one commit: two round trips, of which the first locks and reads and
// the second writes and commits; what is written is decided in between. It may
// be run again, so decide forgets what an earlier run found.
type work struct {
	gate   gate             // how it stands to a suspension
	lock   func(*pgx.Batch) // what is locked, in the order of the package comment
	read   func(*pgx.Batch) // what is read once it is, in snapshots of its own (A3)
	decide func(*tx) error  // decides, and queues in tx.out what is written
	units  int              // of the hooks
	within time.Duration    // of a statement; 0: Config.Timeout
}

// gate is a lock of the transaction, in memory of the server. What a suspension
// refuses passes it together; who suspends waits until nobody is inside who
// read that there was none (A7).
type gate string

const (
	anybody  gate = ""
	together gate = `SELECT pg_advisory_xact_lock_shared($1)`
	alone    gate = `SELECT pg_advisory_xact_lock($1)`
)

// tx is a transaction under way.
type tx struct {
	ctx  context.Context //nolint:containedctx // lives as long as the transaction; no caller's context may end it
	s    *Store
	conn *pgx.Conn
	now  time.Time // the store's time of this commit (A5)
	meta meta

	stripe int32 // where it counts living leases
	out    *pgx.Batch
	events []string // what is appended, in order
	hint   bool     // that there are events to be numbered
}

// meta is what each commit reads beside its own rows.
type meta struct {
	identity   identity // as recorded
	timeline   int64    // as it is
	suspension string
	started    time.Time // of the server
	compared   time.Time // the start after which record and data were compared last
	recoveries int64
	xid        int64
}

// standing is where to scan what the statement of that name returns.
func (m *meta) standing() []any { return []any{&m.suspension, &m.started, &m.compared} }

// suspended is the suspension; recorded says whether a start of the server is
// one.
func (m *meta) suspended(recorded bool) (s store.Suspension, suspended bool, err error) {
	if m.suspension == "" {
		if !recorded || m.started.Equal(m.compared) {
			return s, false, nil
		}
		return store.Suspension{
			Reason: "the store's server was started, and no auditor has compared its data with the record since",
			Since:  m.started, Started: m.started,
		}, true, nil
	}
	if err := json.Unmarshal([]byte(m.suspension), &s); err != nil {
		return s, false, fmt.Errorf("decode suspension: %w", err)
	}
	return s, true, nil
}

const (
	// The level is named, since a role or a database can have another default;
	// whether it may write is not, since that is the operator's switch.
	begin = `BEGIN ISOLATION LEVEL READ COMMITTED`
	// The transaction has an id from here on, before it draws a place for an
	// event: numbering counts on it (see number.go).
	selectMeta = `SELECT clock_timestamp(), pg_current_xact_id()::text::bigint, ` + currentTimeline + `,
		system_id, timeline, recoveries, ` + standing + ` FROM {s}.meta`
	// standing says whether the store is suspended.
	standing     = `suspension, pg_postmaster_start_time(), coalesce(compared, 'epoch')`
	insertEvents = `INSERT INTO {s}.events (seq, body)
		SELECT nextval('{s}.event_seqs'), body FROM unnest($1::text[]) WITH ORDINALITY AS e (body, n) ORDER BY n`
	notify = `SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)`
)

// begin is the first round trip.
func (t *tx) begin(w *work) error {
	var b pgx.Batch
	b.Queue(begin)
	if t.s.cfg.Pooled || w.within > 0 {
		within := t.s.cfg.Timeout
		if w.within > 0 {
			within = w.within
		}
		b.Queue(setLocal, millis(within))
	}
	if w.gate != "" {
		b.Queue(string(w.gate), t.s.schema.key())
	}
	if w.lock != nil {
		w.lock(&b)
	}
	var db time.Time
	b.Queue(t.s.schema.in(selectMeta)).QueryRow(func(row pgx.Row) error {
		m := &t.meta
		return row.Scan(append([]any{&db, &m.xid, &m.timeline, &m.identity.system, &m.identity.timeline, &m.recoveries}, m.standing()...)...)
	})
	if w.read != nil {
		w.read(&b)
	}
	if err := t.conn.SendBatch(t.ctx, &b).Close(); err != nil {
		return err
	}
	t.now = t.s.clock.at(db)
	return nil
}

// decide runs the work's own part. A panic is an error of the batch, so that
// halving finds the item that causes it.
func (t *tx) decide(w *work) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	t.out = &pgx.Batch{}
	return w.decide(t)
}

// queue adds a statement to what is written.
func (t *tx) queue(query string, args ...any) *pgx.QueuedQuery {
	return t.out.Queue(t.s.schema.in(query), args...)
}

// row asks while the transaction is open: a round trip of its own.
func (t *tx) row(query string, args ...any) pgx.Row {
	return t.conn.QueryRow(t.ctx, t.s.schema.in(query), args...)
}

// append stores events without numbers; it returns the place of the first among
// those of this transaction, from 1.
func (t *tx) append(now time.Time, events ...event.Event) (first int, err error) {
	first = len(t.events) + 1
	for i := range events {
		e := events[i]
		e.Position, e.Time = event.Position{}, now
		body, err := json.Marshal(e)
		if err != nil {
			return 0, fmt.Errorf("encode event: %w", err)
		}
		t.events, t.hint = append(t.events, string(body)), true
	}
	return first, nil
}

// takeEvents hands the events to a statement that stores them.
func (t *tx) takeEvents() []string {
	events := t.events
	t.events = nil
	if events == nil {
		events = []string{}
	}
	return events
}

// ending is what became of a transaction.
type ending int

const (
	aborted   ending = iota // nothing of it is in the database
	nothing                 // there was nothing to commit
	committed               //
	unknown                 // COMMIT was sent, its answer was lost
)

// commit is the second round trip; sl may be nil.
func (t *tx) commit(sl *slot, units int) (ending, error) {
	if len(t.events) > 0 {
		t.queue(insertEvents, t.takeEvents())
	}
	if t.out.Len() == 0 {
		return nothing, nil
	}
	if sl != nil {
		t.queue(advance, sl.id, sl.commits+1, nanos(t.now))
	}
	if h := t.s.hooks.beforeCommit; h != nil {
		if err := h(units); err != nil {
			return aborted, err
		}
	}
	end := unknown
	t.out.Queue("COMMIT").Exec(func(tag pgconn.CommandTag) error {
		if end = committed; tag.String() != "COMMIT" {
			end = aborted
			return fmt.Errorf("COMMIT was answered by %s", tag)
		}
		return nil
	})
	if t.hint {
		// Behind the commit, not in it: a transaction that notifies holds a lock
		// of the whole cluster while it flushes.
		t.queue(notify, t.s.channel(), t.s.instance)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), t.s.cfg.Settle)
	defer cancel()
	err := t.conn.SendBatch(ctx, t.out).Close()
	switch {
	case end == committed && doubtful(t.conn):
		return unknown, errors.New("the wait for the synchronous standby was cut short")
	case end == committed:
		if h := t.s.hooks.afterCommit; h != nil {
			if err := h(units); err != nil {
				return unknown, err
			}
		}
		return committed, nil // if anything failed, it was the hint
	case certain(err):
		return aborted, err
	}
	return end, err
}

func (t *tx) rollback() {
	// Where it fails the connection is dropped, and the server rolls back.
	_, _ = t.conn.Exec(t.ctx, "ROLLBACK")
}
