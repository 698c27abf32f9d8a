package publish_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

var errAway = errors.New("no responders")

// broker is a stream that does as its script says.
type broker struct {
	mu    sync.Mutex
	sent  []event.Event // everything that arrived, in order
	heads []head
	clock clock.Clock
	// script answers a Publish of n events: how many arrive, how many of those
	// are acknowledged. nil: all.
	script func(n int) (arrive, ack int, err error)
	deaf   bool // announcements fail
	tail   event.Event
	gone   error  // why it does not say where it ends
	asked  int    // how often it was to
	then   func() // once it has said it; nil: nothing
}

type head struct {
	at  time.Time
	pos event.Position
}

func (b *broker) Publish(_ context.Context, events []event.Event) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	arrive, ack, err := len(events), len(events), error(nil)
	if b.script != nil {
		arrive, ack, err = b.script(len(events))
	}
	b.sent = append(b.sent, events[:arrive]...)
	return ack, err
}

func (b *broker) Announce(_ context.Context, p event.Position) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.deaf {
		return errAway
	}
	b.heads = append(b.heads, head{b.clock.Now(), p})
	return nil
}

func (b *broker) Tail(context.Context) (event.Event, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	if b.then != nil {
		defer b.then()
	}
	if n := len(b.sent); n > 0 && b.tail.Position.Number == 0 {
		return b.sent[n-1], b.gone
	}
	return b.tail, b.gone
}

func (b *broker) play(script func(n int) (int, int, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.script = script
}

func (b *broker) numbers() []int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]int64, len(b.sent))
	for i, e := range b.sent {
		out[i] = e.Position.Number
	}
	return out
}

func away(int) (int, int, error) { return 0, 0, errAway }

// world is a store, a broker and what a test appended.
type world struct {
	clock  *storetest.Clock
	fake   *storetest.Fake
	store  *storetest.Faulty
	broker *broker
	n      int
}

func newWorld() *world {
	c := storetest.NewClock()
	f := storetest.NewFake(c)
	return &world{clock: c, fake: f, store: storetest.NewFaulty(f), broker: &broker{clock: c}}
}

func (w *world) publisher(t fataler, owner string, cfg publish.Config) *publish.Publisher {
	t.Helper()
	cfg.Owner, cfg.Keep = owner, cmp.Or(cfg.Keep, -1)
	p, err := publish.New(w.store, w.broker, nil, w.clock, zerolog.Nop(), cfg)
	if err != nil {
		t.Fatalf("new publisher: %v", err)
	}
	return p
}

type fataler interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// append commits n events, each with its place in the order of commits in its
// subject.
func (w *world) append(t fataler, n int) {
	t.Helper()
	for range n {
		w.n++
		if err := w.fake.Append(context.Background(), event.Event{Type: event.RequestServed, Subject: fmt.Sprint(w.n)}); err != nil {
			t.Fatalf("append: %v", err)
		}
	}
}

// drain runs a publisher, as its runner does, until it rests. It gives it time
// to recover from what fails.
func (w *world) drain(t fataler, p *publish.Publisher) {
	t.Helper()
	for range 200 + w.n { // a batch may be one event
		rest, err := p.Do(context.Background())
		switch {
		case err != nil:
			w.clock.Advance(100 * time.Millisecond)
		case rest > 0:
			return
		}
	}
	t.Fatalf("the publisher does not come to rest")
}

// check is the law (D3): what arrived is, without what came again, the events
// in the order of their commits, with dense numbers and one event a number.
func (w *world) check(t fataler) {
	t.Helper()
	next := int64(1)
	for i, e := range w.broker.sent {
		if want := fmt.Sprint(e.Position.Number); e.Subject != want {
			t.Fatalf("arrival %d: number %s was given to commit %s", i, want, e.Subject)
		}
		switch n := e.Position.Number; {
		case n == next:
			next++
		case n > next:
			t.Fatalf("arrival %d is number %d, want %d or one before", i, n, next)
		}
	}
	if next != int64(w.n)+1 {
		t.Fatalf("numbers up to %d arrived, want %d", next-1, w.n)
	}
}

// confirm is what the ledger does.
func (w *world) confirm(t *testing.T, n int64) {
	t.Helper()
	if err := w.fake.Confirm(t.Context(), publish.Ledger, event.Position{Epoch: 1, Number: n}); err != nil {
		t.Fatal(err)
	}
}

// first is the number of the oldest event that the store still has; 0: none.
func (w *world) first(t fataler) int64 {
	t.Helper()
	events, err := w.fake.Events(context.Background(), event.Position{}, 1)
	if err != nil {
		t.Fatalf("events: %v", err)
	}
	if len(events) == 0 {
		return 0
	}
	return events[0].Position.Number
}

func equal(t *testing.T, got, want []int64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("numbers %v, want %v", got, want)
	}
}
