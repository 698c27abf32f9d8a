package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// meta is the row of counters. The transaction that holds the write lock reads
// it first and writes it last, so that numbers taken by a transaction that is
// rolled back are given again: there are no gaps.
type meta struct {
	now, commits, position, seq, head, first int64

	suspension string // JSON; empty: none (A7)
}

const (
	selectMeta = `SELECT now, commits, position, seq, head, first, suspension FROM meta WHERE one = 1`
	updateMeta = `UPDATE meta SET now = ?, commits = ?, position = ?, seq = ?, head = ?, first = ?, suspension = ? WHERE one = 1`
)

type scanner interface{ Scan(into ...any) error }

func readMeta(row scanner) (m meta, err error) {
	if err := row.Scan(&m.now, &m.commits, &m.position, &m.seq, &m.head, &m.first, &m.suspension); err != nil {
		return m, fmt.Errorf("read counters: %w", err)
	}
	return m, nil
}

// tx is the one write transaction under way.
type tx struct {
	ctx     context.Context //nolint:containedctx // lives as long as the transaction; no caller's context may end it
	w       *writer
	now     time.Time // the store's time of this commit (A5)
	meta    meta
	changed bool

	// tally is what this transaction adds to the counts of living leases; quotas
	// are those in force, once they were read.
	tally      store.Tally
	quotas     []store.Quota
	quotasRead bool

	written map[lease.ID]kept // rows as this transaction leaves them

	epochs     epochs // as of this transaction
	before     meta   // the counters before this transaction
	committing bool   // COMMIT was sent: its outcome has to be read back after an error
	exclusive  bool   // epochsMu is held: the epochs change with this commit
}

// exec runs a statement that changes rows and returns how many.
func (t *tx) exec(query string, args ...any) (int64, error) {
	s, err := t.w.prepared(t.ctx, query) //nolint:sqlclosecheck // the writer keeps and closes it
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(t.ctx, args...)
	if err != nil {
		return 0, err
	}
	n, err := r.RowsAffected()
	t.changed = t.changed || n > 0
	return n, err
}

// insertRow runs a statement that inserts one row and returns its place.
func (t *tx) insertRow(query string, args ...any) (place int64, err error) {
	s, err := t.w.prepared(t.ctx, query) //nolint:sqlclosecheck // the writer keeps and closes it
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(t.ctx, args...)
	if err != nil {
		return 0, err
	}
	t.changed = true
	return r.LastInsertId()
}

// one reads at most one row; found is false where there is none.
func (t *tx) one(query string, args []any, into ...any) (found bool, err error) {
	s, err := t.w.prepared(t.ctx, query) //nolint:sqlclosecheck // the writer keeps and closes it
	if err != nil {
		return false, err
	}
	err = s.QueryRowContext(t.ctx, args...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// query reads rows; the caller closes them before the next statement.
func (t *tx) query(query string, args ...any) (*sql.Rows, error) {
	s, err := t.w.prepared(t.ctx, query) //nolint:sqlclosecheck // the writer keeps and closes it
	if err != nil {
		return nil, err
	}
	return s.QueryContext(t.ctx, args...)
}

// refusal is an answer to one unit's caller; it is no fault of the database.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// atomically runs do, and undoes what it did if it fails. A refusal is
// returned apart from an error of the database, which fails the transaction.
func (t *tx) atomically(do func() error) (refused, failed error) {
	before, epochs, changed := t.meta, t.epochs, t.changed
	if _, err := t.exec("SAVEPOINT unit"); err != nil {
		return nil, err
	}
	err := do()
	r, ok := errors.AsType[refusal](err)
	switch {
	case err == nil:
		_, failed = t.exec("RELEASE unit")
		return nil, failed
	case !ok:
		return nil, err
	}
	if _, err := t.exec("ROLLBACK TO unit"); err != nil {
		return nil, err
	}
	if _, err := t.exec("RELEASE unit"); err != nil {
		return nil, err
	}
	t.meta, t.epochs, t.changed = before, epochs, changed
	return r.error, nil
}

// append stores events under the next numbers; the head still hides them (D3).
func (t *tx) append(events ...event.Event) error {
	for i := range events {
		e := events[i]
		e.Position, e.Time = event.Position{}, t.now
		body, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("encode event: %w", err)
		}
		t.meta.seq++
		if _, err := t.exec(`INSERT INTO events (seq, body) VALUES (?, ?)`, t.meta.seq, string(body)); err != nil {
			return err
		}
	}
	return nil
}

// run begins, runs the units and commits, unless they changed nothing.
func (t *tx) run(units []*unit) error {
	if _, err := t.w.conn.ExecContext(t.ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	counters, err := t.w.prepared(t.ctx, selectMeta) //nolint:sqlclosecheck // the writer keeps and closes it
	if err != nil {
		return err
	}
	m, err := readMeta(counters.QueryRowContext(t.ctx))
	if err != nil {
		return err
	}
	t.meta, t.before = m, m
	t.now = t.w.store.clock.now()
	for _, u := range units {
		if err := t.unit(u); err != nil {
			return err
		}
	}
	if !t.changed {
		_, err := t.w.conn.ExecContext(t.ctx, "ROLLBACK")
		return err
	}
	return t.commit(len(units))
}

// unit runs one unit. A panic is an error of the batch, so that halving finds
// the item that causes it and the transaction does not stay open.
func (t *tx) unit(u *unit) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return u.run(t)
}

func (t *tx) commit(units int) error {
	if err := t.count(); err != nil {
		return err
	}
	m := &t.meta
	m.now, m.commits = nanos(t.now), m.commits+1
	if _, err := t.exec(updateMeta, m.now, m.commits, m.position, m.seq, m.head, m.first, m.suspension); err != nil {
		return err
	}
	if h := t.w.hooks.beforeCommit; h != nil {
		if err := h(units); err != nil {
			return err
		}
	}
	if s := t.w.store; len(t.epochs) > len(s.epochs) {
		s.epochsMu.Lock()
		t.exclusive = true
	}
	t.committing = true
	if _, err := t.w.conn.ExecContext(t.ctx, "COMMIT"); err != nil {
		return err
	}
	if h := t.w.hooks.afterCommit; h != nil {
		if err := h(units); err != nil {
			return err
		}
	}
	t.done()
	return nil
}

// done follows a commit that is known to be there: the epochs it began hold,
// and the watchers are told of events that wait, also where they only may be
// numbered again.
func (t *tx) done() {
	t.w.recent.merge(t.written)
	if t.exclusive {
		t.w.store.epochs = t.epochs
	}
	if t.meta.seq > t.before.seq || t.meta.suspension != t.before.suspension {
		t.w.store.watch.Set()
	}
}

// release ends what the transaction held, whatever became of it.
func (t *tx) release() {
	if t.exclusive {
		t.exclusive = false
		t.w.store.epochsMu.Unlock()
	}
}
