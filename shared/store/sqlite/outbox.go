package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

// Append implements [store.Outbox].
func (s *Store) Append(ctx context.Context, events ...event.Event) error {
	if err := s.writer.one(ctx, func(t *tx) error { return t.append(events...) }); err != nil {
		return fmt.Errorf("append events: %w", err)
	}
	return nil
}

// Number implements [store.Outbox]. Events are stored in the order of commits,
// without gaps, so giving numbers is moving the head (D3).
func (s *Store) Number(ctx context.Context, lock store.Lock, limit int) (head event.Position, numbered int, err error) {
	var refused error
	err = s.writer.one(ctx, func(t *tx) error {
		refused = nil
		held, err := t.exists(`SELECT 1 FROM locks WHERE name = ? AND owner = ? AND fence = ?`, lock.Name, lock.Owner, lock.Fence)
		if err != nil {
			return err
		}
		if !held {
			refused = store.ErrLost
			return nil
		}
		if _, suspended, err := s.standing(&t.meta); err != nil || suspended {
			refused = store.ErrSuspended
			return err
		}
		numbered = int(min(int64(limit), t.meta.seq-t.meta.head))
		t.meta.head += int64(numbered)
		t.changed = t.changed || numbered > 0
		head = t.epochs.head(t.meta.head)
		return nil
	})
	if err = errors.Join(err, refused); err != nil {
		return event.Position{}, 0, fmt.Errorf("number events: %w", err)
	}
	return head, numbered, nil
}

// Head implements [store.Outbox].
func (s *Store) Head(ctx context.Context) (head event.Position, err error) {
	err = s.readNumbered("read head", func(c reader, all epochs) error {
		m, err := readMeta(c.queryRow(ctx, selectMeta))
		head = all.head(m.head)
		return err
	})
	return head, err
}

// selectEvents reads no further than the head.
const selectEvents = `SELECT seq, body FROM events
	WHERE seq > ? AND seq <= (SELECT head FROM meta WHERE one = 1) ORDER BY seq LIMIT ?`

// Events implements [store.Outbox].
func (s *Store) Events(ctx context.Context, after event.Position, limit int) (all []event.Event, err error) {
	err = s.readNumbered("read events", func(c reader, e epochs) (err error) {
		all, err = collect(ctx, c, e.scanEvent, selectEvents, e.seq(after), limit)
		return err
	})
	return all, err
}

func (all epochs) scanEvent(row scanner) (e event.Event, err error) {
	var seq int64
	var body string
	if err := row.Scan(&seq, &body); err != nil {
		return e, err
	}
	e, err = store.DecodeEvent(body)
	e.Position = all.position(seq)
	return e, err
}

const (
	selectConfirmed = `SELECT epoch, number FROM consumers WHERE name = ?`
	upsertConfirmed = `INSERT INTO consumers (name, epoch, number) VALUES (?1, ?2, ?3)
		ON CONFLICT (name) DO UPDATE SET epoch = ?2, number = ?3 WHERE (epoch, number) < (?2, ?3)`
)

// Confirm implements [store.Outbox].
func (s *Store) Confirm(ctx context.Context, consumer string, upTo event.Position) error {
	var head event.Position
	err := s.writer.one(ctx, func(t *tx) error {
		if head = t.epochs.head(t.meta.head); head.Before(upTo) {
			return nil
		}
		_, err := t.exec(upsertConfirmed, consumer, upTo.Epoch, upTo.Number)
		return err
	})
	if err == nil && head.Before(upTo) {
		err = fmt.Errorf("%w: %s, the head is %s", store.ErrAhead, upTo, head)
	}
	if err != nil {
		return fmt.Errorf("confirm events: %w", err)
	}
	return nil
}

// Confirmed implements [store.Outbox].
func (s *Store) Confirmed(ctx context.Context, consumer string) (p event.Position, err error) {
	err = s.read("read confirmed position", func(c reader) error {
		err := c.queryRow(ctx, selectConfirmed, consumer).Scan(&p.Epoch, &p.Number)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return p, err
}

func (t *tx) confirmed(consumer string) (p event.Position, err error) {
	_, err = t.one(selectConfirmed, []any{consumer}, &p.Epoch, &p.Number)
	return p, err
}

// Trim implements [store.Outbox]. What has no number yet stays.
func (s *Store) Trim(ctx context.Context, upTo event.Position, limit int) (n int, err error) {
	err = s.writer.one(ctx, func(t *tx) error {
		m := &t.meta
		last := min(t.epochs.seq(upTo), m.head, m.first+int64(limit)-1)
		deleted, err := t.exec(`DELETE FROM events WHERE seq >= ? AND seq <= ?`, m.first, last)
		n, m.first = int(deleted), max(m.first, last+1)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("trim events: %w", err)
	}
	return n, nil
}

// Backlog implements [store.Outbox]: events are stored without gaps, so their
// number is the distance of the ends.
func (s *Store) Backlog(ctx context.Context) (n int64, err error) {
	err = s.read("read backlog", func(c reader) error {
		m, err := readMeta(c.queryRow(ctx, selectMeta))
		n = m.seq - m.first + 1
		return err
	})
	return n, err
}
