package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	entryColumns = `kind, key, id, revision, value, withdrawn, changed_at`
	selectByKey  = `SELECT ` + entryColumns + ` FROM entries WHERE kind = ? AND key = ? AND withdrawn = 0`
	selectByID   = `SELECT ` + entryColumns + ` FROM entries WHERE kind = ? AND id = ?`
)

func scanEntry(row scanner) (e store.Entry, err error) {
	var at int64
	err = row.Scan(&e.Kind, &e.Key, &e.ID, &e.Revision, &e.Value, &e.Withdrawn, &at)
	e.ChangedAt, e.Value = fromNanos(at), blob(e.Value)
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
	err = s.read("read "+kind, func(c reader) (err error) {
		e, err = scanEntry(c.queryRow(ctx, query, kind, name))
		if errors.Is(err, sql.ErrNoRows) {
			return store.ErrNotFound
		}
		return err
	})
	if err != nil {
		return store.Entry{}, err
	}
	return e, nil
}

// List implements [store.Entries]. A page of withdrawn entries never ends
// between incarnations of one key, since the next begins after it.
func (s *Store) List(ctx context.Context, kind store.Kind, prefix, after string, withdrawn bool, limit int) (all []store.Entry, err error) {
	if limit <= 0 {
		limit = defaultLimit
	}
	query, args := list(kind, prefix, after, withdrawn)
	err = s.read("list "+string(kind), func(c reader) error {
		all, err = collect(ctx, c, scanEntry, query+` ORDER BY key, id LIMIT ?`, append(args, limit)...)
		if err != nil || !withdrawn || len(all) < limit {
			return err
		}
		last := all[len(all)-1]
		rest, err := collect(ctx, c, scanEntry, `SELECT `+entryColumns+` FROM entries INDEXED BY entries_removed
			WHERE kind = ? AND withdrawn = 1 AND key = ? AND id > ? ORDER BY id`, string(kind), last.Key, last.ID)
		all = append(all, rest...)
		return err
	})
	return all, err
}

func list(kind store.Kind, prefix, after string, withdrawn bool) (query string, args []any) {
	query = `SELECT ` + entryColumns + ` FROM entries INDEXED BY entries_key WHERE withdrawn = 0 AND kind = ? AND key >= ? AND key > ?`
	if withdrawn {
		query = `SELECT ` + entryColumns + ` FROM entries INDEXED BY entries_removed WHERE withdrawn = 1 AND kind = ? AND key >= ? AND key > ?`
	}
	args = []any{string(kind), prefix, after}
	if end, ok := prefixEnd(prefix); ok {
		return query + ` AND key < ?`, append(args, end)
	}
	return query, args
}

// Write implements [store.Entries].
func (s *Store) Write(ctx context.Context, w store.Write) (put []store.Entry, err error) {
	var refused error
	err = s.writer.one(ctx, func(t *tx) (failed error) {
		refused, failed = t.atomically(func() error {
			put, err = t.write(w)
			return err
		})
		return failed
	})
	if err = errors.Join(err, refused); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	return put, nil
}

// write deletes and withdraws first, so that a key can be taken again in the
// same commit.
func (t *tx) write(w store.Write) (put []store.Entry, err error) {
	t.quotasRead = false // they may be among what is written
	for _, ref := range w.Deletes {
		if _, err := t.exec(`DELETE FROM entries WHERE kind = ? AND id = ?`, string(ref.Kind), ref.ID); err != nil {
			return nil, err
		}
		if ref.Kind != store.KindBarrier {
			continue
		}
		if _, err := t.exec(`DELETE FROM barriers WHERE id = ?`, ref.ID); err != nil {
			return nil, err
		}
	}
	for _, ref := range w.Withdrawals {
		n, err := t.exec(`UPDATE entries SET withdrawn = 1, revision = revision + 1, changed_at = ?
			WHERE kind = ? AND id = ? AND withdrawn = 0`, nanos(t.now), string(ref.Kind), ref.ID)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, refusal{fmt.Errorf("withdraw %s: %w", ref.Kind, store.ErrNotFound)}
		}
	}
	for _, e := range w.Puts {
		if e, err = t.putEntry(e); err != nil {
			return nil, err
		}
		put = append(put, e)
	}
	t.tally.Mend(w.Mends)
	return put, t.append(w.Events...)
}

