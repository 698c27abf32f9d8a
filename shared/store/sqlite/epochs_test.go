package sqlite

import (
	"errors"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// Laws: position and seq are inverse; positions go up with events; a place
// behind the end of an epoch is that end; what begins an epoch moves nothing
// that stays before it.
func TestAnyEpochs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all, head := epochs{{1, 0}}, int64(0)
		for range rapid.IntRange(0, 6).Draw(t, "epochs") {
			head += rapid.Int64Range(0, 5).Draw(t, "events")
			base := rapid.Int64Range(0, head).Draw(t, "base")
			before := all
			all = all.begun(all[len(all)-1].number+rapid.Int64Range(1, 3).Draw(t, "skipped"), base)
			for seq := int64(1); seq <= base; seq++ {
				if before.position(seq) != all.position(seq) {
					t.Fatalf("event %d was %s, is %s", seq, before.position(seq), all.position(seq))
				}
			}
		}
		last := event.Position{}
		for seq := int64(1); seq <= head; seq++ {
			p := all.position(seq)
			if !last.Before(p) || all.seq(p) != seq || p.Number < 1 {
				t.Fatalf("event %d is %s behind %s, which is event %d", seq, p, last, all.seq(p))
			}
			last = p
		}
		if p := all.head(head); all.seq(p) != head || p.Before(last) {
			t.Fatalf("the head %d is %s, the last event %s", head, p, last)
		}
		p := event.Position{Epoch: rapid.Int64Range(0, 20).Draw(t, "epoch"), Number: rapid.Int64Range(0, 50).Draw(t, "number")}
		for seq := int64(1); seq <= head; seq++ { // what comes after p is what has a later position
			if after := p.Before(all.position(seq)); after != (seq > all.seq(p)) {
				t.Fatalf("%s is event %d; event %d is %s", p, all.seq(p), seq, all.position(seq))
			}
		}
	})
}

// A7: an epoch does not begin between the two looks of a reader, at the epochs
// and at the events, nor does one look between its commit and its being known.
// No other commit holds readers up.
func TestAnEpochWaitsForReaders(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), t.TempDir(), storetest.NewClock(), Config{Readers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var readable []bool
	s.BreakCommits(nil, func(int) error {
		free := s.epochsMu.TryRLock()
		if free {
			s.epochsMu.RUnlock()
		}
		readable = append(readable, free)
		return nil
	})
	only, err := s.readers.Conn(t.Context()) // the reader has to wait for it
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan event.Position, 1)
	go func() {
		head, err := s.Head(t.Context())
		if err != nil {
			t.Error(err)
		}
		read <- head
	}()
	for s.readers.Stats().WaitCount == 0 {
		runtime.Gosched()
	}
	if s.epochsMu.TryLock() {
		s.epochsMu.Unlock()
		t.Error("an epoch may begin while a reader is between its two looks")
	}
	begun := make(chan error, 1)
	go func() {
		begun <- errors.Join(
			s.Append(t.Context(), event.Event{}, event.Event{}),
			s.Suspend(t.Context(), store.Suspension{}),
			s.Resume(t.Context(), 2, event.Position{Epoch: 1, Number: 1}, store.Write{}),
		)
	}()
	if err := only.Close(); err != nil {
		t.Fatal(err)
	}
	if head := <-read; head.Epoch != 1 || head.Number != 0 && head.Number != 2 {
		t.Errorf("the head is %s, want that before the suspension or before the epoch", head)
	}
	if err := <-begun; err != nil {
		t.Fatal(err)
	}
	if want := []bool{true, true, false}; !slices.Equal(readable, want) {
		t.Errorf("numbers could be read while the commits were made: %v, want %v", readable, want)
	}
	if head, err := s.Head(t.Context()); err != nil || head != (event.Position{Epoch: 2, Number: 1}) {
		t.Errorf("afterwards the head is %s, %v", head, err)
	}
}
