package recovery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// unheard is the reason of an intent that is kept.
const unheard = "the store had lost commits, which may have confirmed it"

// readers is how many leases are read at once: after hours away many are due.
const readers = 8

// keep has no intent of the store rolled back before its credential would have
// ended: the commit that confirmed it may be among what nothing has, and a
// client may hold the credential. It stays an intent, which nobody saw
// confirmed; who wants it gone revokes it, and the roll-back proves its absence
// at last (B1). Meanwhile the target ends its logins on time (B8).
func (r *Recovery) keep(ctx context.Context, now time.Time) error {
	var cursor store.Cursor
	for {
		var due []store.Due
		err := r.within(ctx, func(ctx context.Context) (err error) {
			// A store gives an intent no more than the grace.
			due, err = r.store.Due(ctx, now.Add(grace), cursor, r.cfg.Batch)
			return err
		})
		if err != nil {
			return fmt.Errorf("read what is due: %w", err)
		}
		rows, err := r.rows(ctx, secrets(due))
		if err != nil {
			return err
		}
		if err := r.keepAll(ctx, rows); err != nil {
			return err
		}
		if len(due) < r.cfg.Batch {
			return nil
		}
		last := due[len(due)-1]
		cursor = store.Cursor{At: last.At, ID: last.ID}
	}
}

func secrets(due []store.Due) (ids []lease.ID) {
	for _, d := range due {
		if d.Kind == lease.Secret {
			ids = append(ids, d.ID)
		}
	}
	return ids
}

// rows are leases as the store has them; the zero Lease for what it has not.
func (r *Recovery) rows(ctx context.Context, ids []lease.ID) ([]lease.Lease, error) {
	rows, errs := make([]lease.Lease, len(ids)), make([]error, len(ids))
	var reading sync.WaitGroup
	for first := range min(readers, len(ids)) {
		reading.Go(func() {
			for i := first; i < len(ids) && errs[first] == nil; i += readers {
				rows[i], errs[first] = r.row(ctx, ids[i])
			}
		})
	}
	reading.Wait()
	return rows, errors.Join(errs...)
}

// keepAll commits what the intents among the rows need.
func (r *Recovery) keepAll(ctx context.Context, rows []lease.Lease) (err error) {
	var items []store.Transition
	for i := range rows {
		row := &rows[i]
		known := *row
		if known.ConfirmBy = kept(row); row.State == lease.Intent && known.ConfirmBy.After(row.ConfirmBy) {
			items = append(items, transition(known, row.Version, none, unheard))
		}
	}
	if len(items) == 0 {
		return nil
	}
	var outcomes []store.Outcome
	err = r.within(ctx, func(ctx context.Context) error {
		outcomes = r.store.Apply(ctx, items...)
		return nil
	})
	for i := range outcomes {
		// One of another version was confirmed or revoked since.
		if o := &outcomes[i]; o.Err != nil && !errors.Is(o.Err, lease.ErrVersion) {
			err = errors.Join(err, fmt.Errorf("keep %s: %w", items[i].Change.ID, o.Err))
		}
	}
	return err
}

// kept is when an intent is to be rolled back.
func kept(row *lease.Lease) time.Time { return latest(row.ConfirmBy, ends(row)) }

// ends is when the credential of an intent has ended in any case: its first term,
// however late it was confirmed. The zero time where that is not known.
func ends(l *lease.Lease) time.Time {
	if l.Kind != lease.Secret || l.TTL <= 0 || l.IssuedAt.IsZero() {
		return time.Time{}
	}
	return l.IssuedAt.Add(l.TTL).Add(grace)
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
