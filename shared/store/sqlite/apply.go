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
	place, row, err := t.lease(item.Change.ID)
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
	return d.Outcome(), t.put(place, &d, seq)
}

// lease reads a row and its place in the table; the zero Lease where there is
// none.
func (t *tx) lease(id lease.ID) (place int64, l lease.Lease, err error) {
	k, here := t.written[id]
	if !here {
		k = t.w.recent.rows[id]
	}
	if k.place != 0 {
		return k.place, detached(k.lease), nil
	}
	var body string
	found, err := t.one(selectRow, []any{string(id)}, &place, &body)
	if err != nil || !found {
		return 0, l, err
	}
	l, err = store.DecodeLease(body)
	return place, l, err
}

// SQLite writes each index anew that has a column which a statement sets, whether
// its value is another one or not: what seldom changes is set only where it does.
const (
	selectRow = `SELECT rowid, body FROM leases WHERE id = ?`
	addLease  = `INSERT INTO leases
		(state, version, due_at, event_seq, body, access_due, parked, ended, ended_at, id, kind, position, mount_id, target, token_id, account)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	setLease = `UPDATE leases SET state = ?, version = ?, due_at = ?, event_seq = ?, body = ?, access_due = ?, parked = ? WHERE rowid = ?`
	endLease = `UPDATE leases SET state = ?, version = ?, due_at = ?, event_seq = ?, body = ?, access_due = ?, parked = ?,
		ended = ?, ended_at = ? WHERE rowid = ?`
)

// put writes what was decided of the row at place, whose last event is seq; place
// is 0 where there is none yet.
func (t *tx) put(place int64, d *store.Decision, seq int64) error {
	l := &d.After
	body, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode lease: %w", err)
	}
	var accessDue, parked any // of what is in revocation
	if l.State == lease.Revoking {
		accessDue, parked = nullNanos(l.Revocation.DueAt), l.Revocation.Parked
	}
	args := append(make([]any, 0, 16), string(l.State), l.Version, nullNanos(l.DueAt()), seq, string(body), accessDue, parked)
	ended, before := endOf(l), endOf(&d.Before)
	switch {
	case place == 0:
		place, err = t.insertRow(addLease, append(args, ended.is, ended.at, string(l.ID), string(l.Kind), l.Position,
			nullText(l.MountID), nullText(l.Target), nullText(string(l.TokenID)), nullText(l.Account))...)
	case ended == before:
		_, err = t.exec(setLease, append(args, place)...)
	default:
		_, err = t.exec(endLease, append(args, ended.is, ended.at, place)...)
	}
	if err != nil {
		return err
	}
	if t.written == nil {
		t.written = map[lease.ID]kept{}
	}
	t.written[l.ID] = kept{}
	if passing(l.State) {
		t.written[l.ID] = kept{place: place, lease: detached(*l)}
	}
	return nil
}

// end is what a row says of the end of its lease.
type end struct {
	is bool
	at any // nanoseconds, or nil
}

func endOf(l *lease.Lease) end { return end{is: l.State.Final(), at: nullNanos(l.Revocation.EndedAt)} }

func nullText(s string) any {
	if s == "" {
		return nil
	}
	return s
}
