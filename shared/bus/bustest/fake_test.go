package bustest_test

import (
	"testing"

	"github.com/curfew-project/curfew/shared/bus/bustest"
	"github.com/curfew-project/curfew/shared/event"
)

func TestFake(t *testing.T) {
	t.Parallel()
	for _, law := range bustest.Laws() {
		t.Run(law.Name, func(t *testing.T) {
			t.Parallel()
			f := bustest.NewFake()
			law.Check(t, bustest.Subject{Bus: f, Delete: f.Delete})
		})
	}
}

// A tail that was lost is not handed out, and is stored again when it is sent
// again.
func TestFakeLosesItsTail(t *testing.T) {
	t.Parallel()
	f := bustest.NewFake()
	var sent []event.Event
	for n := range int64(5) {
		sent = append(sent, event.Event{Position: event.Position{Epoch: 1, Number: n + 1}, Type: event.LeaseRevoked})
	}
	c, err := f.Consume(t.Context(), "reader", true)
	if err != nil {
		t.Fatal(err)
	}
	fetched := func(want int) {
		t.Helper()
		if got, err := c.Fetch(t.Context(), 10, 0); err != nil || len(got) != want {
			t.Errorf("fetch: %d events, %v; want %d", len(got), err, want)
		}
	}
	publish := func() {
		t.Helper()
		if n, err := f.Publish(t.Context(), sent); n != len(sent) || err != nil {
			t.Fatalf("publish: %d, %v", n, err)
		}
	}
	publish()
	f.LoseTail(2)
	fetched(3)
	publish()
	fetched(2)
	f.LoseTail(9)
	publish()
	fetched(0) // it has had as many
}
