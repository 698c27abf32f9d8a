package sqlite

import (
	"context"
	"errors"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	selectLiving = `SELECT coalesce((SELECT n FROM living WHERE path = ?), 0)`
	addLiving    = `INSERT INTO living (path, n) VALUES (?, ?) ON CONFLICT (path) DO UPDATE SET n = n + excluded.n`
	dropLiving   = `DELETE FROM living WHERE path = ? AND n = 0`
	selectQuotas = `SELECT key, id, value FROM entries INDEXED BY entries_key WHERE withdrawn = 0 AND kind = ?`
)

// Living implements [store.Leases].
func (s *Store) Living(ctx context.Context, path string) (n int64, err error) {
	err = s.read("count living leases", func(c reader) error {
		return c.queryRow(ctx, selectLiving, path).Scan(&n)
	})
	return n, err
}

const (
	selectCounted = `SELECT id FROM leases INDEXED BY leases_path
		WHERE ended = 0 AND id > ? AND (+kind = 'secret' OR +kind = 'token' AND json_extract(body, '$.ttl') > 0) ORDER BY id LIMIT ?`
	selectKept = `SELECT path, n FROM living`
	// recountPage is how many leases one look of a recount reads.
	recountPage = 2000
)

// Miscounts implements [store.Leases].
func (s *Store) Miscounts(ctx context.Context, between func(context.Context) error) (all []store.Miscount, err error) {
	err = s.inSnapshot(ctx, "recount living leases", func(c querier) (err error) {
		all, err = miscounts(ctx, c, between)
		return err
	})
	return all, err
}

func miscounts(ctx context.Context, c querier, between func(context.Context) error) ([]store.Miscount, error) {
	var living store.Tally
	for after := ""; ; {
		ids, err := collect(ctx, c, scanID, selectCounted, after, recountPage)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			living.Count(id)
		}
		if len(ids) < recountPage {
			break
		}
		after = string(ids[len(ids)-1])
		if err := between(ctx); err != nil {
			return nil, err
		}
	}
	kept := map[string]int64{}
	_, err := collect(ctx, c, func(row scanner) (struct{}, error) {
		var path string
		var n int64
		err := row.Scan(&path, &n)
		kept[path] = n
		return struct{}{}, err
	}, selectKept)
	return store.Miscounted(kept, &living), err
}

func scanID(row scanner) (id lease.ID, err error) {
	err = row.Scan(&id)
	return id, err
}

// full names the quota that has no room for id in this transaction.
func (t *tx) full(id lease.ID) (string, error) {
	if !t.quotasRead {
		all, err := t.readQuotas()
		if err != nil {
			return "", err
		}
		t.quotas, t.quotasRead = all, true
	}
	return t.tally.Full(t.quotas, id), nil
}

// readQuotas reads the quotas in force with what lived below them before this
// transaction: what it changes itself is in the tally.
func (t *tx) readQuotas() ([]store.Quota, error) {
	all, err := t.quotaEntries()
	if err != nil {
		return nil, err
	}
	for i := range all {
		if _, err := t.one(selectLiving, []any{all[i].Path}, &all[i].Living); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (t *tx) quotaEntries() (all []store.Quota, err error) {
	rows, err := t.query(selectQuotas, string(store.KindLeaseQuota))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var e store.Entry
		if err := rows.Scan(&e.Key, &e.ID, &e.Value); err != nil {
			return nil, err
		}
		q, err := store.DecodeQuota(e)
		if err != nil {
			return nil, err
		}
		all = append(all, q)
	}
	return all, rows.Err()
}

// count writes the tally. Paths below which nothing lives any more are dropped:
// clients choose names.
func (t *tx) count() error {
	paths, by := t.tally.Each()
	for i, path := range paths {
		if _, err := t.exec(addLiving, path, by[i]); err != nil {
			return err
		}
		if by[i] > 0 {
			continue
		}
		if _, err := t.exec(dropLiving, path); err != nil {
			return err
		}
	}
	return nil
}