func (t *tx) putEntry(e store.Entry) (store.Entry, error) {
	if e.Revision != 0 {
		return t.edit(e)
	}
	if e.Kind == store.KindBarrier {
		return e, refusal{errors.New("a barrier is made by Raise")}
	}
	return t.insert(e)
}

// insert makes a new incarnation.
func (t *tx) insert(e store.Entry) (store.Entry, error) {
	if e.ID == "" {
		e.ID = store.NewIncarnation()
	}
	e.Revision, e.Withdrawn, e.ChangedAt, e.Value = 1, false, t.now, blob(e.Value)
	n, err := t.exec(`INSERT INTO entries (kind, id, key, revision, value, withdrawn, changed_at)
		VALUES (?, ?, ?, 1, ?, 0, ?) ON CONFLICT DO NOTHING`, string(e.Kind), e.ID, e.Key, e.Value, nanos(t.now))
	if err == nil && n == 0 {
		err = refusal{fmt.Errorf("make %s %q: %w", e.Kind, e.Key, store.ErrExists)}
	}
	return e, err
}

// edit changes the value of an incarnation: the one named by its id, else the
// one that has the key.
func (t *tx) edit(e store.Entry) (store.Entry, error) {
	query, name := selectByKey, e.Key
	if e.ID != "" {
		query, name = selectByID, e.ID
	}
	var now store.Entry
	var at int64
	found, err := t.one(query, []any{string(e.Kind), name},
		&now.Kind, &now.Key, &now.ID, &now.Revision, &now.Value, &now.Withdrawn, &at)
	if err != nil {
		return e, err
	}
	if !found || now.Key != e.Key || now.Revision != e.Revision {
		return e, refusal{fmt.Errorf("edit %s %q: %w: it is %d, not %d", e.Kind, e.Key, store.ErrRevision, now.Revision, e.Revision)}
	}
	now.Revision, now.Value, now.ChangedAt = now.Revision+1, blob(e.Value), t.now
	_, err = t.exec(`UPDATE entries SET revision = ?, value = ?, changed_at = ? WHERE kind = ? AND id = ?`,
		now.Revision, now.Value, nanos(t.now), string(now.Kind), now.ID)
	return now, err
}

// blob keeps an empty value apart from NULL, which the driver makes of nil.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// Raise implements [store.Entries].
func (s *Store) Raise(ctx context.Context, b store.Barrier, events ...event.Event) (store.Barrier, error) {
	if err := b.Check(); err != nil {
		return b, fmt.Errorf("raise barrier: %w", err)
	}
	var raised store.Barrier
	var refused error
	err := s.writer.one(ctx, func(t *tx) (failed error) {
		refused, failed = t.atomically(func() (err error) {
			raised, err = t.raise(b, events)
			return err
		})
		return failed
	})
	if err = errors.Join(err, refused); err != nil {
		return b, fmt.Errorf("raise barrier: %w", err)
	}
	return raised, nil
}

func (t *tx) raise(b store.Barrier, events []event.Event) (store.Barrier, error) {
	t.meta.position++
	b.Position, b.RaisedAt = t.meta.position, t.now
	value, err := b.Encode()
	if err != nil {
		return b, refusal{err}
	}
	e, err := t.insert(store.Entry{Kind: store.KindBarrier, Key: b.Operation, Value: value})
	if err != nil {
		return b, err
	}
	if _, err := t.exec(`INSERT INTO barriers (id, position, prefix) VALUES (?, ?, ?)`, e.ID, b.Position, b.Prefix); err != nil {
		return b, err
	}
	return b, t.append(events...)
}
