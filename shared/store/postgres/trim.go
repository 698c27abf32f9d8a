package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	// selectRuns lists runs from the one on that holds the number after $1, $2.
	selectRuns = `SELECT r.epoch, r.first, r.seq, r.length
		FROM (SELECT $1::bigint AS epoch, $2::bigint AS number) a,
		LATERAL (SELECT * FROM {s}.runs WHERE (epoch, first) >= (a.epoch, ` + startingRun + `)
			ORDER BY epoch, first LIMIT $3) r
		ORDER BY r.epoch, r.first`
	deleteEvents = `DELETE FROM {s}.events e USING unnest($1::bigint[], $2::bigint[]) g (a, b) WHERE e.seq BETWEEN g.a AND g.b`
	// deleteRuns keeps what Prune goes by: numbers that the ledger has not
	// confirmed.
	deleteRuns = `WITH had AS (
			SELECT epoch, first FROM {s}.runs
			WHERE (epoch, first) <= ($1, $2)
				AND (epoch, first) <= (SELECT epoch, number FROM {s}.consumers WHERE name = $3)
			ORDER BY epoch DESC, first DESC LIMIT 1
		) DELETE FROM {s}.runs r USING had WHERE (r.epoch, r.first) < (had.epoch, had.first)`
)

// numbered is a run with its first number.
type numbered struct {
	first event.Position
	run
}

// from cuts off what is not after p; nothing may be left.
func (n numbered) from(p event.Position) numbered {
	if n.first.Epoch == p.Epoch && p.Number >= n.first.Number {
		cut := min(n.length, p.Number+1-n.first.Number)
		n.first.Number, n.seq, n.length = n.first.Number+cut, n.seq+cut, n.length-cut
	}
	return n
}

// runsAfter reads the runs after p, in order.
func (t *tx) runsAfter(p event.Position, limit int64) (all []numbered, err error) {
	rows, err := t.conn.Query(t.ctx, t.s.schema.in(selectRuns), p.Epoch, p.Number, limit)
	if err != nil {
		return nil, fmt.Errorf("read numbers: %w", err)
	}
	var n numbered
	if _, err = pgx.ForEachRow(rows, []any{&n.first.Epoch, &n.first.Number, &n.seq, &n.length}, func() error {
		if rest := n.from(p); rest.length > 0 {
			all = append(all, rest)
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read numbers: %w", err)
	}
	return all, nil
}

// Trim implements [store.Outbox]. What has no number yet stays.
func (s *Store) Trim(ctx context.Context, upTo event.Position, limit int) (n int, err error) {
	var h head
	err = s.alone(ctx, &work{
		lock: func(b *pgx.Batch) { h.lock(s.schema, b) },
		decide: func(t *tx) error {
			n = 0
			if limit <= 0 || !h.trimmed.Before(upTo) {
				return nil
			}
			// Each run has an event at least; one more may be cut off.
			runs, err := t.runsAfter(h.trimmed, int64(limit)+1)
			if err != nil {
				return err
			}
			n = h.trim(t, runs, upTo, int64(limit))
			return nil
		},
	})
	if err != nil {
		return 0, fmt.Errorf("trim events: %w", err)
	}
	return n, nil
}

// trim deletes the events of runs up to a position, at most limit.
func (h *head) trim(t *tx, runs []numbered, upTo event.Position, limit int64) int {
	var from, to []int64
	n := int64(0)
	for _, r := range runs {
		length := min(r.length, limit-n)
		if r.first.Epoch == upTo.Epoch {
			length = min(length, upTo.Number+1-r.first.Number)
		}
		if length <= 0 || r.first.Epoch > upTo.Epoch {
			break
		}
		from, to = append(from, r.seq), append(to, r.seq+length-1)
		h.trimmed = event.Position{Epoch: r.first.Epoch, Number: r.first.Number + length - 1}
		n += length
	}
	if n == 0 {
		return 0
	}
	h.stored -= n
	t.queue(deleteEvents, from, to)
	h.put(t)
	t.queue(deleteRuns, h.trimmed.Epoch, h.trimmed.Number, store.Ledger)
	return int(n)
}

const (
	cutRun    = `UPDATE {s}.runs SET length = $3 - first + 1 WHERE epoch = $1 AND first <= $3 AND first + length > $3 AND first >= $2`
	deleteOld = `DELETE FROM {s}.runs WHERE (epoch, first) > ($1, $2)`
)

// renumber gives the numbered events after a position the first numbers of an
// epoch, but for those that were trimmed: nobody will see them again.
func (t *tx) renumber(h *head, epoch int64, after event.Position) error {
	if after.Before(h.trimmed) {
		after = h.trimmed
	}
	runs, err := t.runsAfter(after, never)
	if err != nil {
		return err
	}
	h.position = event.Position{Epoch: epoch}
	var firsts, seqs, lengths []int64
	for _, r := range runs {
		firsts, seqs, lengths = append(firsts, h.position.Number+1), append(seqs, r.seq), append(lengths, r.length)
		h.position.Number += r.length
	}
	t.queue(deleteOld, after.Epoch, after.Number)
	t.queue(cutRun, after.Epoch, int64(0), after.Number)
	t.queue(insertRuns, epoch, firsts, seqs, lengths)
	h.put(t)
	return nil
}

// selectPrunable lists leases that ended before $1, in the order of their ends,
// as far as the ledger has everything: what it lacks begins at the lowest of
// what has no number yet, what may come late, and what it has not confirmed.
const (
	selectPrunable = `SELECT id FROM (
			SELECT id, event_seq FROM {s}.leases WHERE ended_at < $1 ORDER BY ended_at, event_seq, id LIMIT $2
		) ended WHERE event_seq < (SELECT ` + unconfirmed + `)`
	unconfirmed = `least(
			h.examined + 1,
			(SELECT min(g) FROM unnest(h.gap_from) g),
			(SELECT min(r.seq + CASE WHEN r.epoch = a.epoch THEN greatest(0, a.number + 1 - r.first) ELSE 0 END)
				FROM {s}.runs r
				WHERE (r.epoch, r.first) >= (a.epoch, ` + startingRun + `)
					AND NOT (r.epoch = a.epoch AND r.first + r.length - 1 <= a.number)))
		FROM {s}.head h, LATERAL (
			SELECT coalesce(max(epoch), 0) AS epoch, coalesce(max(number), 0) AS number FROM {s}.consumers WHERE name = $3
		) a`
	// Skips what a refused change has locked at this moment: no waiting, so no
	// order of locks to keep.
	deleteLeases = `DELETE FROM {s}.leases WHERE id IN (
			SELECT id FROM {s}.leases WHERE id = ANY($1) AND ended ORDER BY id FOR UPDATE SKIP LOCKED)`
)

// Prune implements [store.Leases].
func (s *Store) Prune(ctx context.Context, endedBefore time.Time, limit int) (n int, err error) {
	var ids []string
	err = s.alone(ctx, &work{
		read: func(b *pgx.Batch) {
			b.Queue(s.schema.in(selectPrunable), nanos(endedBefore), max(0, limit), store.Ledger).Query(func(rows pgx.Rows) (err error) {
				ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
				return err
			})
		},
		decide: func(t *tx) error {
			if n = 0; len(ids) == 0 {
				return nil
			}
			t.queue(deleteLeases, ids).Exec(func(tag pgconn.CommandTag) error {
				n = int(tag.RowsAffected())
				return nil
			})
			return nil
		},
	})
	if err != nil {
		return 0, fmt.Errorf("prune leases: %w", err)
	}
	return n, nil
}
