package bustest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/step"
)

var errClosed = errors.New("consumer is closed")

// Fake is the whole contract in memory: nothing survives it, and nothing in it
// grows old. It is for tests only.
type Fake struct {
	mu      sync.Mutex
	life    int // of the stream; Delete begins another
	stored  []event.Event
	ids     map[event.Position]bool
	acked   map[string]int // places of durable consumers
	heads   map[chan event.Position]struct{}
	changed step.Watchers
}

// NewFake returns an empty stream.
func NewFake() *Fake {
	return &Fake{ids: map[event.Position]bool{}, acked: map[string]int{}, heads: map[chan event.Position]struct{}{}}
}

// Publish implements [bus.Publisher].
func (f *Fake) Publish(ctx context.Context, events []event.Event) (int, error) {
	for i, e := range events {
		if err := ctx.Err(); err != nil {
			return i, fmt.Errorf("publish event: %w", err)
		}
		sent, err := copyOf(e)
		if err != nil {
			return i, err
		}
		f.mu.Lock()
		if !f.ids[e.Position] {
			f.stored, f.ids[e.Position] = append(f.stored, sent), true
		}
		f.mu.Unlock()
	}
	f.changed.Set()
	return len(events), nil
}

// copyOf is e as it comes out of the broker.
func copyOf(e event.Event) (sent event.Event, err error) {
	body, err := json.Marshal(e)
	if err == nil {
		err = json.Unmarshal(body, &sent)
	}
	if err != nil {
		return sent, fmt.Errorf("encode event: %w", err)
	}
	return sent, nil
}

// Announce implements [bus.Publisher].
func (f *Fake) Announce(ctx context.Context, head event.Position) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ch := range f.heads {
		select {
		case <-ch: // the latest is what counts
		default:
		}
		ch <- head
	}
	return ctx.Err()
}

// Heads implements [bus.Stream].
func (f *Fake) Heads(ctx context.Context) (<-chan event.Position, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ch := make(chan event.Position, 1)
	f.heads[ch] = struct{}{}
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.heads, ch)
	})
	return ch, ctx.Err()
}

// Consume implements [bus.Stream].
func (f *Fake) Consume(ctx context.Context, name string, durable bool) (bus.Consumer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &consumer{fake: f, life: f.life, at: len(f.stored)}
	if durable {
		c.name, c.at = name, f.acked[name]
	}
	return c, ctx.Err()
}

// Replay implements [bus.Stream].
func (f *Fake) Replay(ctx context.Context, since time.Time) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		f.mu.Lock()
		stored := f.stored[:len(f.stored):len(f.stored)]
		f.mu.Unlock()
		for _, e := range stored {
			if err := ctx.Err(); err != nil {
				yield(event.Event{}, fmt.Errorf("replay the stream: %w", err))
				return
			}
			if !e.Time.Before(since) && !yield(e, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(event.Event{}, fmt.Errorf("replay the stream: %w", err))
		}
	}
}

// Tail implements [bus.Ender].
func (f *Fake) Tail(ctx context.Context) (event.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.stored); n > 0 {
		return f.stored[n-1], ctx.Err()
	}
	return event.Event{}, ctx.Err()
}

// Delete removes the stream and its consumers behind everybody's back.
func (f *Fake) Delete() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.life++
	f.stored, f.ids, f.acked = nil, map[event.Position]bool{}, map[string]int{}
	return nil
}

// LoseTail takes away the last n events that were acknowledged, as a broker does
// that had not flushed them.
func (f *Fake) LoseTail(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	keep := max(0, len(f.stored)-n)
	for _, e := range f.stored[keep:] {
		delete(f.ids, e.Position)
	}
	f.stored = f.stored[:keep:keep]
}

// Watch returns a channel that receives after events were published, and a
// function that ends it.
func (f *Fake) Watch() (<-chan struct{}, func()) { return f.changed.Watch() }

type consumer struct {
	fake   *Fake
	name   string // of a durable one
	life   int
	at     int // of the next event
	closed bool
}

// Fetch implements [bus.Consumer].
func (c *consumer) Fetch(ctx context.Context, limit int, wait time.Duration) ([]event.Event, error) {
	if c.closed {
		return nil, errClosed
	}
	changed, stop := c.fake.Watch()
	defer stop()
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		if got := c.take(limit); len(got) > 0 {
			return got, nil
		}
		if wait <= 0 {
			return nil, ctx.Err()
		}
		select {
		case <-changed:
		case <-over.C:
			return nil, nil
		case <-ctx.Done():
			return nil, fmt.Errorf("fetch events: %w", ctx.Err())
		}
	}
}

func (c *consumer) take(limit int) []event.Event {
	c.fake.mu.Lock()
	defer c.fake.mu.Unlock()
	if c.life != c.fake.life { // it is made anew, and begins with what there is
		c.life, c.at = c.fake.life, 0
	}
	c.at = min(c.at, len(c.fake.stored))
	n := min(limit, len(c.fake.stored)-c.at)
	got := append([]event.Event(nil), c.fake.stored[c.at:c.at+n]...)
	c.at += n
	return got
}

// Ack implements [bus.Consumer].
func (c *consumer) Ack(ctx context.Context) error {
	c.fake.mu.Lock()
	defer c.fake.mu.Unlock()
	if c.name != "" && c.life == c.fake.life {
		c.fake.acked[c.name] = c.at
	}
	return ctx.Err()
}

// Close implements [bus.Consumer].
func (c *consumer) Close() error {
	c.closed = true
	return nil
}

var _ bus.Bus = (*Fake)(nil)
