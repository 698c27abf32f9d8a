package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

// suspended decodes why the store is suspended; false where it is not.
func (m *meta) suspended() (s store.Suspension, suspended bool, err error) {
	if m.suspension == "" {
		return s, false, nil
	}
	if err := json.Unmarshal([]byte(m.suspension), &s); err != nil {
		return s, false, fmt.Errorf("decode suspension: %w", err)
	}
	return s, true, nil
}

// standing is the suspension: that which stands in the row, or that which lasts
// until the store was compared.
func (s *Store) standing(m *meta) (why store.Suspension, suspended bool, err error) {
	started := s.started.Load()
	if m.suspension != "" || started == nil {
		return m.suspended()
	}
	return store.Suspension{
		Reason: "the store was opened, and the auditor has not compared it with the record since",
		Since:  *started, Started: *started,
	}, true, nil
}

// Suspension implements [store.Recovery].
func (s *Store) Suspension(ctx context.Context) (have store.Suspension, suspended bool, err error) {
	err = s.read("read suspension", func(c reader) error {
		m, err := readMeta(c.queryRow(ctx, selectMeta))
		if err == nil {
			have, suspended, err = s.standing(&m)
		}
		return err
	})
	return have, suspended, err
}

// Suspend implements [store.Recovery].
func (s *Store) Suspend(ctx context.Context, why store.Suspension) error {
	if err := s.writer.one(ctx, func(t *tx) error { return t.suspend(why) }); err != nil {
		return fmt.Errorf("suspend store: %w", err)
	}
	return nil
}

// Compared implements [store.Recovery].
func (s *Store) Compared(_ context.Context, what store.Suspension) error {
	if started := s.started.Load(); started != nil && started.Equal(what.Started) {
		s.started.CompareAndSwap(started, nil)
		s.watch.Set() // what waits may be numbered now
	}
	return nil
}

func (t *tx) suspend(s store.Suspension) error {
	have, already, err := t.meta.suspended()
	switch {
	case err != nil:
		return err
	case already && (have.Lost || !s.Lost):
		return nil
	case already:
		s.Reason, s.Since = have.Reason, have.Since
	default:
		s.Since, s.Started, t.meta.head = t.now, time.Time{}, t.meta.seq
	}
	body, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode suspension: %w", err)
	}
	t.meta.suspension, t.changed = string(body), true
	return nil
}

// Resume implements [store.Recovery].
func (s *Store) Resume(ctx context.Context, epoch int64, after event.Position, w store.Write) error {
	var refused error
	err := s.writer.one(ctx, func(t *tx) (failed error) {
		refused, failed = t.atomically(func() error { return t.resume(epoch, after, w) })
		return failed
	})
	if err = errors.Join(err, refused); err != nil {
		return fmt.Errorf("resume store: %w", err)
	}
	return nil
}

func (t *tx) resume(epoch int64, after event.Position, w store.Write) error {
	if t.meta.suspension == "" {
		return refusal{store.ErrNotSuspended}
	}
	if epoch != 0 {
		if err := t.begin(epoch, after); err != nil {
			return err
		}
	}
	t.meta.suspension, t.changed = "", true
	_, err := t.write(w)
	return err
}

// begin makes an epoch of the events after a position. Renumbering is one new
// base, since a number is a place counted from it.
func (t *tx) begin(number int64, after event.Position) error {
	head := t.epochs.head(t.meta.head)
	if number <= head.Epoch || head.Before(after) {
		return refusal{fmt.Errorf("%w: epoch %d after %s, the head is %s", store.ErrEpoch, number, after, head)}
	}
	base := max(t.epochs.seq(after), t.meta.first-1) // what was trimmed keeps its number
	if _, err := t.exec(`UPDATE epochs SET base = ?1 WHERE base > ?1`, base); err != nil {
		return err
	}
	if _, err := t.exec(`INSERT INTO epochs (epoch, base) VALUES (?, ?)`, number, base); err != nil {
		return err
	}
	t.epochs = t.epochs.begun(number, base)
	return nil
}
