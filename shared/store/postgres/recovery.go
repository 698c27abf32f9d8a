package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	lockMeta         = `SELECT FROM {s}.meta FOR NO KEY UPDATE`
	selectSuspension = `SELECT ` + standing + ` FROM {s}.meta`
	updateCompared   = `UPDATE {s}.meta SET compared = pg_postmaster_start_time() WHERE pg_postmaster_start_time() = $1`
	updateSuspension = `UPDATE {s}.meta SET suspension = $1`
	countRecovery    = `UPDATE {s}.meta SET recoveries = recoveries + 1`

	// atLength is the time for what may have to go through all waiting events.
	atLength = 10 * time.Minute
)

// Suspension implements [store.Recovery].
func (s *Store) Suspension(ctx context.Context) (have store.Suspension, suspended bool, err error) {
	err = s.read(ctx, "read suspension", func(ctx context.Context, r reader) error {
		var m meta
		if err := r.row(ctx, s.schema.in(selectSuspension)).Scan(m.standing()...); err != nil {
			return err
		}
		have, suspended, err = m.suspended(s.cfg.Recorded)
		return err
	})
	return have, suspended, err
}

// Suspend implements [store.Recovery].
func (s *Store) Suspend(ctx context.Context, why store.Suspension) error {
	if err := s.alone(ctx, s.suspending(why)); err != nil {
		return fmt.Errorf("suspend store: %w", err)
	}
	return nil
}

// Compared implements [store.Recovery]. A server that was started again since
// has another time of its start.
func (s *Store) Compared(ctx context.Context, what store.Suspension) error {
	if what.Started.IsZero() {
		return nil
	}
	err := s.alone(ctx, &work{
		lock:   func(b *pgx.Batch) { b.Queue(s.schema.in(lockMeta)) },
		decide: func(t *tx) error { t.queue(updateCompared, what.Started); return nil },
	})
	if err != nil {
		return fmt.Errorf("say that store and record were compared: %w", err)
	}
	s.watch.Set() // what waits may be numbered now
	return nil
}

// suspending locks what numbers and what configures, in this order, numbers
// what waits, and says why.
func (s *Store) suspending(why store.Suspension) *work {
	var h head
	return &work{
		gate:   alone,
		within: atLength,
		lock: func(b *pgx.Batch) {
			h.lock(s.schema, b)
			b.Queue(s.schema.in(lockMeta))
		},
		read: func(b *pgx.Batch) { h.look(s.schema, b, never) },
		decide: func(t *tx) error {
			have, already, err := t.meta.suspended(false)
			switch {
			case err != nil:
				return err
			case already && (have.Lost || !why.Lost):
				return nil
			case already:
				have.Lost = true
			default:
				have = why
				have.Since, have.Started = t.now, time.Time{}
				h.number(t)
			}
			body, err := json.Marshal(have)
			if err != nil {
				return fmt.Errorf("encode suspension: %w", err)
			}
			t.queue(updateSuspension, string(body))
			return nil
		},
	}
}

// Resume implements [store.Recovery].
func (s *Store) Resume(ctx context.Context, epoch int64, after event.Position, w store.Write) error {
	var h head
	var have entries
	var refused error
	err := s.alone(ctx, &work{
		within: atLength,
		lock: func(b *pgx.Batch) {
			h.lock(s.schema, b)
			b.Queue(s.schema.in(lockMeta))
		},
		read: func(b *pgx.Batch) { have.read(s.schema, b, w) },
		decide: func(t *tx) (err error) {
			if refused = h.mayBegin(&t.meta, epoch, after); refused != nil {
				return nil //nolint:nilerr // a refusal is an answer
			}
			if _, refused = have.write(w, t.now); refused != nil {
				return nil //nolint:nilerr // a refusal is an answer
			}
			if epoch != 0 {
				if err := t.renumber(&h, epoch, after); err != nil {
					return err
				}
				t.queue(countRecovery)
			}
			have.queue(t)
			t.queue(updateSuspension, "")
			_, err = t.append(t.now, w.Events...)
			return err
		},
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return fmt.Errorf("resume store: %w", err)
	}
	s.watch.Set() // what was committed meanwhile may be numbered now
	return nil
}

// mayBegin reports why an epoch cannot begin after a position.
func (h *head) mayBegin(m *meta, epoch int64, after event.Position) error {
	switch {
	case m.suspension == "":
		return store.ErrNotSuspended
	case epoch != 0 && (epoch <= h.position.Epoch || h.position.Before(after)):
		return fmt.Errorf("%w: epoch %d after %s, the head is %s", store.ErrEpoch, epoch, after, h.position)
	}
	return nil
}

// alone commits a work of its own. ctx ends the wait for it, never a commit that
// was sent.
func (s *Store) alone(ctx context.Context, w *work) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.calls.Done()
	w.units = 1
	return s.commit(ctx, w)
}
