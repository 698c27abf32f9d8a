package bus_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
)

// Promise 6: without a stream nothing is lost, so everything counts as sent.
func TestNopTakesEverything(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 3000} {
		if acked, err := (bus.Nop{}).Publish(t.Context(), make([]event.Event, n)); acked != n || err != nil {
			t.Errorf("publish %d: %d, %v", n, acked, err)
		}
	}
	if err := (bus.Nop{}).Announce(t.Context(), event.Position{Epoch: 1, Number: 1}); err != nil {
		t.Error(err)
	}
}

// It brings nothing, for ever, and keeps nobody longer than its context.
func TestNopBringsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		heads, err := bus.Nop{}.Heads(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c, err := bus.Nop{}.Consume(t.Context(), "test", true)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (bus.Nop{}).Publish(t.Context(), make([]event.Event, 3)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		events, _ := c.Fetch(ctx, 10, time.Second)
		if took := time.Since(began); len(events) != 0 || took != time.Second {
			t.Errorf("fetch: %d events after %s, want none after 1 s", len(events), took)
		}
		select {
		case h := <-heads:
			t.Errorf("a head arrived: %s", h)
		default:
		}
		for e, err := range (bus.Nop{}).Replay(t.Context(), time.Time{}) {
			t.Errorf("replayed %s, %v", e.Position, err)
		}
		if err := c.Ack(t.Context()); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}
