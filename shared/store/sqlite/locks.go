package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/store"
)

const upsertLock = `INSERT INTO locks (name, owner, fence, held_until) VALUES (?1, ?2, ?3, ?4)
	ON CONFLICT (name) DO UPDATE SET owner = ?2, fence = ?3, held_until = ?4`

// Acquire implements [store.Locks]. Nobody has a lock from before this store was
// opened: who had it had the directory, too, and is gone.
func (s *Store) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (l store.Lock, ok bool, err error) {
	if owner == "" {
		return l, false, fmt.Errorf("acquire lock: %w", store.ErrNoOwner)
	}
	err = s.writer.one(ctx, func(t *tx) (err error) {
		l, ok, err = t.acquire(name, owner, ttl)
		return err
	})
	if err != nil {
		return store.Lock{}, false, fmt.Errorf("acquire lock: %w", err)
	}
	return l, ok, nil
}

func (t *tx) acquire(name, owner string, ttl time.Duration) (l store.Lock, ok bool, err error) {
	var holder string
	var fence, until int64
	if _, err := t.one(`SELECT owner, fence, held_until FROM locks WHERE name = ?`, []any{name}, &holder, &fence, &until); err != nil {
		return l, false, err
	}
	if holder != owner {
		if holder != "" && nanos(t.now) < until && t.w.locks[name] {
			return l, false, nil
		}
		fence++
	}
	if t.w.locks == nil {
		t.w.locks = map[string]bool{}
	}
	t.w.locks[name] = true
	_, err = t.exec(upsertLock, name, owner, fence, nanos(t.now.Add(ttl)))
	return store.Lock{Name: name, Owner: owner, Fence: fence}, true, err
}

// Release implements [store.Locks].
func (s *Store) Release(ctx context.Context, l store.Lock) error {
	err := s.writer.one(ctx, func(t *tx) error {
		_, err := t.exec(`UPDATE locks SET owner = '', held_until = 0 WHERE name = ? AND owner = ? AND fence = ?`,
			l.Name, l.Owner, l.Fence)
		return err
	})
	if err != nil {
		return fmt.Errorf("release lock: %w", err)
	}
	return nil
}

// Now implements [store.Time].
func (s *Store) Now(context.Context) (time.Time, error) {
	if err := s.poisoned(); err != nil {
		return time.Time{}, fmt.Errorf("read the store's time: %w", err)
	}
	return s.clock.now(), nil
}
