package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	selectLease = `SELECT position, body FROM {s}.leases WHERE id = $1`
	// selectLeases looks each id up by itself, whatever the planner thinks of them.
	selectLeases = `SELECT l.id, l.position, l.body FROM (SELECT DISTINCT unnest($1::text[]) AS id) AS one, LATERAL (
		SELECT id, position, body FROM {s}.leases WHERE id = one.id OFFSET 0) AS l ORDER BY l.id`
	nextFrom  = `SELECT id FROM {s}.leases WHERE NOT ended AND id >= $1 ORDER BY id LIMIT 1`
	nextAfter = `SELECT id FROM {s}.leases WHERE NOT ended AND id > $1 ORDER BY id LIMIT 1`
	// selectDue reads nothing but its index, as far as vacuum keeps up.
	selectDue = `SELECT id, kind, coalesce(target, ''), due_at FROM {s}.leases
		WHERE due_at <= $1 AND (due_at, id) > ($2, $3) ORDER BY due_at, id LIMIT $4`
	// selectRevoking reads nothing but its index, as far as vacuum keeps up.
	selectRevoking = `SELECT coalesce(mount_id, '') AS mount, coalesce(target, '') AS target, kind, count(*),
		count(*) FILTER (WHERE parked), coalesce(min(access_due), 0)
		FROM {s}.leases WHERE state = 'revoking' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`
)

// Get implements [store.Leases].
func (s *Store) Get(ctx context.Context, id lease.ID) (l lease.Lease, err error) {
	err = s.read(ctx, "get lease", func(ctx context.Context, r reader) error {
		var position int64
		var body string
		err := r.row(ctx, s.schema.in(selectLease), string(id)).Scan(&position, &body)
		if errors.Is(err, pgx.ErrNoRows) {
			return store.ErrNotFound
		}
		if err != nil {
			return err
		}
		l, err = decodeLease(position, body)
		return err
	})
	return l, err
}

// GetMany implements [store.Leases].
func (s *Store) GetMany(ctx context.Context, ids ...lease.ID) (all []lease.Lease, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = string(id)
	}
	err = s.read(ctx, "get leases", func(ctx context.Context, r reader) (err error) {
		all, err = collect(ctx, r, scanFound, s.schema.in(selectLeases), list)
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
	err = s.read(ctx, "find leases", func(ctx context.Context, r reader) (err error) {
		all, err = collect(ctx, r, scanFound, s.schema.in(query), args...)
		return err
	})
	return all, err
}

func scanFound(row pgx.CollectableRow) (lease.Lease, error) {
	var id, body string
	var position int64
	if err := row.Scan(&id, &position, &body); err != nil {
		return lease.Lease{}, err
	}
	return decodeLease(position, body)
}

// Count implements [store.Leases].
func (s *Store) Count(ctx context.Context, q store.Query) (n int64, err error) {
	query, args, err := count(q)
	if err != nil {
		return 0, fmt.Errorf("count leases: %w", err)
	}
	err = s.read(ctx, "count leases", func(ctx context.Context, r reader) error {
		return r.row(ctx, s.schema.in(query), args...).Scan(&n)
	})
	return n, err
}

// Revoking implements [store.Leases].
func (s *Store) Revoking(ctx context.Context) (all []store.Revoking, err error) {
	err = s.read(ctx, "sum up revocations", func(ctx context.Context, r reader) (err error) {
		all, err = collect(ctx, r, scanRevoking, s.schema.in(selectRevoking))
		return err
	})
	return all, err
}

func scanRevoking(row pgx.CollectableRow) (r store.Revoking, err error) {
	var due int64
	err = row.Scan(&r.MountID, &r.Target, &r.Kind, &r.Count, &r.Parked, &due)
	if due != 0 {
		r.Due = fromNanos(due)
	}
	return r, err
}

// Children implements [store.Leases]: one seek an element.
func (s *Store) Children(ctx context.Context, prefix, after string, limit int) (all []string, err error) {
	err = s.read(ctx, "list children", func(ctx context.Context, r reader) error {
		all = nil
		query, from := seekPast(prefix, after)
		for len(all) < limit {
			var id string
			err := r.row(ctx, s.schema.in(query), from).Scan(&id)
			rest, inside := strings.CutPrefix(id, prefix)
			if errors.Is(err, pgx.ErrNoRows) || err == nil && !inside {
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

// Due implements [store.Leases].
func (s *Store) Due(ctx context.Context, until time.Time, after store.Cursor, limit int) (all []store.Due, err error) {
	err = s.read(ctx, "read due leases", func(ctx context.Context, r reader) (err error) {
		all, err = collect(ctx, r, scanDue, s.schema.in(selectDue), nanos(until), nanos(after.At), string(after.ID), max(0, limit))
		return err
	})
	return all, err
}

func scanDue(row pgx.CollectableRow) (d store.Due, err error) {
	var at int64
	err = row.Scan(&d.ID, &d.Kind, &d.Target, &at)
	d.At = fromNanos(at)
	return d, err
}
