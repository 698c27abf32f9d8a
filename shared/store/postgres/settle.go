package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// slot is a place from which this process commits, one transaction at a time.
// Its row in the database counts its commits, in the commit: who has lost an
// answer finds out by it what became of the commit (A6), and who finds fewer
// commits than it was answered knows that the database has lost some (A7).
type slot struct {
	id      string
	commits int64 // answered, or settled
}

func newSlot() *slot { return &slot{id: lease.RandomBase62(16)} }

// answered is how many commits of each slot the database has said to have.
type answered struct {
	mu     sync.Mutex
	counts map[string]answer
}

// answer is the last one of a slot.
type answer struct {
	commits    int64
	recoveries int64 // the database had seen by then
}

func (a *answered) set(sl *slot, m *meta) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.counts == nil {
		a.counts = map[string]answer{}
	}
	a.counts[sl.id] = answer{sl.commits, m.recoveries}
}

func (a *answered) all() map[string]answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.counts)
}

// forget takes up what the database has: the loss is known by now.
func (a *answered) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.counts)
}

const (
	// advance fails (commits is NOT NULL) unless the row stands where this
	// process left it. A commit whose fate was decided by settle can so never
	// happen afterwards, however late its server gets to it.
	advance = `INSERT INTO {s}.writers AS w (id, commits, at)
		VALUES ($1, CASE WHEN $2 = 1 OR EXISTS (SELECT FROM {s}.writers WHERE id = $1 AND commits = $2 - 1) THEN $2 END, $3)
		ON CONFLICT (id) DO UPDATE SET at = excluded.at, commits = CASE WHEN w.commits = $2 - 1 THEN $2 END`
	selectSerial = `SELECT commits FROM {s}.writers WHERE id = $1 FOR UPDATE`
	insertSerial = `INSERT INTO {s}.writers (id, commits, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`
	updateSerial = `UPDATE {s}.writers SET commits = $2, at = $3 WHERE id = $1`
	deleteSerial = `DELETE FROM {s}.writers WHERE id = ANY($1)`
)

// serialTaken reports whether a commit failed because its slot's row stands
// elsewhere.
func serialTaken(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "23502" && pg.TableName == "writers"
}

// settle finds out what became of the commit under way in sl, and makes it
// final. Its own commit comes after that one in the log, so that a synchronous
// standby that has acknowledged it has both: a commit that is visible but was
// not replicated yet is answered only then.
func (s *Store) settle(ctx context.Context, sl *slot, cause error) (ending, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Settle)
	defer cancel()
	serial, end := sl.commits+1, unknown
	for try := 1; ; try++ {
		final, known, err := s.ask(ctx, sl.id, serial, &end)
		if final {
			sl.commits = serial + 1
			s.answered.set(sl, known)
			if end == committed {
				return committed, nil
			}
			return aborted, broken(cause)
		}
		cause = errors.Join(cause, err)
		if err := s.pause(ctx, min(try, tries)); err != nil {
			// Nobody knows; this slot cannot go on.
			*sl = *newSlot()
			return unknown, fmt.Errorf("%w: %w", store.ErrUnknown, cause)
		}
	}
}

// ask reads the serial of a slot and moves it past the commit in question. The
// lock waits for a transaction that is still under way. as is how the store stood.
func (s *Store) ask(ctx context.Context, id string, serial int64, end *ending) (final bool, as *meta, err error) {
	c, err := s.writes.Acquire(ctx)
	if err != nil {
		return false, nil, err
	}
	defer c.Release()
	t := &tx{ctx: ctx, s: s, conn: c.Conn(), out: &pgx.Batch{}}
	if err := t.begin(&work{}); err != nil {
		return false, nil, err
	}
	var have int64
	err = t.row(selectSerial, id).Scan(&have)
	missing := errors.Is(err, pgx.ErrNoRows)
	switch {
	case missing:
		*end = aborted // or it waits to be inserted: then the insert below finds it
		var tag pgconn.CommandTag
		if tag, err = t.conn.Exec(ctx, s.schema.in(insertSerial), id, serial+1, nanos(t.now)); err == nil && tag.RowsAffected() == 0 {
			err = errors.New("it was committed this moment")
		}
	case err == nil:
		switch {
		case have == serial:
			*end = committed
		case have < serial:
			*end = aborted
		case *end == unknown: // moved on by nobody we know of
			err = fmt.Errorf("the serial is %d, not %d", have, serial)
		}
		t.queue(updateSerial, id, serial+1, nanos(t.now))
	}
	if err != nil {
		t.rollback()
		return false, nil, err
	}
	t.out.Queue("COMMIT")
	err = t.conn.SendBatch(ctx, t.out).Close()
	return err == nil && !doubtful(t.conn), &t.meta, err
}

// renew looks at a slot whose row is not where it was left. If it is behind,
// the database has lost commits; it is suspended. The slot begins anew.
func (s *Store) renew(ctx context.Context, c *pgx.Conn, sl *slot) error {
	if err := s.compare(ctx, c); err != nil {
		return err
	}
	*sl = *newSlot()
	return nil
}

const (
	abandoned    = 90 * 24 * time.Hour
	sweepSerials = `DELETE FROM {s}.writers WHERE at < $1`
)

// sweepSlots deletes the rows of processes that ended long ago without saying
// so. A process that runs uses each of its slots within minutes.
func (s *Store) sweepSlots(ctx context.Context) error {
	return s.alone(ctx, &work{decide: func(t *tx) error {
		t.queue(sweepSerials, nanos(t.now.Add(-abandoned)))
		return nil
	}})
}

const closeWithin = 2 * time.Second

// retire deletes the rows of this store's slots: nothing is under way any more.
// What it cannot delete, and what a crash leaves, is deleted by a later Open.
func (s *Store) retire() {
	ids := slices.Collect(maps.Keys(s.answered.all()))
	if len(ids) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	_, _ = s.writes.Exec(ctx, s.schema.in(deleteSerial), ids) // see above
}
