package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/gather"
	"github.com/curfew-project/curfew/shared/store"
)

// unit is a piece of work that is done whole or not at all, independent of the
// others in its batch. run may be called again when the batch is halved; it
// keeps its answer itself and returns errors of the database only.
type unit struct {
	run func(*tx) error
	err error // why it could not be committed
}

// writer owns the one connection that writes.
type writer struct {
	store  *Store
	db     *sql.DB
	conn   *sql.Conn
	stmts  map[string]*sql.Stmt
	gather *gather.Gatherer[[]*unit, struct{}]
	since  int // units since the last checkpoint
	hooks  hooks
	recent recent
	// locks are the names that this process may have locked.
	locks map[string]bool
}

// hooks let tests break a commit in each of its two ways.
type hooks struct {
	beforeCommit func(units int) error // the commit does not happen
	afterCommit  func(units int) error // it happened, the answer is lost
}

const (
	// unitsPerCheckpoint bounds the write-ahead log: a unit writes some ten
	// pages of 4 kB.
	unitsPerCheckpoint = 512
	// pageCache is what the writer keeps of the file, in kibibytes: the pages of the
	// indexes of some thousands of leases on the move. What it lacks is in the
	// kernel's.
	pageCache = "cache_size(-16384)"
	// unitsPerCall keeps a caller with very many items from holding up others.
	unitsPerCall = 256
)

func openWriter(ctx context.Context, s *Store, path string, c clock.Clock, cfg Config) (*writer, error) {
	// SQLite's own checkpoints hide a failed fsync of the database file; ours
	// do not (A6), so its are off.
	db, err := sql.Open("sqlite", dsn(path, "busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "wal_autocheckpoint(0)", pageCache))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	w := &writer{store: s, db: db, stmts: map[string]*sql.Stmt{}}
	w.gather = gather.New(cfg.Gather, w.batch)
	if err := w.open(ctx, c); err != nil {
		return nil, errors.Join(err, w.close(ctx))
	}
	return w, nil
}

func (w *writer) open(ctx context.Context, c clock.Clock) (err error) {
	if w.conn, err = w.db.Conn(ctx); err != nil {
		return err
	}
	var mode string
	var sync int
	if err := w.conn.QueryRowContext(ctx, `SELECT journal_mode, synchronous FROM pragma_journal_mode, pragma_synchronous`).Scan(&mode, &sync); err != nil {
		return err
	}
	if mode != "wal" || sync < 2 { // 2: FULL (A6)
		return fmt.Errorf("database runs with journal mode %s, synchronous %d: want wal, 2", mode, sync)
	}
	all, err := migrations()
	if err != nil {
		return err
	}
	return migrate(ctx, w.conn, all, c.Now())
}

func (w *writer) close(ctx context.Context) error {
	var errs []error
	for _, s := range w.stmts {
		errs = append(errs, s.Close())
	}
	if w.conn != nil {
		if w.store.poisoned() == nil {
			_, err := w.conn.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
			errs = append(errs, err)
		}
		errs = append(errs, w.conn.Close())
	}
	return errors.Join(append(errs, w.db.Close())...)
}

// do waits for a place in a batch, and for its commit. An error means that
// nothing was started; else each unit says what became of it.
func (w *writer) do(ctx context.Context, units ...*unit) error {
	if w == nil { // see Inspect
		return ErrReadOnly
	}
	if err := w.store.enter(); err != nil {
		return err
	}
	defer w.store.calls.Done()
	if _, err := w.gather.Do(ctx, units); err != nil {
		return fmt.Errorf("wait for the commit: %w", err)
	}
	return nil
}

// one is do for a single unit.
func (w *writer) one(ctx context.Context, run func(*tx) error) error {
	u := &unit{run: run}
	if err := w.do(ctx, u); err != nil {
		return err
	}
	return u.err
}

// batch commits what was gathered; only one runs at a time. No caller's context
// reaches it: a commit that has begun is finished.
func (w *writer) batch(calls [][]*unit) []struct{} {
	var all []*unit
	for _, c := range calls {
		all = append(all, c...)
	}
	ctx := context.Background()
	w.commit(ctx, all)
	w.checkpoint(ctx, len(all))
	return make([]struct{}, len(calls))
}

// commit commits units together. If that fails for a reason that may lie in
// one of them, halves are tried, so that it fails alone (A6).
func (w *writer) commit(ctx context.Context, units []*unit) {
	err := w.try(ctx, units)
	if err != nil && len(units) > 1 && fateOf(err) == narrow && w.store.poisoned() == nil {
		w.commit(ctx, units[:len(units)/2])
		w.commit(ctx, units[len(units)/2:])
		return
	}
	for _, u := range units {
		u.err = unavailable(err)
	}
}

// try is one transaction. After an error nothing of it is in the database.
func (w *writer) try(ctx context.Context, units []*unit) error {
	if err := w.store.poisoned(); err != nil {
		return err
	}
	t := &tx{ctx: ctx, w: w, epochs: w.store.epochs}
	defer t.release()
	err := t.run(units)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("commit: %w", err)
	if fateOf(err) == stop {
		return fmt.Errorf("%w: %w", store.ErrUnknown, w.store.poison(err))
	}
	if !t.committing {
		return w.undo(ctx, err)
	}
	return w.readBack(ctx, t, err)
}

// undo rolls back. SQLite may have done so itself.
func (w *writer) undo(ctx context.Context, cause error) error {
	if w.inTransaction(ctx) {
		if _, err := w.conn.ExecContext(ctx, "ROLLBACK"); err != nil && w.inTransaction(ctx) {
			return w.store.poison(errors.Join(cause, err))
		}
	}
	return cause
}

// inTransaction asks SQLite by trying to begin: there is no other way through
// database/sql.
func (w *writer) inTransaction(ctx context.Context) bool {
	if _, err := w.conn.ExecContext(ctx, "BEGIN"); err != nil {
		return true
	}
	_, err := w.conn.ExecContext(ctx, "ROLLBACK")
	return err != nil
}

// readBack finds out whether a commit whose answer was lost is there: by the
// serial of the commit, since nobody else commits (A6).
func (w *writer) readBack(ctx context.Context, t *tx, cause error) error {
	if err := w.undo(ctx, cause); w.store.poisoned() != nil {
		return fmt.Errorf("%w: %w", store.ErrUnknown, err)
	}
	m, err := readMeta(w.conn.QueryRowContext(ctx, selectMeta))
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", store.ErrUnknown, w.store.poison(errors.Join(cause, err)))
	case m.commits == t.meta.commits:
		t.done()
		return nil
	}
	return cause
}

// checkpoint moves the write-ahead log into the database file now and then.
func (w *writer) checkpoint(ctx context.Context, units int) {
	if w.since += units; w.since < unitsPerCheckpoint || w.store.poisoned() != nil {
		return
	}
	w.since = 0
	if _, err := w.conn.ExecContext(ctx, `PRAGMA wal_checkpoint(PASSIVE)`); err != nil && fateOf(err) == stop {
		_ = w.store.poison(fmt.Errorf("checkpoint: %w", err)) // the next call says so
	}
}

// prepared keeps statements: their texts are constants of this package.
func (w *writer) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := w.stmts[query]; ok {
		return s, nil
	}
	s, err := w.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("prepare statement: %w", err)
	}
	w.stmts[query] = s
	return s, nil
}
