package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// unit is a piece of work that is done whole or not at all, independent of the
// others in its batch: a transition, or events of an Append.
type unit struct {
	item   *store.Transition
	events []event.Event
	out    store.Outcome
	err    error // why it could not be committed
}

const (
	// unitsPerCall keeps a caller with very many items from holding up others.
	unitsPerCall = 256
	// unitsPerCommit bounds how long rows stay locked.
	unitsPerCommit = 512
)

// Apply implements [store.Leases].
func (s *Store) Apply(ctx context.Context, items ...store.Transition) []store.Outcome {
	out := make([]store.Outcome, 0, len(items))
	for chunk := range slices.Chunk(items, unitsPerCall) {
		units := make([]*unit, len(chunk))
		for i := range chunk {
			units[i] = &unit{item: &chunk[i]}
		}
		err := s.gather(ctx, units)
		for _, u := range units {
			if err == nil && u.err == nil {
				out = append(out, u.out)
				continue
			}
			failed := u.err
			if err != nil {
				failed = err
			}
			out = append(out, store.Outcome{Err: fmt.Errorf("apply change: %w", failed)})
		}
	}
	return out
}

// Append implements [store.Outbox].
func (s *Store) Append(ctx context.Context, events ...event.Event) error {
	u := &unit{events: events}
	err := s.gather(ctx, []*unit{u})
	if err == nil {
		err = u.err
	}
	if err != nil {
		return fmt.Errorf("append events: %w", err)
	}
	return nil
}

// gather waits for a place in a batch, and for its commit. An error means that
// nothing was started; else each unit says what became of it.
func (s *Store) gather(ctx context.Context, units []*unit) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.calls.Done()
	lane := s.lanes[s.turn.Add(1)%uint64(len(s.lanes))]
	if _, err := lane.Do(ctx, units); err != nil {
		return fmt.Errorf("wait for the commit: %w", err)
	}
	return nil
}

// batch commits what a lane gathered. No caller's context reaches it: a commit
// that has begun is finished.
func (s *Store) batch(calls [][]*unit) []struct{} {
	for units := range slices.Chunk(slices.Concat(calls...), unitsPerCommit) {
		for len(units) > 0 {
			n := sharing(units)
			s.commitUnits(units[:n])
			units = units[n:]
		}
	}
	return make([]struct{}, len(calls))
}

// sharing is how many units may share a transaction: an activation never does
// with the beginning of its lease. Both checks of a guard would be one, and a
// withdrawal that commits between it and the commit would be seen by neither,
// nor would its listing see the lease (A3).
func sharing(units []*unit) int {
	begun := map[lease.ID]bool{}
	for i, u := range units {
		if u.item == nil {
			continue
		}
		c := &u.item.Change
		switch c.Do.(type) {
		case lease.Begin:
			begun[c.ID] = true
		case lease.Activate:
			if begun[c.ID] {
				return i
			}
		}
	}
	return len(units)
}

// commitUnits commits units together. If that fails for a reason that may lie
// in one of them, halves are tried, so that it fails alone (A6).
func (s *Store) commitUnits(units []*unit) {
	err := s.commit(context.Background(), (&transitions{s: s, units: units}).work())
	if err != nil && len(units) > 1 && fateOf(err) == narrow {
		s.commitUnits(units[:len(units)/2])
		s.commitUnits(units[len(units)/2:])
		return
	}
	for _, u := range units {
		u.err = err
	}
}

// transitions is one group commit under way.
type transitions struct {
	s     *Store
	units []*unit
	rows  map[lease.ID]*row
	guard guard
	quota quotas
}

// row is a lease as this transaction sees it, its own changes included.
type row struct {
	lease.Lease
	stored  bool // it was there before
	changed bool
	event   int // the last of its own, as counted in this transaction
	begun   int // place among the beginnings of this transaction, from 1
}

