package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

// head is how far events are numbered (D3). The order of seqs is not that of
// commits: a transaction may commit after another that drew higher ones. What
// numbering passed over, since it was not visible, is kept as gaps, which are
// looked at each time until nobody can fill them any more. So numbering reads
// only what is new and the gaps: never what was numbered or deleted before.
type head struct {
	position event.Position // the last number given
	examined int64
	gaps     []gap
	stored   int64
	trimmed  event.Position

	limit, oldest int64 // of a look
	waiting       []run
}

// gap is a range of seqs that were drawn and not visible. Each of them was
// drawn by a transaction that had its id when the gap was found; xid is one
// that was given later, so when nothing before xid runs, what is not there was
// rolled back. 0: found by the numbering before this one.
type gap struct{ from, to, xid int64 }

// run is a piece of consecutive seqs.
type run struct{ seq, length int64 }

const (
	lockHead = `SELECT epoch, number, examined, gap_from, gap_to, gap_xid, stored, trimmed_epoch, trimmed_number
		FROM {s}.head FOR NO KEY UPDATE`
	updateHead = `UPDATE {s}.head SET epoch = $1, number = $2, examined = $3, gap_from = $4, gap_to = $5, gap_xid = $6,
		stored = $7, trimmed_epoch = $8, trimmed_number = $9`
	selectHead = `SELECT epoch, number FROM {s}.head`
	holdsLock  = `SELECT owner = $2 AND fence = $3 FROM {s}.locks WHERE name = $1 FOR SHARE`
	oldestXid  = `SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint`

	// waiting lists the seqs without a number, at most $1, as pieces.
	waiting = `SELECT min(seq), count(*) FROM (
		SELECT seq, seq - row_number() OVER (ORDER BY seq) AS piece FROM (
			(SELECT e.seq FROM {s}.head h, unnest(h.gap_from, h.gap_to) g (a, b),
				LATERAL (SELECT seq FROM {s}.events WHERE seq BETWEEN g.a AND g.b ORDER BY seq LIMIT $1) e
				ORDER BY e.seq LIMIT $1)
			UNION ALL
			(SELECT seq FROM {s}.events WHERE seq > (SELECT examined FROM {s}.head) ORDER BY seq LIMIT $1)
			ORDER BY seq LIMIT $1
		) seqs
	) pieces GROUP BY piece ORDER BY 1`
	insertRuns = `INSERT INTO {s}.runs (epoch, first, seq, length)
		SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[])`
)

// lock locks the head and reads it.
func (h *head) lock(in schema, b *pgx.Batch) {
	b.Queue(in.in(lockHead)).QueryRow(func(row pgx.Row) error {
		var from, to, xid []int64
		err := row.Scan(&h.position.Epoch, &h.position.Number, &h.examined, &from, &to, &xid,
			&h.stored, &h.trimmed.Epoch, &h.trimmed.Number)
		h.gaps = nil
		for i := range from {
			h.gaps = append(h.gaps, gap{from[i], to[i], xid[i]})
		}
		return err
	})
}

func (h *head) put(t *tx) {
	from, to, xid := []int64{}, []int64{}, []int64{}
	for _, g := range h.gaps {
		from, to, xid = append(from, g.from), append(to, g.to), append(xid, g.xid)
	}
	t.queue(updateHead, h.position.Epoch, h.position.Number, h.examined, from, to, xid,
		h.stored, h.trimmed.Epoch, h.trimmed.Number)
}

