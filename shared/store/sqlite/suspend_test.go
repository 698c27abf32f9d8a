package sqlite

import (
	"errors"
	"testing"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// A7: a suspension holds for what shares its commit and comes behind it, such
// as a beginning that waited; so do its end and a new epoch. What is refused
// there leaves neither. And all of it holds where the batch is halved.
func TestASuspensionHoldsWithinABatch(t *testing.T) {
	t.Parallel()
	for _, largest := range []int{100, 3, 1} {
		s, err := Open(t.Context(), t.TempDir(), storetest.NewClock(), Config{})
		if err != nil {
			t.Fatal(err)
		}
		s.BreakCommits(func(units int) error {
			if units > largest {
				return errors.New("too many at once")
			}
			return nil
		}, nil)
		checkBatch(t, s)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func checkBatch(t *testing.T, s *Store) {
	t.Helper()
	var units []*unit
	var outcomes []func()
	add := func(want error, run func(*tx) (refused, failed error)) {
		var refused error
		u := &unit{run: func(t *tx) (failed error) {
			refused, failed = run(t)
			return failed
		}}
		units = append(units, u)
		n := len(units)
		outcomes = append(outcomes, func() {
			if got := errors.Join(u.err, refused); !errors.Is(got, want) {
				t.Errorf("unit %d: %v, want %v", n, got, want)
			}
		})
	}
	begin := func(id lease.ID, want error) {
		item := store.Transition{Change: lease.Change{ID: id, Do: lease.Begin{Lease: lease.Lease{Kind: lease.Secret}}}}
		add(want, func(t *tx) (error, error) {
			out, err := t.apply(&item)
			return out.Err, err
		})
	}
	resume := func(epoch int64, after event.Position, w store.Write, want error) {
		add(want, func(t *tx) (error, error) {
			return t.atomically(func() error { return t.resume(epoch, after, w) })
		})
	}
	suspend := func() {
		add(nil, func(t *tx) (error, error) { return nil, t.suspend(store.Suspension{}) })
	}
	at := func(epoch, number int64) event.Position { return event.Position{Epoch: epoch, Number: number} }
	begin("a/1", nil)
	begin("a/2", nil)
	suspend()
	begin("b/1", store.ErrSuspended)
	resume(2, at(1, 3), store.Write{}, store.ErrEpoch)
	resume(2, at(1, 1), store.Write{Withdrawals: []store.Ref{{Kind: store.KindRole, ID: "none"}}}, store.ErrNotFound)
	begin("b/1", store.ErrSuspended)
	resume(2, at(1, 1), store.Write{Events: []event.Event{{Subject: "resumed"}}}, nil)
	begin("a/3", nil)
	resume(3, at(1, 1), store.Write{}, store.ErrNotSuspended)
	suspend()
	resume(3, at(2, 2), store.Write{}, nil)
	if err := s.writer.do(t.Context(), units...); err != nil {
		t.Fatal(err)
	}
	for _, check := range outcomes {
		check()
	}
	all, err := s.Events(t.Context(), event.Position{}, 10)
	if err != nil || len(all) != 4 {
		t.Fatalf("%d events, %v; want 4", len(all), err)
	}
	for i, want := range []event.Position{at(1, 1), at(2, 1), at(2, 2), at(3, 1)} {
		if all[i].Position != want {
			t.Errorf("event %d is %s, want %s", i, all[i].Position, want)
		}
	}
	if head, err := s.Head(t.Context()); err != nil || head != at(3, 1) {
		t.Errorf("the head is %s, %v", head, err)
	}
	if stored, err := readEpochs(t.Context(), s.readers); err != nil || len(stored) != 3 || stored[1] != s.epochs[1] || stored[2] != s.epochs[2] {
		t.Errorf("stored are the epochs %v, held %v, %v", stored, s.epochs, err)
	}
}
