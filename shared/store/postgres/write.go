package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

func itoa(n int) string { return strconv.Itoa(n) }

const (
	// selectTouched reads what a write names by id or by key. The lock of
	// configuration keeps it as it is.
	selectTouched = `SELECT ` + entryColumns + ` FROM {s}.entries e
		JOIN unnest($1::text[], $2::text[]) AS g (kind_, id_) ON e.kind = g.kind_ COLLATE "C" AND e.id = g.id_ COLLATE "C"
		UNION
		SELECT ` + entryColumns + ` FROM {s}.entries e
		JOIN unnest($3::text[], $4::text[]) AS g (kind_, key_) ON e.kind = g.kind_ COLLATE "C" AND e.key = g.key_ COLLATE "C"
		WHERE NOT e.withdrawn`
	deleteEntries = `DELETE FROM {s}.entries e USING unnest($1::text[], $2::text[]) AS g (kind, id)
		WHERE e.kind = g.kind AND e.id = g.id`
	deleteBarriers = `DELETE FROM {s}.barriers WHERE id = ANY($1)`
	updateEntry    = `UPDATE {s}.entries SET revision = $3, value = $4, withdrawn = $5, changed_at = $6 WHERE kind = $1 AND id = $2`
	insertEntry    = `INSERT INTO {s}.entries (kind, id, key, revision, value, withdrawn, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`
	insertBarrier  = `INSERT INTO {s}.barriers (id, position, prefix) VALUES ($1, $2, $3)`
)

// entries are those that a write touches, as the transaction sees them, its own
// changes included.
type entries struct {
	all     map[store.Ref]*entry
	deleted []store.Ref // of those that were stored
}

type entry struct {
	store.Entry
	stored, changed bool
}

// read reads what w may touch; it queues nothing where that is nothing.
func (have *entries) read(in schema, b *pgx.Batch, w store.Write) {
	*have = entries{all: map[store.Ref]*entry{}}
	var kinds, ids, keyKinds, keys []string
	name := func(kind store.Kind, id string) { kinds, ids = append(kinds, string(kind)), append(ids, id) }
	for _, ref := range slices.Concat(w.Deletes, w.Withdrawals) {
		name(ref.Kind, ref.ID)
	}
	for _, e := range w.Puts {
		if e.ID != "" {
			name(e.Kind, e.ID)
		}
		keyKinds, keys = append(keyKinds, string(e.Kind)), append(keys, e.Key)
	}
	if len(ids)+len(keys) == 0 {
		return
	}
	b.Queue(in.in(selectTouched), kinds, ids, keyKinds, keys).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, scanEntry)
		for _, e := range all {
			have.all[store.Ref{Kind: e.Kind, ID: e.ID}] = &entry{Entry: e, stored: true}
		}
		return err
	})
}

func (have *entries) byKey(kind store.Kind, key string) *entry {
	for _, e := range have.all {
		if e.Kind == kind && e.Key == key && !e.Withdrawn {
			return e
		}
	}
	return nil
}

// write deletes and withdraws first, so that a key can be taken again in the
// same commit. An error is the caller's: nothing is to be written.
func (have *entries) write(w store.Write, now time.Time) (put []store.Entry, err error) {
	for _, ref := range w.Deletes {
		if e := have.all[ref]; e != nil {
			delete(have.all, ref)
			have.deleted = append(have.deleted, ref)
		}
	}
	for _, ref := range w.Withdrawals {
		e := have.all[ref]
		if e == nil || e.Withdrawn {
			return nil, fmt.Errorf("withdraw %s: %w", ref.Kind, store.ErrNotFound)
		}
		e.Withdrawn, e.ChangedAt, e.changed = true, now, true
		e.Revision++
	}
	for _, p := range w.Puts {
		switch {
		case p.Revision != 0:
			p, err = have.edit(p, now)
		case p.Kind == store.KindBarrier:
			err = errForged
		default:
			p, err = have.insert(p, now)
		}
		if err != nil {
			return nil, err
		}
		put = append(put, p)
	}
	return put, nil
}

// insert makes a new incarnation.
func (have *entries) insert(e store.Entry, now time.Time) (store.Entry, error) {
	e.ID = cmp.Or(e.ID, store.NewIncarnation())
	ref := store.Ref{Kind: e.Kind, ID: e.ID}
	if have.all[ref] != nil || have.byKey(e.Kind, e.Key) != nil {
		return e, fmt.Errorf("make %s %q: %w", e.Kind, e.Key, store.ErrExists)
	}
	e.Revision, e.Withdrawn, e.ChangedAt, e.Value = 1, false, now, blob(e.Value)
	have.all[ref] = &entry{Entry: e, changed: true}
	return e, nil
}

