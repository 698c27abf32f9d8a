package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Apply implements [store.Leases].
func (s *Store) Apply(ctx context.Context, items ...store.Transition) []store.Outcome {
	out := make([]store.Outcome, 0, len(items))
	for chunk := range slices.Chunk(items, unitsPerCall) {
		out = append(out, s.applyChunk(ctx, chunk)...)
	}
	return out
}

func (s *Store) applyChunk(ctx context.Context, items []store.Transition) []store.Outcome {
	out := make([]store.Outcome, len(items))
	units := make([]*unit, len(items))
	for i := range items {
		units[i] = &unit{run: func(t *tx) (err error) {
			out[i], err = t.apply(&items[i])
			return err
		}}
	}
	if err := s.writer.do(ctx, units...); err != nil {
		for i := range out {
			out[i] = store.Outcome{Err: fmt.Errorf("apply change: %w", err)}
		}
		return out
	}
	for i, u := range units {
		if u.err != nil {
			out[i] = store.Outcome{Err: fmt.Errorf("apply change: %w", u.err)}
		}
	}
	return out
}

// apply decides on the row as this transaction sees it, earlier items of the
// batch included, and writes the row with its events.
func (t *tx) apply(item *store.Transition) (store.Outcome, error) {
	row, err := t.lease(item.Change.ID)
	if err != nil {
		return store.Outcome{}, err
	}
	why, suspended, err := t.w.store.standing(&t.meta)
	if err != nil {
		return store.Outcome{}, err
	}
	d, err := item.Decide(row, t.now, suspended && why.Refuses(item, t.now), store.Checks{
		Withdrawn: func() (string, error) { return t.withdrawn(item, &row) },
		Full:      func() (string, error) { return t.full(item.Change.ID) },
	})
	if err != nil {
		return store.Outcome{}, err
	}
	if d.Err != nil {
		return d.Outcome(), nil //nolint:nilerr // a refusal is an answer, no failure of the batch
	}
	if d.Before.State == "" {
		t.meta.position++
		d.After.Position = t.meta.position
	}
	if err := t.append(d.Event(t.now)); err != nil {
		return store.Outcome{}, err
	}
	seq := t.meta.seq
	if err := t.append(item.Also...); err != nil {
		return store.Outcome{}, err
	}
	t.tally.Add(&d.Before, &d.After)
	return d.Outcome(), t.put(&d.After, seq)
}

// lease reads a row; the zero Lease where there is none.
func (t *tx) lease(id lease.ID) (l lease.Lease, err error) {
	var body string
	found, err := t.one(selectLease, []any{string(id)}, &body)
	if err != nil || !found {
		return l, err
	}
	return decodeLease(body)
}

const putLease = `INSERT INTO leases
	(id, kind, state, version, position, mount_id, target, token_id, account, due_at, ended_at, ended, event_seq, body, access_due, parked)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
	ON CONFLICT (id) DO UPDATE SET
	state = excluded.state, version = excluded.version, due_at = excluded.due_at, ended_at = excluded.ended_at,
	ended = excluded.ended, event_seq = excluded.event_seq, body = excluded.body,
	access_due = excluded.access_due, parked = excluded.parked`

// put writes a row whose last event is seq.
func (t *tx) put(l *lease.Lease, seq int64) error {
	body, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode lease: %w", err)
	}
	ended := 0
	if l.State.Final() {
		ended = 1
	}
	var accessDue, parked any // of what is in revocation
	if l.State == lease.Revoking {
		accessDue, parked = nullNanos(l.Revocation.DueAt), l.Revocation.Parked
	}
	_, err = t.exec(putLease, string(l.ID), string(l.Kind), string(l.State), l.Version, l.Position,
		nullText(l.MountID), nullText(l.Target), nullText(string(l.TokenID)), nullText(l.Account),
		nullNanos(l.DueAt()), nullNanos(l.Revocation.EndedAt), ended, seq, string(body), accessDue, parked)
	return err
}

func nullText(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func decodeLease(body string) (l lease.Lease, err error) {
	if err := json.Unmarshal([]byte(body), &l); err != nil {
		return l, fmt.Errorf("decode lease: %w", err)
	}
	return l, nil
}
