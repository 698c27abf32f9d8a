package bus

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/curfew-project/curfew/shared/event"
)

// ErrNoStream says that the broker has no stream: the next publication makes it.
var ErrNoStream = errors.New("the broker has no stream")

// Publisher sends numbered events.
type Publisher interface {
	// Publish sends events in order with a bounded number outstanding, and
	// returns how many of them, from the first on, were acknowledged. At the
	// first missing acknowledgement the rest counts as not sent (D3). It makes
	// the stream anew if it is gone.
	Publish(ctx context.Context, events []event.Event) (acked int, err error)
	// Announce tells consumers the head (D4). A hint; may be lost.
	Announce(ctx context.Context, head event.Position) error
}

// Stream hands out events.
type Stream interface {
	// Consume opens a consumer. A durable one keeps its place in the broker
	// under its name; another starts with the next event published, or a few
	// before it where the broker keeps copies that may be behind each other.
	Consume(ctx context.Context, name string, durable bool) (Consumer, error)
	// Heads returns a channel on which the latest announced head arrives,
	// coalesced, until ctx ends.
	Heads(ctx context.Context) (<-chan event.Position, error)
	// Replay yields the events that the broker stored since then, by its own
	// clock, in stream order, and ends after the last that it has when the
	// iteration begins; it may begin with earlier ones. The zero time: from the
	// first on. An error is yielded once and ends it: what was to come is not
	// known. No stream is no events.
	Replay(ctx context.Context, since time.Time) iter.Seq2[event.Event, error]
	Ender
}

// Ender says where the stream ends.
type Ender interface {
	// Tail is the last event that the broker has; zero where it has none, as when
	// all have aged out, and where it may not say; no more than its position where
	// it cannot be read. [ErrNoStream]: it has no stream.
	Tail(ctx context.Context) (event.Event, error)
}

// Consumer reads the stream. It is for one goroutine.
type Consumer interface {
	// Fetch waits at most wait for at least one event and returns at most limit
	// in stream order. No event is not an error. It makes the consumer anew if
	// the broker has lost it.
	Fetch(ctx context.Context, limit int, wait time.Duration) ([]event.Event, error)
	// Ack confirms everything fetched so far.
	Ack(ctx context.Context) error
	// Close ends reading; a durable consumer keeps its place.
	Close() error
}

// Bus is both ends.
type Bus interface {
	Publisher
	Stream
}
