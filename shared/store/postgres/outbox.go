package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

// Head implements [store.Outbox].
func (s *Store) Head(ctx context.Context) (head event.Position, err error) {
	err = s.read(ctx, "read head", func(ctx context.Context, r reader) error {
		return r.row(ctx, s.schema.in(selectHead)).Scan(&head.Epoch, &head.Number)
	})
	return head, err
}

// selectEvents takes, from the run that holds the first number asked for, as
// many runs as hold $3 events, and then their events. It begins behind what was
// trimmed, so that it never meets what vacuum has not removed yet.
const selectEvents = `SELECT r.epoch, r.first + e.seq - r.seq, e.body
	FROM {s}.head h,
	LATERAL (SELECT
		CASE WHEN ($1, $2) < (h.trimmed_epoch, h.trimmed_number) THEN h.trimmed_epoch ELSE $1::bigint END AS epoch,
		CASE WHEN ($1, $2) < (h.trimmed_epoch, h.trimmed_number) THEN h.trimmed_number ELSE $2::bigint END AS number) a,
	LATERAL (
		SELECT *, sum(length - skip) OVER (ORDER BY epoch, first) - (length - skip) AS before FROM (
			SELECT *, CASE WHEN epoch = a.epoch THEN least(length, greatest(0, a.number + 1 - first)) ELSE 0 END AS skip
			FROM {s}.runs
			WHERE (epoch, first) >= (a.epoch, ` + startingRun + `)
			ORDER BY epoch, first LIMIT $3::bigint + 1
		) found
	) r,
	LATERAL (
		SELECT seq, body FROM {s}.events
		WHERE seq >= r.seq + r.skip AND seq < r.seq + r.length ORDER BY seq LIMIT $3
	) e
	WHERE r.before < $3
	ORDER BY r.epoch, r.first, e.seq LIMIT $3`

// startingRun is the first number of the run that holds the number after a.
const startingRun = `coalesce((SELECT max(first) FROM {s}.runs WHERE epoch = a.epoch AND first <= a.number + 1), 0)`

// Events implements [store.Outbox].
func (s *Store) Events(ctx context.Context, after event.Position, limit int) (all []event.Event, err error) {
	err = s.read(ctx, "read events", func(ctx context.Context, r reader) (err error) {
		all, err = collect(ctx, r, scanEvent, s.schema.in(selectEvents), after.Epoch, after.Number, max(0, limit))
		return err
	})
	return all, err
}

func scanEvent(row pgx.CollectableRow) (e event.Event, err error) {
	var p event.Position
	var body string
	if err := row.Scan(&p.Epoch, &p.Number, &body); err != nil {
		return e, err
	}
	e, err = store.DecodeEvent(body)
	e.Position = p
	return e, err
}

const (
	selectConfirmed = `SELECT epoch, number FROM {s}.consumers WHERE name = $1`
	upsertConfirmed = `INSERT INTO {s}.consumers AS c (name, epoch, number) VALUES ($1, $2, $3)
		ON CONFLICT (name) DO UPDATE SET epoch = $2, number = $3 WHERE (c.epoch, c.number) < ($2, $3)`
)

// Confirm implements [store.Outbox]. The head never goes back, so it may be
// read before the confirmation is written.
func (s *Store) Confirm(ctx context.Context, consumer string, upTo event.Position) error {
	var head event.Position
	err := s.alone(ctx, &work{
		read: func(b *pgx.Batch) {
			b.Queue(s.schema.in(selectHead)).QueryRow(func(row pgx.Row) error { return row.Scan(&head.Epoch, &head.Number) })
		},
		decide: func(t *tx) error {
			if !head.Before(upTo) {
				t.queue(upsertConfirmed, consumer, upTo.Epoch, upTo.Number)
			}
			return nil
		},
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
	err = s.read(ctx, "read confirmed position", func(ctx context.Context, r reader) error {
		err := r.row(ctx, s.schema.in(selectConfirmed), consumer).Scan(&p.Epoch, &p.Number)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	return p, err
}

// selectBacklog counts what has no number one by one: that is what was
// committed since the last numbering, unless nobody publishes.
const selectBacklog = `SELECT h.stored
	+ (SELECT count(*) FROM {s}.events WHERE seq > h.examined)
	+ (SELECT count(*) FROM unnest(h.gap_from, h.gap_to) g (a, b), {s}.events e WHERE e.seq BETWEEN g.a AND g.b)
	FROM {s}.head h`

// Backlog implements [store.Outbox].
func (s *Store) Backlog(ctx context.Context) (n int64, err error) {
	err = s.read(ctx, "read backlog", func(ctx context.Context, r reader) error {
		return r.row(ctx, s.schema.in(selectBacklog)).Scan(&n)
	})
	return n, err
}