const (
	// lockLeases locks in the order of ids, in this and every other process.
	lockLeases = `SELECT position, body FROM {s}.leases WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE`

	// writeLeases writes the events with the rows that they are of: places are
	// drawn here, after all that was read, and no more than are used. Rows are
	// inserted in the order of ids, as they are locked.
	writeLeases = `WITH places AS MATERIALIZED (
			SELECT (SELECT array_agg(nextval('{s}.event_seqs')) FROM generate_series(1, cardinality($1::text[]))) AS events,
				(SELECT array_agg(nextval('{s}.positions')) FROM generate_series(1, $2::int)) AS beginnings
		), appended AS (
			INSERT INTO {s}.events (seq, body)
			SELECT events[n], body FROM places, unnest($1::text[]) WITH ORDINALITY AS e (body, n)
		), updated AS (
			UPDATE {s}.leases l SET state = u.state, version = u.version, due_at = nullif(u.due_at, 0),
				ended_at = nullif(u.ended_at, 0), ended = u.ended, event_seq = events[u.event], body = u.body,
				access_due = nullif(u.access_due, 0), parked = CASE WHEN u.state = 'revoking' THEN u.parked END
			FROM places, unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::boolean[], $9::int[], $10::text[],
				$11::bigint[], $12::boolean[])
				AS u (id, state, version, due_at, ended_at, ended, event, body, access_due, parked)
			WHERE l.id = u.id
		)
		INSERT INTO {s}.leases (id, state, version, due_at, ended_at, ended, event_seq, body, access_due, parked,
			kind, mount_id, target, token_id, account, position)
		SELECT id, state, version, nullif(due_at, 0), nullif(ended_at, 0), ended, events[event], body,
			nullif(access_due, 0), CASE WHEN state = 'revoking' THEN parked END, kind, nullif(mount_id, ''), nullif(target, ''), nullif(token_id, ''), nullif(account, ''), beginnings[begun]
		FROM places, unnest($13::text[], $14::text[], $15::bigint[], $16::bigint[], $17::bigint[], $18::boolean[], $19::int[], $20::text[],
			$21::bigint[], $22::boolean[], $23::text[], $24::text[], $25::text[], $26::text[], $27::text[], $28::int[])
			AS u (id, state, version, due_at, ended_at, ended, event, body, access_due, parked, kind, mount_id, target, token_id, account, begun)
		ORDER BY id COLLATE "C" RETURNING id, position`
)

func (c *transitions) work() *work {
	ids, pass := map[string]bool{}, anybody
	for _, u := range c.units {
		if u.item != nil {
			ids[string(u.item.Change.ID)] = true
			if u.item.Suspended() {
				pass = together
			}
		}
	}
	w := &work{gate: pass, units: len(c.units), decide: c.decide}
	if len(ids) == 0 {
		return w
	}
	sorted := sortedKeys(ids)
	c.quota.begins(c.units)
	w.lock = func(b *pgx.Batch) {
		c.quota.lock(c.s.schema, b)
		c.rows = map[lease.ID]*row{}
		b.Queue(c.s.schema.in(lockLeases), sorted).Query(func(rows pgx.Rows) error {
			all, err := pgx.CollectRows(rows, scanLease)
			for _, l := range all {
				c.rows[l.ID] = &row{Lease: l, stored: true}
			}
			return err
		})
	}
	w.read = func(b *pgx.Batch) {
		c.guard.read(c.s.schema, b, c.units)
		c.quota.read(c.s.schema, b)
	}
	return w
}

func scanLease(row pgx.CollectableRow) (l lease.Lease, err error) {
	var position int64
	var body string
	if err := row.Scan(&position, &body); err != nil {
		return l, err
	}
	return decodeLease(position, body)
}

func decodeLease(position int64, body string) (l lease.Lease, err error) {
	l, err = store.DecodeLease(body)
	l.Position = position
	return l, err
}

