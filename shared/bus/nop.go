package bus

import (
	"context"
	"iter"
	"time"

	"github.com/curfew-project/curfew/shared/event"
)

// Nop is a stream that carries nothing: events stay in the store, and expiry
// works from the store alone.
type Nop struct{}

// Publish implements [Publisher]: nothing is lost, so everything is
// acknowledged.
func (Nop) Publish(_ context.Context, events []event.Event) (int, error) { return len(events), nil }

// Announce implements [Publisher].
func (Nop) Announce(context.Context, event.Position) error { return nil }

// Consume implements [Stream].
func (Nop) Consume(context.Context, string, bool) (Consumer, error) { return nopConsumer{}, nil }

// Heads implements [Stream].
func (Nop) Heads(context.Context) (<-chan event.Position, error) { return nil, nil }

// Replay implements [Stream].
func (Nop) Replay(context.Context, time.Time) iter.Seq2[event.Event, error] {
	return func(func(event.Event, error) bool) {}
}

// Tail implements [Ender].
func (Nop) Tail(context.Context) (event.Event, error) { return event.Event{}, nil }

type nopConsumer struct{}

// Fetch waits: the stream is empty for ever.
func (nopConsumer) Fetch(ctx context.Context, _ int, wait time.Duration) ([]event.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	<-ctx.Done()
	return nil, nil
}
func (nopConsumer) Ack(context.Context) error { return nil }
func (nopConsumer) Close() error              { return nil }

var _ Bus = Nop{}
