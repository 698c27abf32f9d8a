package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

// epoch says which events, counted over all epochs, have its numbers: those
// after base, up to the base of the next.
type epoch struct{ number, base int64 }

func readEpochs(ctx context.Context, db *sql.DB) (all []epoch, err error) {
	rows, err := db.QueryContext(ctx, `SELECT epoch, base FROM epochs ORDER BY epoch`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var e epoch
		if err := rows.Scan(&e.number, &e.base); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	if len(all) == 0 {
		err = errors.New("the store has no epoch")
	}
	return all, errors.Join(err, rows.Err())
}

// headOf is the position of the last event numbered.
func (s *Store) headOf(seq int64) event.Position {
	e := s.epochs[len(s.epochs)-1]
	return event.Position{Epoch: e.number, Number: seq - e.base}
}

// positionOf is the position of the event seq.
func (s *Store) positionOf(seq int64) event.Position {
	i := sort.Search(len(s.epochs), func(i int) bool { return s.epochs[i].base >= seq })
	e := s.epochs[max(0, i-1)]
	return event.Position{Epoch: e.number, Number: seq - e.base}
}

// seqOf is the inverse of positionOf; a place behind the end of an epoch is
// that end.
func (s *Store) seqOf(p event.Position) int64 {
	end := int64(never)
	for _, e := range slices.Backward(s.epochs) {
		switch {
		case e.number < p.Epoch:
			return end
		case e.number == p.Epoch:
			return e.base + min(p.Number, end-e.base)
		}
		end = e.base
	}
	return 0
}

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
	var lost bool
	err = s.writer.one(ctx, func(t *tx) error {
		held, err := t.exists(`SELECT 1 FROM locks WHERE name = ? AND owner = ? AND fence = ?`, lock.Name, lock.Owner, lock.Fence)
		if lost = !held; err != nil || lost {
			return err
		}
		numbered = int(min(int64(limit), t.meta.seq-t.meta.head))
		t.meta.head += int64(numbered)
		t.changed = t.changed || numbered > 0
		head = s.headOf(t.meta.head)
		return nil
	})
	if err == nil && lost {
		err = store.ErrLost
	}
	if err != nil {
		return event.Position{}, 0, fmt.Errorf("number events: %w", err)
	}
	return head, numbered, nil
}

// Head implements [store.Outbox].
func (s *Store) Head(ctx context.Context) (head event.Position, err error) {
	err = s.read(ctx, "read head", func(c *sql.Conn) error {
		m, err := readMeta(c.QueryRowContext(ctx, selectMeta))
		head = s.headOf(m.head)
		return err
	})
	return head, err
}

// selectEvents reads no further than the head.
const selectEvents = `SELECT seq, body FROM events
	WHERE seq > ? AND seq <= (SELECT head FROM meta WHERE one = 1) ORDER BY seq LIMIT ?`

// Events implements [store.Outbox].
func (s *Store) Events(ctx context.Context, after event.Position, limit int) (all []event.Event, err error) {
	err = s.read(ctx, "read events", func(c *sql.Conn) (err error) {
		all, err = collect(ctx, c, s.scanEvent, selectEvents, s.seqOf(after), limit)
		return err
	})
	return all, err
}

func (s *Store) scanEvent(row scanner) (e event.Event, err error) {
	var seq int64
	var body string
	if err := row.Scan(&seq, &body); err != nil {
		return e, err
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		return e, fmt.Errorf("decode event: %w", err)
	}
	e.Position = s.positionOf(seq)
	return e, nil
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
		if head = s.headOf(t.meta.head); head.Before(upTo) {
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
	err = s.read(ctx, "read confirmed position", func(c *sql.Conn) error {
		err := c.QueryRowContext(ctx, selectConfirmed, consumer).Scan(&p.Epoch, &p.Number)
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
		last := min(s.seqOf(upTo), m.head, m.first+int64(limit)-1)
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
	err = s.read(ctx, "read backlog", func(c *sql.Conn) error {
		m, err := readMeta(c.QueryRowContext(ctx, selectMeta))
		n = m.seq - m.first + 1
		return err
	})
	return n, err
}