// edit changes the value of an incarnation: the one named by its id, else the
// one that has the key.
func (have *entries) edit(e store.Entry, now time.Time) (store.Entry, error) {
	found := have.byKey(e.Kind, e.Key)
	if e.ID != "" {
		found = have.all[store.Ref{Kind: e.Kind, ID: e.ID}]
	}
	switch {
	case found == nil:
		return e, fmt.Errorf("edit %s %q: %w: there is none", e.Kind, e.Key, store.ErrRevision)
	case found.Key != e.Key || found.Revision != e.Revision:
		return e, fmt.Errorf("edit %s %q: %w: it is %d, not %d", e.Kind, e.Key, store.ErrRevision, found.Revision, e.Revision)
	}
	found.Value, found.ChangedAt, found.changed = blob(e.Value), now, true
	found.Revision++
	return found.Entry, nil
}

// blob keeps an empty value apart from NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// queue writes what changed: what gives a key free before what takes it.
func (have *entries) queue(t *tx) {
	var kinds, ids, barriers []string
	for _, ref := range have.deleted {
		kinds, ids = append(kinds, string(ref.Kind)), append(ids, ref.ID)
		if ref.Kind == store.KindBarrier {
			barriers = append(barriers, ref.ID)
		}
	}
	if len(ids) > 0 {
		t.queue(deleteEntries, kinds, ids)
	}
	if len(barriers) > 0 {
		t.queue(deleteBarriers, barriers)
	}
	for _, e := range have.all {
		if e.changed && e.stored {
			t.queue(updateEntry, string(e.Kind), e.ID, e.Revision, e.Value, e.Withdrawn, nanos(e.ChangedAt))
		}
	}
	for _, e := range have.all {
		if e.changed && !e.stored {
			t.queue(insertEntry, string(e.Kind), e.ID, e.Key, e.Revision, e.Value, e.Withdrawn, nanos(e.ChangedAt))
		}
	}
}

// Write implements [store.Entries].
func (s *Store) Write(ctx context.Context, w store.Write) (put []store.Entry, err error) {
	var have entries
	var refused error
	err = s.alone(ctx, &work{
		lock: func(b *pgx.Batch) { b.Queue(s.schema.in(lockMeta)) },
		read: func(b *pgx.Batch) { have.read(s.schema, b, w) },
		decide: func(t *tx) (err error) {
			if put, refused = have.write(w, t.now); refused != nil {
				return nil //nolint:nilerr // a refusal is an answer
			}
			have.queue(t)
			var mended quotas
			mended.tally.Mend(w.Mends)
			mended.count(t)
			_, err = t.append(t.now, w.Events...)
			return err
		},
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	return put, nil
}

const drawPosition = `SELECT nextval('{s}.positions')`

// Raise implements [store.Entries].
func (s *Store) Raise(ctx context.Context, b store.Barrier, events ...event.Event) (store.Barrier, error) {
	err := b.Check()
	raised := b
	if err == nil {
		raised, err = s.raise(ctx, b, events)
	}
	if err != nil {
		return b, fmt.Errorf("raise barrier: %w", err)
	}
	return raised, nil
}

func (s *Store) raise(ctx context.Context, b store.Barrier, events []event.Event) (raised store.Barrier, err error) {
	var have entries
	var refused error
	err = s.alone(ctx, &work{
		lock: func(batch *pgx.Batch) { batch.Queue(s.schema.in(lockMeta)) },
		read: func(batch *pgx.Batch) {
			have.read(s.schema, batch, store.Write{Puts: []store.Entry{{Kind: store.KindBarrier, Key: b.Operation}}})
		},
		decide: func(t *tx) error {
			raised, refused = b, nil
			made, err := have.insert(store.Entry{Kind: store.KindBarrier, Key: b.Operation}, t.now)
			if err != nil {
				refused = err
				return nil //nolint:nilerr // a refusal is an answer, no failure of the commit
			}
			// In this transaction, so that every beginning whose commit was
			// answered before has a lower place (A4).
			if err := t.row(drawPosition).Scan(&raised.Position); err != nil {
				return err
			}
			raised.RaisedAt = t.now
			value, err := raised.Encode()
			if err != nil {
				return err
			}
			have.all[store.Ref{Kind: made.Kind, ID: made.ID}].Value = value
			have.queue(t)
			t.queue(insertBarrier, made.ID, raised.Position, raised.Prefix)
			_, err = t.append(t.now, events...)
			return err
		},
	})
	if err == nil {
		err = refused
	}
	return raised, err
}
