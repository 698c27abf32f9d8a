package postgres

import (
	"context"
	"fmt"
	"hash/fnv"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	// stripes is over how many rows the count of a path is spread.
	stripes = 16

	// lockQuotas makes beginnings that a quota governs commit one batch after
	// the other, in all processes: each counts what the one before has
	// committed. Where no quota governs the batch nothing is locked.
	// The lock stands in the target list, which is evaluated for rows that are
	// there.
	lockQuotas = `SELECT pg_advisory_xact_lock($1) IS NOT NULL FROM (SELECT FROM {s}.entries
		WHERE kind = 'lease_quota' AND NOT withdrawn AND key = ANY($2) LIMIT 1) AS one`
	readQuotas = `SELECT e.key, e.id, e.value, coalesce(sum(l.n), 0)::bigint
		FROM {s}.entries e LEFT JOIN {s}.living l ON l.path = substr(e.key, 2) COLLATE "C"
		WHERE e.kind = 'lease_quota' AND NOT e.withdrawn GROUP BY e.key, e.id, e.value`
	// addLiving locks in the order of paths.
	addLiving = `INSERT INTO {s}.living AS l (path, stripe, n)
		SELECT path, $1, n FROM unnest($2::text[], $3::bigint[]) AS u (path, n) ORDER BY path COLLATE "C"
		ON CONFLICT (path, stripe) DO UPDATE SET n = l.n + excluded.n`
	selectLiving = `SELECT coalesce(sum(n), 0)::bigint FROM {s}.living WHERE path = $1`
)

// quotaKey is the schema's own advisory lock for quotas.
func (s schema) quotaKey() int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("curfew quotas " + s)) // never fails
	return int64(h.Sum64())                      //nolint:gosec // any 64 bits will do
}

// stripe is where a slot counts. Slots of one process have mostly others.
func (sl *slot) stripe() int32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(sl.id)) // never fails
	return int32(h.Sum32() % stripes)
}

// Living implements [store.Leases].
func (s *Store) Living(ctx context.Context, path string) (n int64, err error) {
	err = s.read(ctx, "count living leases", func(ctx context.Context, r reader) error {
		return r.row(ctx, s.schema.in(selectLiving), path).Scan(&n)
	})
	return n, err
}

const (
	selectCounted = `SELECT id FROM {s}.leases WHERE NOT ended AND id > $1
		AND (kind = 'secret' OR kind = 'token' AND (body::json ->> 'ttl')::bigint > 0) ORDER BY id LIMIT $2`
	selectKept = `SELECT path, sum(n)::bigint FROM {s}.living GROUP BY path`
	// recountPage is how many leases one look of a recount reads.
	recountPage = 2000
)

// Miscounts implements [store.Leases]. Its snapshot keeps vacuum from what has
// changed since, as a backup does.
func (s *Store) Miscounts(ctx context.Context, between func(context.Context) error) (all []store.Miscount, err error) {
	if err = s.enter(); err == nil {
		defer s.calls.Done()
		err = pgx.BeginTxFunc(ctx, s.reads, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(t pgx.Tx) (err error) {
			all, err = s.miscounts(ctx, t, between)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("recount living leases: %w", unavailable(err))
	}
	return all, nil
}

func (s *Store) miscounts(ctx context.Context, t pgx.Tx, between func(context.Context) error) ([]store.Miscount, error) {
	var living store.Tally
	for after := ""; ; {
		rows, err := t.Query(ctx, s.schema.in(selectCounted), after, recountPage)
		if err != nil {
			return nil, err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			living.Count(lease.ID(id))
		}
		if len(ids) < recountPage {
			break
		}
		after = ids[len(ids)-1]
		if err := between(ctx); err != nil {
			return nil, err
		}
	}
	rows, err := t.Query(ctx, s.schema.in(selectKept))
	if err != nil {
		return nil, err
	}
	kept := map[string]int64{}
	var path string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&path, &n}, func() error {
		kept[path] = n
		return nil
	})
	return store.Miscounted(kept, &living), err
}

// quotas are those that a batch of beginnings goes by, and what it adds.
type quotas struct {
	keys   []string // of the quotas that could govern one of the beginnings
	locked bool     // one does, and this transaction has the lock
	all    []store.Quota
	tally  store.Tally
}

// begins collects what the beginnings of units lie below.
func (q *quotas) begins(units []*unit) {
	paths := map[string]bool{}
	for _, u := range units {
		if u.item == nil {
			continue
		}
		if _, ok := u.item.Change.Do.(lease.Begin); !ok {
			continue
		}
		for _, p := range store.Prefixes(u.item.Change.ID) {
			paths[store.QuotaKey(p)] = true
		}
	}
	q.keys = sortedKeys(paths)
}

func (q *quotas) lock(in schema, b *pgx.Batch) {
	q.locked = false
	if len(q.keys) == 0 {
		return
	}
	b.Queue(in.in(lockQuotas), in.quotaKey(), q.keys).Query(func(rows pgx.Rows) error {
		tag, err := pgx.ForEachRow(rows, []any{nil}, func() error { return nil })
		q.locked = tag.RowsAffected() > 0
		return err
	})
}

// read reads them behind the lock, in a snapshot that has all that the batch
// before has committed.
func (q *quotas) read(in schema, b *pgx.Batch) {
	q.all, q.tally = nil, store.Tally{}
	if len(q.keys) == 0 {
		return
	}
	b.Queue(in.in(readQuotas)).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, scanQuota)
		// One that was made since, when none governed the batch, comes after it.
		if q.locked {
			q.all = all
		}
		return err
	})
}

func scanQuota(row pgx.CollectableRow) (store.Quota, error) {
	var e store.Entry
	var living int64
	if err := row.Scan(&e.Key, &e.ID, &e.Value, &living); err != nil {
		return store.Quota{}, err
	}
	q, err := store.DecodeQuota(e)
	q.Living = living
	return q, err
}

// count queues what the transaction adds.
func (q *quotas) count(t *tx) {
	if paths, by := q.tally.Each(); len(paths) > 0 {
		t.queue(addLiving, t.stripe, paths, by)
	}
}
