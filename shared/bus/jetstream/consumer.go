package jetstream

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
)

const (
	buffered = 512
	// ackWait is how long a consumer may work on a batch before the broker
	// sends it again.
	ackWait = 2 * time.Minute
	// overlap is how far a lost consumer that is not durable goes back.
	overlap = 10 * time.Second
	// idle is how long the broker keeps a consumer that nobody reads.
	idle = 5 * time.Minute
)

// Consume implements [bus.Stream].
func (b *Bus) Consume(ctx context.Context, name string, durable bool) (bus.Consumer, error) {
	c := &consumer{bus: b, name: name, durable: durable}
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

type consumer struct {
	bus     *Bus
	name    string
	durable bool

	reading  jetstream.ConsumeContext
	messages chan jetstream.Msg
	lost     *atomic.Bool
	since    time.Time // broker time of the last event seen; zero: none yet
	last     jetstream.Msg
}

func (c *consumer) config() jetstream.ConsumerConfig {
	cfg := jetstream.ConsumerConfig{
		Description:   "curfew " + c.name,
		AckPolicy:     jetstream.AckAllPolicy,
		AckWait:       ackWait,
		MaxAckPending: 8 * buffered,
		DeliverPolicy: jetstream.DeliverAllPolicy,
	}
	switch {
	case c.durable:
		cfg.Durable = c.name
	case c.since.IsZero():
		cfg.DeliverPolicy, cfg.InactiveThreshold = jetstream.DeliverNewPolicy, idle
	default:
		start := c.since.Add(-overlap)
		cfg.DeliverPolicy, cfg.OptStartTime, cfg.InactiveThreshold = jetstream.DeliverByStartTimePolicy, &start, idle
	}
	return cfg
}

// open makes the consumer in the broker, and the stream where it is gone.
func (c *consumer) open(ctx context.Context) error {
	made, err := c.bus.js.CreateOrUpdateConsumer(ctx, StreamName, c.config())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if err = c.bus.ensureStream(ctx); err == nil {
			made, err = c.bus.js.CreateOrUpdateConsumer(ctx, StreamName, c.config())
		}
	}
	if err != nil {
		return fmt.Errorf("make consumer %s: %w", c.name, err)
	}
	messages, lost := make(chan jetstream.Msg, buffered), new(atomic.Bool)
	reading, err := made.Consume(func(m jetstream.Msg) { messages <- m },
		jetstream.PullMaxMessages(buffered),
		jetstream.PullHeartbeat(time.Second), jetstream.PullExpiry(5*time.Second),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if fatal(err) {
				lost.Store(true)
			}
		}))
	if err != nil {
		return fmt.Errorf("read consumer %s: %w", c.name, err)
	}
	c.reading, c.messages, c.lost, c.last = reading, messages, lost, nil
	return nil
}

// fatal reports whether reading has to begin anew: the consumer is gone, or the
// broker is silent and may have lost it.
func fatal(err error) bool {
	return errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) ||
		errors.Is(err, jetstream.ErrNoHeartbeat) || errors.Is(err, nats.ErrNoResponders) ||
		errors.Is(err, jetstream.ErrConnectionClosed)
}

// Fetch implements [bus.Consumer].
func (c *consumer) Fetch(ctx context.Context, limit int, wait time.Duration) ([]event.Event, error) {
	if c.lost.Load() && len(c.messages) == 0 {
		c.reading.Stop()
		if err := c.open(ctx); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var out []event.Event
	select {
	case m := <-c.messages:
		out = c.take(out, m)
	case <-ctx.Done():
		return nil, nil // no event within the wait is not an error
	}
	for len(out) < limit {
		select {
		case m := <-c.messages:
			out = c.take(out, m)
		default:
			return out, nil
		}
	}
	return out, nil
}

// take appends m's event; what is not an event of this installation is passed
// over.
func (c *consumer) take(out []event.Event, m jetstream.Msg) []event.Event {
	c.last = m
	if meta, err := m.Metadata(); err == nil {
		c.since = meta.Timestamp
	}
	e, err := event.Decode(event.Headers(m.Headers()), m.Data())
	if err != nil || m.Headers().Get(event.HeaderSource) != c.bus.cfg.Source {
		return out
	}
	return append(out, e)
}

// Ack implements [bus.Consumer].
func (c *consumer) Ack(context.Context) error {
	if c.last == nil {
		return nil
	}
	if err := c.last.Ack(); err != nil {
		return fmt.Errorf("acknowledge as %s: %w", c.name, err)
	}
	c.last = nil
	return nil
}

// Close implements [bus.Consumer].
func (c *consumer) Close() error {
	c.reading.Stop()
	for { // a handler that waits for room in the buffer must not wait for ever
		select {
		case <-c.messages:
		case <-c.reading.Closed():
			return nil
		}
	}
}
