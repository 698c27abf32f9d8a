package sqlite_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/sqlite"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

func begin(id lease.ID) store.Transition {
	return store.Transition{Change: lease.Change{
		ID: id, Key: "key of " + string(id), By: lease.System("test"),
		Do: lease.Begin{Lease: lease.Lease{Kind: lease.Secret, MountID: "m", Target: "t", TokenID: "k", Account: "a " + string(id)}},
	}}
}

func fresh(t *testing.T) *sqlite.Store {
	t.Helper()
	return open(t, t.TempDir(), storetest.NewClock())
}

func exists(t *testing.T, s *sqlite.Store, id lease.ID) bool {
	t.Helper()
	_, err := s.Get(t.Context(), id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

// dense checks that what is stored is numbered 1 to n, without gaps.
func dense(t *testing.T, s *sqlite.Store, n int) {
	t.Helper()
	lock, ok, err := s.Acquire(t.Context(), "publisher", "test", 1<<40)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if _, _, err := s.Number(t.Context(), lock, 1<<30); err != nil {
		t.Fatal(err)
	}
	all, err := s.Events(t.Context(), event.Position{}, 1<<30)
	if err != nil || len(all) != n {
		t.Fatalf("%d events, %v; want %d", len(all), err, n)
	}
	for i, e := range all {
		if e.Position.Number != int64(i)+1 {
			t.Errorf("event %d has number %d", i, e.Position.Number)
		}
	}
}

// A6: a batch that fails as a whole is halved; what can be committed is, each
// exactly once.
func TestAFailedBatchIsHalved(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	broken := errors.New("too many at once")
	var sizes []int // commits are made one at a time
	s.BreakCommits(func(units int) error {
		if sizes = append(sizes, units); units > 2 {
			return broken
		}
		return nil
	}, nil)
	var items []store.Transition
	for i := range 16 {
		items = append(items, begin(lease.ID(fmt.Sprintf("a/%02d", i))))
	}
	for i, out := range s.Apply(t.Context(), items...) {
		if out.Err != nil || !exists(t, s, items[i].Change.ID) {
			t.Errorf("item %d: %v", i, out.Err)
		}
	}
	if sizes[0] != 16 || len(sizes) != 1+2+4+8 {
		t.Errorf("tried batches of %v", sizes)
	}
	dense(t, s, 16)
}

// panics is a change that panics when it is applied: a bug of ours.
type panics struct{ lease.Action }

// A6: an item that cannot be committed fails alone.
func TestABadItemFailsAlone(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	broken := errors.New("broken item")
	var items []store.Transition
	for i := range 9 {
		items = append(items, begin(lease.ID(fmt.Sprintf("a/%d", i))))
	}
	items[5].Change = lease.Change{ID: "a/0", Version: 1, Do: panics{}}
	for i, out := range s.Apply(t.Context(), items...) {
		if (out.Err != nil) != (i == 5) || i != 5 && !exists(t, s, items[i].Change.ID) {
			t.Errorf("item %d: %v", i, out.Err)
		}
	}
	s.BreakCommits(func(int) error { return broken }, nil)
	if out := s.Apply(t.Context(), begin("b/1")); !errors.Is(out[0].Err, broken) || errors.Is(out[0].Err, store.ErrUnknown) || exists(t, s, "b/1") {
		t.Errorf("a commit that never works: %v", out[0].Err)
	}
	s.BreakCommits(nil, nil)
	if out := s.Apply(t.Context(), begin("b/1")); out[0].Err != nil {
		t.Errorf("the next one: %v", out[0].Err)
	}
	dense(t, s, 8+1)
}

// A6: a commit whose answer was lost is read back before anything is answered:
// it counts as done, and is not made twice.
func TestALostAnswerIsReadBack(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	var lost atomic.Int32
	s.BreakCommits(nil, func(int) error {
		if lost.Add(1)%2 == 1 {
			return errors.New("answer lost")
		}
		return nil
	})
	hint, stop := s.Watch()
	defer stop()
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			out := s.Apply(t.Context(), begin(lease.ID(fmt.Sprintf("a/%d", i))))
			if out[0].Err != nil || out[0].Lease.Version != 1 {
				t.Errorf("item %d: %v", i, out[0].Err)
			}
		})
	}
	wg.Wait()
	if _, err := s.Write(t.Context(), store.Write{Puts: []store.Entry{{Kind: store.KindRole, Key: "r"}}}); err != nil {
		t.Error(err)
	}
	if lost.Load() < 2 {
		t.Error("no answer was lost")
	}
	select {
	case <-hint:
	default:
		t.Error("no hint of events whose answer was lost")
	}
	dense(t, s, 40)
}
