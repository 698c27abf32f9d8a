package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// read runs do, each statement of which sees everything that was committed
// before.
func (s *Store) read(act string, do func(reader) error) error {
	err := s.enter()
	if err == nil {
		defer s.calls.Done()
		err = s.judge(do(reader{s}))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	return nil
}

// querier runs statements: a [reader], or a snapshot.
type querier interface {
	query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// snapshot is one connection in one transaction.
type snapshot struct{ *sql.Conn }

func (s snapshot) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return s.QueryContext(ctx, query, args...)
}

// inSnapshot runs do with one that begins with its first statement. Nothing waits
// for it.
func (s *Store) inSnapshot(ctx context.Context, act string, do func(querier) error) error {
	return s.read(act, func(reader) (err error) {
		c, err := s.readers.Conn(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, c.Close()) }()
		if _, err := c.ExecContext(ctx, "BEGIN"); err != nil {
			return err
		}
		defer func() {
			_, ended := c.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
			err = errors.Join(err, ended)
		}()
		return do(snapshot{c})
	})
}

// collect scans all rows of a query.
func collect[T any](ctx context.Context, c querier, scan func(scanner) (T, error), query string, args ...any) (all []T, err error) {
	rows, err := c.query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// Get implements [store.Leases].
func (s *Store) Get(ctx context.Context, id lease.ID) (l lease.Lease, err error) {
	err = s.read("get lease", func(c reader) error {
		var body string
		err := c.queryRow(ctx, selectLease, string(id)).Scan(&body)
		if errors.Is(err, sql.ErrNoRows) {
			return store.ErrNotFound
		}
		if err != nil {
			return err
		}
		l, err = store.DecodeLease(body)
		return err
	})
	return l, err
}

// GetMany implements [store.Leases].
func (s *Store) GetMany(ctx context.Context, ids ...lease.ID) (all []lease.Lease, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, fmt.Errorf("get leases: %w", err)
	}
	err = s.read("get leases", func(c reader) (err error) {
		all, err = collect(ctx, c, scanLease, selectLeases, string(list))
		return err
	})
	return all, err
}

// Find implements [store.Leases].
func (s *Store) Find(ctx context.Context, q store.Query) (all []lease.Lease, err error) {
	query, args, err := find(q)
	if err != nil {
		return nil, fmt.Errorf("find leases: %w", err)
	}
	err = s.read("find leases", func(c reader) (err error) {
		all, err = collect(ctx, c, scanLease, query, args...)
		return err
	})
	return all, err
}

func scanLease(row scanner) (lease.Lease, error) {
	var id, body string
	if err := row.Scan(&id, &body); err != nil {
		return lease.Lease{}, err
	}
	return store.DecodeLease(body)
}

// Count implements [store.Leases].
func (s *Store) Count(ctx context.Context, q store.Query) (n int64, err error) {
	query, args, err := count(q)
	if err != nil {
		return 0, fmt.Errorf("count leases: %w", err)
	}
	err = s.read("count leases", func(c reader) error {
		return c.queryRow(ctx, query, args...).Scan(&n)
	})
	return n, err
}

// selectRevoking reads nothing but its index.
const selectRevoking = `SELECT coalesce(mount_id, ''), coalesce(target, ''), kind, count(*), sum(coalesce(parked, 0)), coalesce(min(access_due), 0)
	FROM leases INDEXED BY leases_revoking WHERE state = 'revoking' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`

// Revoking implements [store.Leases].
func (s *Store) Revoking(ctx context.Context) (all []store.Revoking, err error) {
	err = s.read("sum up revocations", func(c reader) (err error) {
		all, err = collect(ctx, c, scanRevoking, selectRevoking)
		return err
	})
	return all, err
}

func scanRevoking(row scanner) (r store.Revoking, err error) {
	var due int64
	err = row.Scan(&r.MountID, &r.Target, &r.Kind, &r.Count, &r.Parked, &due)
	if due != 0 {
		r.Due = fromNanos(due)
	}
	return r, err
}

const (
	nextFrom  = `SELECT id FROM leases INDEXED BY leases_path WHERE ended = 0 AND id >= ? ORDER BY id LIMIT 1`
	nextAfter = `SELECT id FROM leases INDEXED BY leases_path WHERE ended = 0 AND id > ? ORDER BY id LIMIT 1`
)

// Children implements [store.Leases]: one seek an element.
func (s *Store) Children(ctx context.Context, prefix, after string, limit int) (all []string, err error) {
	query, from := seekPast(prefix, after)
	err = s.read("list children", func(c reader) error {
		for len(all) < limit {
			var id string
			err := c.queryRow(ctx, query, from).Scan(&id)
			rest, inside := strings.CutPrefix(id, prefix)
			if errors.Is(err, sql.ErrNoRows) || err == nil && !inside {
				return nil
			}
			if err != nil {
				return err
			}
			if name, _, inner := strings.Cut(rest, "/"); inner {
				rest = name + "/"
			}
			query, from = seekPast(prefix, rest)
			if rest != "" {
				all = append(all, rest)
			}
		}
		return nil
	})
	return all, err
}

// seekPast is where the element behind element begins.
func seekPast(prefix, element string) (query, from string) {
	if name, inner := strings.CutSuffix(element, "/"); inner {
		return nextFrom, prefix + name + "0" // '0' follows '/'
	}
	return nextAfter, prefix + element
}

// selectDue reads nothing but its index.
const selectDue = `SELECT id, kind, target, due_at FROM leases INDEXED BY leases_due
	WHERE due_at <= ? AND (due_at, id) > (?, ?) ORDER BY due_at, id LIMIT ?`

// Due implements [store.Leases].
func (s *Store) Due(ctx context.Context, until time.Time, after store.Cursor, limit int) (all []store.Due, err error) {
	err = s.read("read due leases", func(c reader) (err error) {
		all, err = collect(ctx, c, scanDue, selectDue, nanos(until), nanos(after.At), string(after.ID), limit)
		return err
	})
	return all, err
}

func scanDue(row scanner) (store.Due, error) {
	var id, kind string
	var target sql.NullString
	var at int64
	err := row.Scan(&id, &kind, &target, &at)
	return store.Due{ID: lease.ID(id), Kind: lease.Kind(kind), Target: target.String, At: fromNanos(at)}, err
}

const (
	selectEnded = `SELECT id, event_seq FROM leases INDEXED BY leases_ended WHERE ended_at < ? ORDER BY ended_at, event_seq LIMIT ?`
	deleteLease = `DELETE FROM leases WHERE id = ?`
)

// Prune implements [store.Leases]. The order of ends is that of their events,
// so the first that the ledger does not have ends the walk.
func (s *Store) Prune(ctx context.Context, endedBefore time.Time, limit int) (n int, err error) {
	err = s.writer.one(ctx, func(t *tx) error {
		n = 0
		have, err := t.confirmed(store.Ledger)
		if err != nil {
			return err
		}
		upTo := t.epochs.seq(have)
		ids, err := t.ended(endedBefore, upTo, limit)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if _, err := t.exec(deleteLease, id); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("prune leases: %w", err)
	}
	return n, nil
}

// ended lists leases that ended before a time and whose last event is upTo or
// earlier.
func (t *tx) ended(before time.Time, upTo int64, limit int) (ids []string, err error) {
	rows, err := t.query(selectEnded, nanos(before), limit)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id string
		var seq int64
		if err := rows.Scan(&id, &seq); err != nil {
			return nil, err
		}
		if seq > upTo {
			break
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
