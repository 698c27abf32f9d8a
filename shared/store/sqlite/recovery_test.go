package sqlite_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/sqlite"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

func appendEvents(t *testing.T, s *sqlite.Store, n int) {
	t.Helper()
	for range n {
		if err := s.Append(t.Context(), event.Event{Type: event.RequestServed}); err != nil {
			t.Fatal(err)
		}
	}
}

func suspended(t *testing.T, s *sqlite.Store) (store.Suspension, bool) {
	t.Helper()
	have, suspended, err := s.Suspension(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return have, suspended
}

// positions checks the head and the positions of all events.
func positions(t *testing.T, s *sqlite.Store, head string, want ...string) {
	t.Helper()
	if now, err := s.Head(t.Context()); err != nil || now.String() != head {
		t.Errorf("the head is %s, %v; want %s", now, err, head)
	}
	all, err := s.Events(t.Context(), event.Position{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for _, e := range all {
		got = append(got, e.Position.String())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the events are %v, want %v", got, want)
	}
}

// A7: a suspension and the epochs survive a restart; so does the end of it.
func TestRecoveryOverARestart(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), storetest.NewClock()
	s := open(t, dir, c)
	again := func() {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, c)
	}
	appendEvents(t, s, 4)
	if err := s.Suspend(t.Context(), store.Suspension{Reason: "older copy", Lost: true}); err != nil {
		t.Fatal(err)
	}
	again()
	if have, ok := suspended(t, s); !ok || have.Reason != "older copy" || !have.Lost || !have.Since.Equal(c.Now()) {
		t.Errorf("after a restart the suspension is %+v, %v", have, ok)
	}
	if out := s.Apply(t.Context(), begin("a/1")); !errors.Is(out[0].Err, store.ErrSuspended) {
		t.Errorf("a beginning after a restart: %v, want ErrSuspended", out[0].Err)
	}
	positions(t, s, "1-4", "1-1", "1-2", "1-3", "1-4")
	if err := s.Resume(t.Context(), 3, event.Position{Epoch: 1, Number: 2}, store.Write{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		positions(t, s, "3-2", "1-1", "1-2", "3-1", "3-2")
		again()
	}
	if have, ok := suspended(t, s); ok {
		t.Errorf("it is suspended again: %+v", have)
	}
	if out := s.Apply(t.Context(), begin("a/1")); out[0].Err != nil {
		t.Error(out[0].Err)
	}
	if err := s.Resume(t.Context(), 4, event.Position{}, store.Write{}); !errors.Is(err, store.ErrNotSuspended) {
		t.Errorf("Resume: %v, want ErrNotSuspended", err)
	}
	if err := s.Suspend(t.Context(), store.Suspension{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Resume(t.Context(), 4, event.Position{Epoch: 1, Number: 1}, store.Write{}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // epoch 3 has none left
		positions(t, s, "4-4", "1-1", "4-1", "4-2", "4-3", "4-4")
		again()
	}
}

// A6, A7: a lost answer of Suspend or Resume is read back: it counts as done,
// and the epochs are those of the commit. One that was not made changes nothing.
func TestRecoveryReadsALostAnswerBack(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	appendEvents(t, s, 3)
	broken := errors.New("broken")
	no, lost := func(int) error { return broken }, func(int) error { return broken }
	suspend := func() error { return s.Suspend(t.Context(), store.Suspension{Reason: "r"}) }
	resume := func() error {
		return s.Resume(t.Context(), 2, event.Position{Epoch: 1, Number: 1}, store.Write{Events: []event.Event{{Type: event.StoreResumed}}})
	}
	s.BreakCommits(no, nil)
	if err := suspend(); !errors.Is(err, broken) || errors.Is(err, store.ErrUnknown) {
		t.Errorf("Suspend that was not committed: %v", err)
	}
	if have, ok := suspended(t, s); ok {
		t.Errorf("it was not committed, and it is %+v", have)
	}
	positions(t, s, "1-0")
	s.BreakCommits(nil, lost)
	if err := suspend(); err != nil {
		t.Errorf("Suspend with a lost answer: %v", err)
	}
	positions(t, s, "1-3", "1-1", "1-2", "1-3")
	s.BreakCommits(no, nil)
	if err := resume(); !errors.Is(err, broken) || errors.Is(err, store.ErrUnknown) {
		t.Errorf("Resume that was not committed: %v", err)
	}
	if _, ok := suspended(t, s); !ok {
		t.Error("Resume was not committed, and the suspension is over")
	}
	positions(t, s, "1-3", "1-1", "1-2", "1-3")
	s.BreakCommits(nil, lost)
	if err := resume(); err != nil {
		t.Errorf("Resume with a lost answer: %v", err)
	}
	if _, ok := suspended(t, s); ok {
		t.Error("it is suspended")
	}
	positions(t, s, "2-2", "1-1", "2-1", "2-2")
	s.BreakCommits(nil, nil)
	if n, err := s.Backlog(t.Context()); err != nil || n != 4 {
		t.Errorf("%d events, %v; want 4: one of the resumption", n, err)
	}
}

// A7: who reads while an epoch begins sees the positions from before or from
// after, never a mixture.
func TestAnEpochBeginsForAllReadersAtOnce(t *testing.T) {
	t.Parallel()
	const events = 40
	s := fresh(t)
	appendEvents(t, s, events)
	if err := s.Suspend(t.Context(), store.Suspension{}); err != nil {
		t.Fatal(err)
	}
	// Each epoch takes one event more than the one before, all of whose it has.
	ends := func(p event.Position) bool {
		return p == event.Position{Epoch: 1, Number: events} || p.Epoch == p.Number+1
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for least := int64(1); ; {
				select {
				case <-done:
					return
				default:
				}
				head, err := s.Head(t.Context())
				if err != nil || head.Epoch < least || !ends(head) {
					t.Errorf("the head is %s, %v, after one of epoch %d", head, err, least)
					return
				}
				all, err := s.Events(t.Context(), event.Position{}, events)
				if err != nil || len(all) != events {
					t.Errorf("%d events, %v", len(all), err)
					return
				}
				last := all[events-1].Position
				if last.Epoch < head.Epoch || !ends(last) {
					t.Errorf("the last is %s, the head was %s", last, head)
				}
				for i, e := range all {
					if e.Position != (event.Position{Epoch: 1, Number: int64(i) + 1}) && e.Position.Epoch != last.Epoch {
						t.Errorf("%s is numbered together with %s", e.Position, last)
					}
				}
				least = last.Epoch
			}
		})
	}
	for epoch := int64(2); epoch <= events; epoch++ {
		after := event.Position{Epoch: 1, Number: events + 1 - epoch}
		err := s.Resume(t.Context(), epoch, after, store.Write{})
		if err = errors.Join(err, s.Suspend(t.Context(), store.Suspension{})); err != nil {
			t.Error(err)
			break
		}
	}
	close(done)
	wg.Wait()
}
