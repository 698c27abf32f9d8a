package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
)

const (
	// StreamName is the one stream.
	StreamName  = "CURFEW_EVENTS"
	headSubject = "curfew.head"
	// outstanding bounds unacknowledged publishes; above 4,000 the client
	// stalls.
	outstanding = 1024
	ackTimeout  = 5 * time.Second
)

// Config is what both forms share; the zero value works.
type Config struct {
	Source   string        // CloudEvents source, a URI reference; "/curfew"
	MaxAge   time.Duration // of events in the stream; 7 days
	MaxBytes int64         // of the stream; 1 GiB
	Replicas int           // 1
}

func (c *Config) defaults() {
	c.Source = cmp.Or(c.Source, "/curfew")
	c.MaxAge = cmp.Or(c.MaxAge, 7*24*time.Hour)
	c.MaxBytes = cmp.Or(c.MaxBytes, 1<<30)
	c.Replicas = cmp.Or(c.Replicas, 1)
}

// Bus implements [bus.Bus].
type Bus struct {
	cfg  Config
	nc   *nats.Conn
	js   jetstream.JetStream
	stop func()
}

// Dial connects to servers (a comma-separated list of URLs) and makes the
// stream. It fails if no server answers within ctx.
func Dial(ctx context.Context, urls string, cfg Config) (*Bus, error) {
	nc, err := nats.Connect(urls, options()...)
	if err != nil {
		return nil, fmt.Errorf("connect to nats: %w", err)
	}
	b, err := open(ctx, nc, cfg, func() {})
	if err != nil {
		nc.Close()
		return nil, err
	}
	return b, nil
}

func options(more ...nats.Option) []nats.Option {
	return append([]nats.Option{
		nats.Name("curfew"), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
		// No buffering while disconnected: an event must fail fast so that the
		// publisher knows it was not sent.
		nats.ReconnectBufSize(-1),
	}, more...)
}

func open(ctx context.Context, nc *nats.Conn, cfg Config, stop func()) (*Bus, error) {
	cfg.defaults()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(outstanding), jetstream.WithPublishAsyncTimeout(ackTimeout))
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	b := &Bus{cfg: cfg, nc: nc, js: js, stop: stop}
	if err := b.ensureStream(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *Bus) ensureStream(ctx context.Context) error {
	_, err := b.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:        StreamName,
		Description: "Curfew lease events; a copy, the store is the truth",
		Subjects:    []string{event.SubjectPrefix + ".>"},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		Storage:     jetstream.FileStorage,
		MaxAge:      b.cfg.MaxAge,
		MaxBytes:    b.cfg.MaxBytes,
		Replicas:    b.cfg.Replicas,
		Duplicates:  2 * time.Minute,
	})
	if err != nil {
		return fmt.Errorf("make stream %s: %w", StreamName, err)
	}
	return nil
}

// Publish implements [bus.Publisher].
func (b *Bus) Publish(ctx context.Context, events []event.Event) (acked int, err error) {
	for acked < len(events) && err == nil {
		var n int
		n, err = b.publish(ctx, events[acked:min(len(events), acked+outstanding)])
		acked += n
	}
	if errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
		if made := b.ensureStream(ctx); made != nil {
			err = errors.Join(err, made)
		}
	}
	return acked, err
}

func (b *Bus) publish(ctx context.Context, events []event.Event) (acked int, err error) {
	futures := make([]jetstream.PubAckFuture, 0, len(events))
	for _, e := range events {
		var f jetstream.PubAckFuture
		if f, err = b.send(e); err != nil {
			break // what was sent before is still acknowledged below
		}
		futures = append(futures, f)
	}
	for _, f := range futures {
		select {
		case <-f.Ok():
			acked++
		case failed := <-f.Err():
			return acked, fmt.Errorf("publish event %s: %w", events[acked].Position, failed)
		case <-ctx.Done():
			return acked, fmt.Errorf("publish event %s: %w", events[acked].Position, ctx.Err())
		}
	}
	return acked, err
}

func (b *Bus) send(e event.Event) (jetstream.PubAckFuture, error) {
	headers, body, err := event.Encode(e, b.cfg.Source)
	if err != nil {
		return nil, err
	}
	f, err := b.js.PublishMsgAsync(&nats.Msg{Subject: event.BrokerSubject(e), Header: nats.Header(headers), Data: body},
		jetstream.WithRetryAttempts(0))
	if err != nil {
		return nil, fmt.Errorf("send event %s: %w", e.Position, err)
	}
	return f, nil
}

// Announce implements [bus.Publisher].
func (b *Bus) Announce(_ context.Context, head event.Position) error {
	if err := b.nc.Publish(headSubject, []byte(head.String())); err != nil {
		return fmt.Errorf("announce head: %w", err)
	}
	return nil
}

// Heads implements [bus.Stream].
func (b *Bus) Heads(ctx context.Context) (<-chan event.Position, error) {
	out := make(chan event.Position, 1)
	sub, err := b.nc.Subscribe(headSubject, func(m *nats.Msg) {
		p, err := event.ParsePosition(string(m.Data))
		if err != nil {
			return // not ours; the next head comes within a second
		}
		select { // the latest wins
		case <-out:
		default:
		}
		out <- p
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to heads: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = sub.Unsubscribe() })
	return out, nil
}

// Delete removes the stream with all consumers: what an accident would do.
func (b *Bus) Delete(ctx context.Context) error {
	if err := b.js.DeleteStream(ctx, StreamName); err != nil {
		return fmt.Errorf("delete stream %s: %w", StreamName, err)
	}
	return nil
}

// Close drains what was published and disconnects; an embedded server stops.
func (b *Bus) Close(ctx context.Context) error {
	select {
	case <-b.js.PublishAsyncComplete():
	case <-ctx.Done():
	}
	b.nc.Close()
	b.stop()
	return nil
}

var _ bus.Bus = (*Bus)(nil)