// Number implements [store.Outbox].
func (s *Store) Number(ctx context.Context, lock store.Lock, limit int) (position event.Position, numbered int, err error) {
	var h head
	var held bool
	var refused error
	err = s.alone(ctx, &work{
		lock: func(b *pgx.Batch) {
			// Shared: who wants to take the lock over waits for this commit.
			held = false
			b.Queue(s.schema.in(holdsLock), lock.Name, lock.Owner, lock.Fence).Query(func(rows pgx.Rows) error {
				_, err := pgx.ForEachRow(rows, []any{&held}, func() error { return nil })
				return err
			})
			h.lock(s.schema, b)
		},
		read: func(b *pgx.Batch) { h.look(s.schema, b, int64(limit)) },
		decide: func(t *tx) error {
			refused, numbered = nil, 0
			_, suspended, err := t.meta.suspended(s.cfg.Recorded)
			switch {
			case err != nil:
				return err
			case !held || lock.Owner == "":
				refused = store.ErrLost
			case suspended:
				refused = store.ErrSuspended
			default:
				numbered = int(h.number(t))
			}
			return nil
		},
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return event.Position{}, 0, fmt.Errorf("number events: %w", err)
	}
	return h.position, numbered, nil
}

// look reads what waits for numbers, at most limit, once the head is locked.
func (h *head) look(in schema, b *pgx.Batch, limit int64) {
	h.limit = max(0, limit)
	b.Queue(oldestXid).QueryRow(func(row pgx.Row) error { return row.Scan(&h.oldest) })
	// In a later snapshot than that of the oldest transaction: what had ended
	// there is visible here.
	b.Queue(in.in(waiting), h.limit).Query(func(rows pgx.Rows) (err error) {
		h.waiting, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r run, err error) {
			return r, row.Scan(&r.seq, &r.length)
		})
		return err
	})
}

// number gives the next numbers to what was looked at.
func (h *head) number(t *tx) (numbered int64) {
	first := h.position.Number + 1
	numbered, changed := h.assign(t.meta.xid)
	var firsts, seqs, lengths []int64
	for _, r := range h.waiting {
		firsts, seqs, lengths = append(firsts, first), append(seqs, r.seq), append(lengths, r.length)
		first += r.length
	}
	if numbered > 0 {
		t.queue(insertRuns, h.position.Epoch, firsts, seqs, lengths)
	}
	if numbered > 0 || changed {
		h.put(t)
	}
	return numbered
}

// assign moves the head over what was looked at, in the transaction xid.
func (h *head) assign(xid int64) (numbered int64, changed bool) {
	changed = h.date(xid)
	for _, r := range h.waiting {
		h.position.Number += r.length
		h.stored += r.length
		numbered += r.length
		h.take(r)
	}
	if numbered < h.limit { // nothing was left out: what is not there now, in a gap that nobody can fill, never comes
		before := len(h.gaps)
		h.gaps = slices.DeleteFunc(h.gaps, func(g gap) bool { return g.xid != 0 && g.xid <= h.oldest })
		changed = changed || len(h.gaps) < before
	}
	return numbered, changed
}

// date gives the gaps that an earlier numbering found the id of this
// transaction: every transaction that can fill them had its own before. So it
// does with those of a later date, which are of another cluster, whose dump was
// loaded into this one.
func (h *head) date(xid int64) (changed bool) {
	for i := range h.gaps {
		if h.gaps[i].xid == 0 || h.gaps[i].xid > xid {
			h.gaps[i].xid, changed = xid, true
		}
	}
	return changed
}

// take notes that the seqs of r have numbers now, and keeps as gaps those
// before it that have not.
func (h *head) take(r run) {
	last := r.seq + r.length - 1
	if r.seq > h.examined {
		if r.seq > h.examined+1 {
			h.gaps = append(h.gaps, gap{from: h.examined + 1, to: r.seq - 1})
		}
		h.examined = last
		return
	}
	i := slices.IndexFunc(h.gaps, func(g gap) bool { return g.from <= r.seq && last <= g.to })
	if i < 0 {
		return
	}
	g := h.gaps[i]
	var rest []gap
	if g.from < r.seq {
		rest = append(rest, gap{g.from, r.seq - 1, g.xid})
	}
	if last < g.to {
		rest = append(rest, gap{last + 1, g.to, g.xid})
	}
	h.gaps = slices.Replace(h.gaps, i, i+1, rest...)
}
