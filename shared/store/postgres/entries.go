package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/store"
)

const (
	entryColumns = `kind, key, id, revision, value, withdrawn, changed_at`
	selectByKey  = `SELECT ` + entryColumns + ` FROM {s}.entries WHERE kind = $1 AND key = $2 AND NOT withdrawn`
	selectByID   = `SELECT ` + entryColumns + ` FROM {s}.entries WHERE kind = $1 AND id = $2`
	selectRest   = `SELECT ` + entryColumns + ` FROM {s}.entries
		WHERE withdrawn AND kind = $1 AND key = $2 AND id > $3 ORDER BY id`
)

func scanEntry(row pgx.CollectableRow) (e store.Entry, err error) {
	var at int64
	err = row.Scan(&e.Kind, &e.Key, &e.ID, &e.Revision, &e.Value, &e.Withdrawn, &at)
	e.ChangedAt = fromNanos(at)
	return e, err
}

// Entry implements [store.Entries].
func (s *Store) Entry(ctx context.Context, kind store.Kind, key string) (store.Entry, error) {
	return s.entry(ctx, selectByKey, string(kind), key)
}

// EntryByID implements [store.Entries].
func (s *Store) EntryByID(ctx context.Context, kind store.Kind, id string) (store.Entry, error) {
	return s.entry(ctx, selectByID, string(kind), id)
}

func (s *Store) entry(ctx context.Context, query, kind, name string) (e store.Entry, err error) {
	err = s.read(ctx, "read "+kind, func(ctx context.Context, r reader) error {
		all, err := collect(ctx, r, scanEntry, s.schema.in(query), kind, name)
		if err == nil && len(all) == 0 {
			err = store.ErrNotFound
		}
		if err == nil {
			e = all[0]
		}
		return err
	})
	return e, err
}

// List implements [store.Entries]. A page of withdrawn entries never ends
// between incarnations of one key, since the next begins after it.
func (s *Store) List(ctx context.Context, kind store.Kind, prefix, after string, withdrawn bool, limit int) (all []store.Entry, err error) {
	if limit <= 0 {
		limit = defaultLimit
	}
	query, args := list(kind, prefix, after, withdrawn, limit)
	err = s.read(ctx, "list "+string(kind), func(ctx context.Context, r reader) error {
		all, err = collect(ctx, r, scanEntry, s.schema.in(query), args...)
		if err != nil || !withdrawn || len(all) < limit {
			return err
		}
		last := all[len(all)-1]
		rest, err := collect(ctx, r, scanEntry, s.schema.in(selectRest), string(kind), last.Key, last.ID)
		all = append(all, rest...)
		return err
	})
	return all, err
}

func list(kind store.Kind, prefix, after string, withdrawn bool, limit int) (query string, args []any) {
	s := selection{}
	s.and("kind = $%d", string(kind))
	s.and("key >= $%d", prefix)
	s.and("key > $%d", after)
	if end, ok := prefixEnd(prefix); ok {
		s.and("key < $%d", end)
	}
	state := "NOT withdrawn"
	if withdrawn {
		state = "withdrawn"
	}
	s.args = append(s.args, limit)
	query = `SELECT ` + entryColumns + ` FROM {s}.entries WHERE ` + state
	for _, w := range s.where {
		query += " AND " + w
	}
	return query + ` ORDER BY key, id LIMIT $` + itoa(len(s.args)), s.args
}

var errForged = errors.New("a barrier is made by Raise")
