package sqlite

import (
	"errors"
	"testing"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// Law: what is undone gives its numbers back, within a batch too (D3).
func TestARefusalLeavesNoGap(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), t.TempDir(), storetest.NewClock(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	no := errors.New("no")
	var refused error
	units := []*unit{
		{run: func(t *tx) error { return t.append(event.Event{Subject: "1"}) }},
		{run: func(t *tx) (failed error) {
			refused, failed = t.atomically(func() error {
				if err := t.append(event.Event{Subject: "undone"}); err != nil {
					return err
				}
				return refusal{no}
			})
			return failed
		}},
		{run: func(t *tx) error { return t.append(event.Event{Subject: "2"}) }},
	}
	if err := s.writer.do(t.Context(), units...); err != nil || !errors.Is(refused, no) {
		t.Fatal(err, refused)
	}
	lock, _, err := s.Acquire(t.Context(), "publisher", "test", 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	if _, n, err := s.Number(t.Context(), lock, 10); err != nil || n != 2 {
		t.Errorf("%d numbers, %v; want 2", n, err)
	}
	all, err := s.Events(t.Context(), event.Position{}, 10)
	if err != nil || len(all) != 2 || all[1].Position.Number != 2 || all[1].Subject != "2" {
		t.Errorf("%+v, %v", all, err)
	}
}
