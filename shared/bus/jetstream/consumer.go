package jetstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

const (
	// ackWait is how long a consumer may work on a batch before the broker
	// sends it again.
	ackWait = 30 * time.Second
	// overlap is how far a consumer that is made anew looks back beyond what it
	// has acknowledged: the clocks of a cluster's servers differ.
	overlap = 10 * time.Second
	// idle is how long the broker keeps a consumer that nobody reads.
	idle = time.Minute
)

// Consume implements [bus.Stream]. A consumer that is not durable lives in the
// memory of one server; what it had acknowledged is known here, too, so that it
// goes on where it was when that server dies.
func (b *Bus) Consume(ctx context.Context, name string, durable bool) (bus.Consumer, error) {
	c := &consumer{bus: b, name: name, durable: durable}
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// place is a message of the stream. The sequence alone is not enough: a stream
// that was made anew, or that lost its tail, gives numbers again.
type place struct {
	seq uint64
	at  time.Time // the broker's clock
}

func (p place) covers(q place) bool { return q.seq <= p.seq && !q.at.After(p.at) }

type consumer struct {
	bus     *Bus
	name    string
	durable bool

	reading *reading
	session int64  // of the connection that the reading began in
	next    uint64 // consumer sequence of the next delivery
	acked   place
	last    jetstream.Msg // furthest message taken and not acknowledged; may be nil
	taken   place         // of last
	handed  bool          // an event that was handed out is not acknowledged
}

func (c *consumer) config() jetstream.ConsumerConfig {
	cfg := jetstream.ConsumerConfig{
		Description:   "curfew " + c.name,
		AckPolicy:     jetstream.AckAllPolicy,
		AckWait:       ackWait,
		MaxAckPending: 8 * buffered,
		DeliverPolicy: jetstream.DeliverAllPolicy,
	}
	if c.durable {
		cfg.Durable = c.name
		return cfg
	}
	cfg.Name = c.name + "-" + lease.RandomBase62(10)
	cfg.InactiveThreshold, cfg.MemoryStorage, cfg.Replicas = idle, true, 1
	if cfg.DeliverPolicy = jetstream.DeliverNewPolicy; !c.acked.at.IsZero() {
		start := c.acked.at.Add(-overlap)
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &start
	}
	return cfg
}

// open makes the consumer in the broker, and the stream where it is gone.
func (c *consumer) open(ctx context.Context) error {
	session := c.bus.sessions.Load()
	made, err := c.make(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if err = c.bus.ensureStream(ctx, false); err == nil {
			made, err = c.make(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("make consumer %s: %w", c.name, err)
	}
	info := made.CachedInfo()
	if c.acked.at.IsZero() {
		c.acked = place{seq: info.Delivered.Stream, at: info.Created}
	}
	if c.durable && info.NumAckPending > 0 {
		info = c.reset(ctx, info)
	}
	r, err := read(made)
	if err != nil {
		return fmt.Errorf("read consumer %s: %w", c.name, err)
	}
	c.reading, c.session, c.next = r, session, info.Delivered.Consumer+1
	c.last, c.handed = nil, false
	return nil
}

func (c *consumer) make(ctx context.Context) (made jetstream.Consumer, err error) {
	cfg := c.config()
	err = c.bus.ask(ctx, "CONSUMER.CREATE."+StreamName+"."+max(cfg.Name, cfg.Durable), func(ctx context.Context) error {
		made, err = c.bus.js.CreateOrUpdateConsumer(ctx, StreamName, cfg)
		return err
	})
	return made, err
}

// reset has the broker send at once what a connection that is gone had taken
// and not acknowledged. Servers before 2.14 do not know how, and send it after
// [ackWait].
func (c *consumer) reset(ctx context.Context, info *jetstream.ConsumerInfo) *jetstream.ConsumerInfo {
	_ = c.bus.ask(ctx, "CONSUMER.RESET."+StreamName+"."+c.name, func(ctx context.Context) error {
		done, err := c.bus.js.ResetConsumer(ctx, StreamName, c.name)
		if err == nil {
			info = done.ConsumerInfo
		}
		return err
	})
	return info
}

// Fetch implements [bus.Consumer]. It returns after wait, or at most [apiTimeout]
// later where it has to make the consumer anew.
func (c *consumer) Fetch(ctx context.Context, limit int, wait time.Duration) ([]event.Event, error) {
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		if c.stale() && len(c.reading.messages) == 0 {
			c.reading.stop()
			if err := c.open(ctx); err != nil {
				return nil, err
			}
		}
		select {
		case m := <-c.reading.messages:
			out := c.batch(m, limit)
			if len(out) > 0 || c.handed {
				return out, nil
			}
			// Of what is passed over the caller does not know, and the broker
			// would stop at its limit of unacknowledged messages.
			if err := c.Ack(ctx); err != nil {
				return nil, err
			}
		case <-c.reading.lost:
		case <-waiting.Done():
			if ctx.Err() != nil {
				return nil, nil // asked to stop
			}
			return nil, c.bus.Disconnected() // no event within the wait is not an error
		}
	}
}

// stale reports whether reading has to begin anew. After a reconnect messages
// that were under way are lost.
func (c *consumer) stale() bool {
	select {
	case <-c.reading.lost:
		return true
	default:
		return c.session != c.bus.sessions.Load()
	}
}

// batch takes m and what else is there.
func (c *consumer) batch(m jetstream.Msg, limit int) (out []event.Event) {
	for {
		var ok bool
		if out, ok = c.take(out, m); !ok || len(out) >= limit {
			return out
		}
		select {
		case m = <-c.reading.messages:
		default:
			return out
		}
	}
}

// take appends m's event. What is not an event of this installation, and what
// was acknowledged before the consumer was made anew, is passed over. It is not
// ok if a message before m was lost on the way.
func (c *consumer) take(out []event.Event, m jetstream.Msg) (_ []event.Event, ok bool) {
	meta, err := m.Metadata()
	if err != nil || meta.Sequence.Consumer != c.next {
		c.reading.fail()
		c.reading.discard()
		return out, false
	}
	c.next++
	at := place{seq: meta.Sequence.Stream, at: meta.Timestamp}
	// What is sent again lies before what was taken already; acknowledging it
	// last would take back the others' acknowledgement.
	if c.last == nil || at.seq > c.taken.seq {
		c.last, c.taken = m, at
	}
	if !c.durable && c.acked.covers(at) {
		return out, true
	}
	if e, ours := c.bus.decode(m); ours {
		out, c.handed = append(out, e), true
	}
	return out, true
}

// Ack implements [bus.Consumer].
func (c *consumer) Ack(context.Context) error {
	if c.last == nil {
		return nil
	}
	if err := c.last.Ack(); err != nil {
		return fmt.Errorf("acknowledge as %s: %w", c.name, err)
	}
	c.last, c.handed = nil, false
	if !c.acked.covers(c.taken) {
		c.acked = c.taken
	}
	return nil
}

// Close implements [bus.Consumer].
func (c *consumer) Close() error {
	c.reading.stop()
	return nil
}
