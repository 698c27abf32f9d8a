package jetstream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/curfew-project/curfew/shared/event"
)

// replayWait bounds the wait for the next batch of a replay, replayTries that
// for a consumer that was just made.
const (
	replayWait  = 5 * time.Second
	replayTries = 20
	replayPause = 50 * time.Millisecond
)

// errSilent: the broker has more events and does not deliver them.
var errSilent = errors.New("the broker does not deliver what it has")

// Replay implements [bus.Stream]. It reads with a consumer of its own, which
// the broker forgets when nobody reads from it any more.
func (b *Bus) Replay(ctx context.Context, since time.Time) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		cfg := jetstream.ConsumerConfig{
			Description: "curfew replay", AckPolicy: jetstream.AckNonePolicy,
			DeliverPolicy: jetstream.DeliverAllPolicy, InactiveThreshold: idle, MemoryStorage: true, Replicas: 1,
		}
		if !since.IsZero() {
			cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
		}
		var c jetstream.Consumer
		err := b.ask(ctx, "CONSUMER.CREATE."+StreamName, func(ctx context.Context) (err error) {
			c, err = b.js.CreateConsumer(ctx, StreamName, cfg)
			return err
		})
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
		case err != nil:
			yield(event.Event{}, fmt.Errorf("replay the stream: %w", err))
		default:
			b.replay(ctx, c, yield)
			// A hint that comes too late costs the broker an idle consumer.
			_ = b.js.DeleteConsumer(context.WithoutCancel(ctx), StreamName, c.CachedInfo().Name)
		}
	}
}

// replay yields what was pending when c was made.
func (b *Bus) replay(ctx context.Context, c jetstream.Consumer, yield func(event.Event, error) bool) {
	tries := 0
	for left := c.CachedInfo().NumPending; left > 0; {
		if err := ctx.Err(); err != nil {
			yield(event.Event{}, fmt.Errorf("replay the stream: %w", err))
			return
		}
		batch, err := c.Fetch(int(min(left, buffered)), jetstream.FetchMaxWait(replayWait))
		got := false
		if err == nil {
			for m := range batch.Messages() {
				got = true
				left--
				if meta, err := m.Metadata(); err == nil && meta.NumPending == 0 {
					left = 0 // some have aged out meanwhile
				}
				e, ours := b.decode(m)
				if ours && !yield(e, nil) {
					return
				}
			}
			err = batch.Error()
		}
		// In a cluster another server's consumer is known here a moment later.
		if unknown := errors.Is(err, nats.ErrNoResponders); unknown && tries < replayTries && pause(ctx) {
			tries++
			continue
		}
		if err == nil && !got && left > 0 {
			err = errSilent
		}
		if err != nil {
			yield(event.Event{}, fmt.Errorf("replay the stream: %w", err))
			return
		}
	}
}

// pause waits a little; false if ctx has ended.
func pause(ctx context.Context) bool {
	short, cancel := context.WithTimeout(ctx, replayPause)
	defer cancel()
	<-short.Done()
	return ctx.Err() == nil
}

// decode returns a message's event; false for what is not an event of this
// installation.
func (b *Bus) decode(m jetstream.Msg) (event.Event, bool) {
	e, err := event.Decode(event.Headers(m.Headers()), m.Data())
	return e, err == nil && m.Headers().Get(event.HeaderSource) == b.cfg.Source
}
