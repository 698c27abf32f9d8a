package watermark_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfew-project/curfew/auditor/internal/watermark"
	"github.com/curfew-project/curfew/shared/event"
)

func at(epoch, number int64) event.Position { return event.Position{Epoch: epoch, Number: number} }

func TestAwait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := watermark.New()
		if p := m.Await(t.Context(), event.Position{}); p != (event.Position{}) {
			t.Errorf("a new mark is at %s", p)
		}
		got := make(chan event.Position)
		for range 3 {
			go func() { got <- m.Await(t.Context(), at(1, 5)) }()
		}
		for _, p := range []event.Position{at(1, 3), at(1, 3), at(1, 1), at(1, 4)} {
			m.Set(p)
			synctest.Wait()
			select {
			case <-got:
				t.Fatalf("%s was taken for 1-5", p)
			default:
			}
		}
		m.Set(at(2, 0))
		for range 3 {
			if p := <-got; p != at(2, 0) {
				t.Errorf("waiting ended at %s", p)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if p := m.Await(ctx, at(9, 9)); p != at(2, 0) || ctx.Err() == nil {
			t.Errorf("waiting in vain ended at %s, %v", p, ctx.Err())
		}
	})
}

func TestMovedOnlyWhenItMoves(t *testing.T) {
	t.Parallel()
	m := watermark.New()
	m.Set(at(1, 1))
	_, moved := m.At()
	m.Set(at(1, 1))
	select {
	case <-moved:
		t.Error("setting the same position woke")
	default:
	}
	m.Set(at(1, 0))
	<-moved // also back
}

// Advance never goes back, and wakes only when it moves.
func TestAdvance(t *testing.T) {
	t.Parallel()
	m := watermark.New()
	m.Advance(at(1, 5))
	p, moved := m.At()
	for _, to := range []event.Position{at(1, 5), at(1, 4), {}} {
		m.Advance(to)
	}
	select {
	case <-moved:
		t.Error("going back woke")
	default:
	}
	if now, _ := m.At(); p != at(1, 5) || now != p {
		t.Errorf("it is at %s, was %s", now, p)
	}
	m.Advance(at(2, 1))
	<-moved
	if p, _ := m.At(); p != at(2, 1) {
		t.Errorf("it is at %s", p)
	}
}
