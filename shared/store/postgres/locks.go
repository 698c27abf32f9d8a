package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/store"
)

const (
	selectLock  = `SELECT owner, fence, held_until FROM {s}.locks WHERE name = $1 FOR NO KEY UPDATE`
	insertLock  = `INSERT INTO {s}.locks (name, owner, fence, held_until) VALUES ($1, $2, $3, $4)`
	updateLock  = `UPDATE {s}.locks SET owner = $2, fence = $3, held_until = $4 WHERE name = $1`
	releaseLock = `UPDATE {s}.locks SET owner = '', held_until = 0 WHERE name = $1 AND owner = $2 AND fence = $3`
)

// held is a lock as it is stored.
type held struct {
	owner        string
	fence, until int64
	found        bool
}

func (l *held) lock(in schema, b *pgx.Batch, name string) {
	b.Queue(in.in(selectLock), name).Query(func(rows pgx.Rows) error {
		*l = held{}
		_, err := pgx.ForEachRow(rows, []any{&l.owner, &l.fence, &l.until}, func() error {
			l.found = true
			return nil
		})
		return err
	})
}

// Acquire implements [store.Locks].
func (s *Store) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (l store.Lock, ok bool, err error) {
	if owner == "" {
		return l, false, fmt.Errorf("acquire lock: %w", store.ErrNoOwner)
	}
	var have held
	err = s.alone(ctx, &work{
		lock: func(b *pgx.Batch) { have.lock(s.schema, b, name) },
		decide: func(t *tx) error {
			ok = have.owner == owner || have.owner == "" || nanos(t.now) >= have.until
			if !ok {
				return nil
			}
			if have.owner != owner {
				have.fence++
			}
			l = store.Lock{Name: name, Owner: owner, Fence: have.fence}
			put := insertLock // fails where another has just made the row: then it is read anew
			if have.found {
				put = updateLock
			}
			t.queue(put, name, owner, have.fence, nanos(t.now.Add(ttl)))
			return nil
		},
	})
	if err != nil {
		return store.Lock{}, false, fmt.Errorf("acquire lock: %w", err)
	}
	if !ok {
		return store.Lock{}, false, nil
	}
	return l, true, nil
}

// Release implements [store.Locks].
func (s *Store) Release(ctx context.Context, l store.Lock) error {
	err := s.alone(ctx, &work{decide: func(t *tx) error {
		t.queue(releaseLock, l.Name, l.Owner, l.Fence)
		return nil
	}})
	if err != nil {
		return fmt.Errorf("release lock: %w", err)
	}
	return nil
}