// decide applies the units in order to the rows that were locked.
func (c *transitions) decide(t *tx) error {
	why, suspended, err := t.meta.suspended(t.s.cfg.Recorded)
	if err != nil {
		return err
	}
	beginnings := 0
	for _, u := range c.units {
		if u.item == nil {
			if _, err := t.append(t.now, u.events...); err != nil {
				return err
			}
			continue
		}
		r := c.rows[u.item.Change.ID]
		if r == nil {
			r = &row{}
			c.rows[u.item.Change.ID] = r
		}
		now := notBefore(t.now, &r.Lease)
		d, err := u.item.Decide(r.Lease, now, suspended && why.Refuses(u.item, t.now), store.Checks{
			Withdrawn: func() (string, error) { return c.guard.withdrawn(u.item, &r.Lease, c.rows, now), nil },
			Full:      func() (string, error) { return c.quota.tally.Full(c.quota.all, u.item.Change.ID), nil },
		})
		if err != nil {
			return err
		}
		if u.out = d.Outcome(); d.Err != nil {
			continue
		}
		if d.Before.State == "" {
			beginnings++
			r.begun = beginnings
		}
		r.Lease, r.changed = d.After, true
		c.quota.tally.Add(&d.Before, &d.After)
		if r.event, err = t.append(now, d.Event(now)); err != nil {
			return err
		}
		if _, err := t.append(now, u.item.Also...); err != nil {
			return err
		}
	}
	if err := c.queue(t, beginnings); err != nil {
		return err
	}
	c.quota.count(t)
	return nil
}

// columns are the rows of one statement, in the order of ids.
type columns struct {
	ids, states, bodies []string
	versions, due, end  []int64
	accessDue           []int64
	ended, parked       []bool
	events              []int32
	// Of new rows only.
	kinds, mounts, targets, tokens, accounts []string
	begun                                    []int32
}

func (c *columns) add(r *row) error {
	l := r.Lease
	l.Position = 0 // has a column of its own, which is filled by the statement
	body, err := json.Marshal(&l)
	if err != nil {
		return fmt.Errorf("encode lease: %w", err)
	}
	c.ids, c.states, c.bodies = append(c.ids, string(l.ID)), append(c.states, string(l.State)), append(c.bodies, string(body))
	c.versions, c.events = append(c.versions, l.Version), append(c.events, int32(r.event)) //nolint:gosec // bounded by the batch
	c.due, c.end = append(c.due, nanos(l.DueAt())), append(c.end, nanos(l.Revocation.EndedAt))
	c.ended = append(c.ended, l.State.Final())
	var accessDue time.Time // of what is in revocation
	if l.State == lease.Revoking {
		accessDue = l.Revocation.DueAt
	}
	c.accessDue, c.parked = append(c.accessDue, nanos(accessDue)), append(c.parked, l.Revocation.Parked)
	if r.stored {
		return nil
	}
	c.kinds, c.mounts, c.targets = append(c.kinds, string(l.Kind)), append(c.mounts, l.MountID), append(c.targets, l.Target)
	c.tokens, c.accounts = append(c.tokens, string(l.TokenID)), append(c.accounts, l.Account)
	c.begun = append(c.begun, int32(r.begun)) //nolint:gosec // bounded by the batch
	return nil
}

// queue writes the rows that changed, each once, as it is now.
func (c *transitions) queue(t *tx, beginnings int) error {
	var old, made columns
	for _, id := range sortedKeys(c.rows) {
		r := c.rows[id]
		if !r.changed {
			continue
		}
		into := &old
		if !r.stored {
			into = &made
		}
		if err := into.add(r); err != nil {
			return err
		}
	}
	if len(made.ids)+len(old.ids) > 0 {
		t.queue(writeLeases, append(append([]any{t.takeEvents(), beginnings}, old.values()...), append(made.values(),
			made.kinds, made.mounts, made.targets, made.tokens, made.accounts, made.begun)...)...).Query(c.place)
	}
	return nil
}

// values are what all rows have.
func (c *columns) values() []any {
	return []any{c.ids, c.states, c.versions, c.due, c.end, c.ended, c.events, c.bodies, c.accessDue, c.parked}
}

// place puts the places that the beginnings were given into what is answered.
func (c *transitions) place(rows pgx.Rows) error {
	positions := map[lease.ID]int64{}
	var id lease.ID
	var position int64
	if _, err := pgx.ForEachRow(rows, []any{&id, &position}, func() error {
		positions[id] = position
		return nil
	}); err != nil {
		return err
	}
	for _, u := range c.units {
		if u.item == nil {
			continue
		}
		if position, ok := positions[u.item.Change.ID]; ok && u.out.Lease.State != "" {
			u.out.Lease.Position = position
		}
	}
	return nil
}
