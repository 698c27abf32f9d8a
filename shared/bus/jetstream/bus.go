package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
)

const headSubject = "curfew.head"

// ErrDisconnected says that no server can be reached at this moment. nats.go
// goes on trying.
var ErrDisconnected = errors.New("not connected to nats")

// Config is what both forms share; the zero value works.
type Config struct {
	// Inspect: who dials only looks, and makes no stream.
	Inspect  bool
	Source   string        // CloudEvents source, a URI reference; "/curfew"
	MaxAge   time.Duration // of events in the stream; 7 days
	MaxBytes int64         // of the stream, on each replica; 1 GiB
	Replicas int           // 1; 3 on a cluster
	Client   Client        // of Dial; Embed makes its own
}

func (c *Config) defaults() {
	c.Source = cmp.Or(c.Source, "/curfew")
	c.MaxAge = cmp.Or(c.MaxAge, 7*24*time.Hour)
	c.MaxBytes = cmp.Or(c.MaxBytes, 1<<30)
	c.Replicas = cmp.Or(c.Replicas, 1)
	c.Client.Program = cmp.Or(c.Client.Program, "curfew")
}

func (c *Config) validate() error {
	if c.MaxAge < leastAge {
		return fmt.Errorf("maximum age of the stream is %s, want at least %s", c.MaxAge, leastAge)
	}
	if c.MaxBytes < 1<<20 {
		return fmt.Errorf("size of the stream is %d bytes, want at least 1 MiB", c.MaxBytes)
	}
	if c.Replicas < 1 || c.Replicas > 5 || c.Replicas%2 == 0 {
		return fmt.Errorf("the stream has %d replicas, want 1, 3 or 5", c.Replicas)
	}
	return nil
}

// Bus implements [bus.Bus].
type Bus struct {
	*wiring
	cfg    Config
	nc     *nats.Conn
	js     jetstream.JetStream
	stop   func()
	inside *inside // the server; nil: it is not in this process
	marker *marker // of that server; nil: there is none

	turn    chan struct{} // held by who publishes
	failed  int           // publishes in a row
	tail    uint64        // sequence of the stream's last message; 0: not known
	checked int64         // session in which the publisher checked the stream

	mu      sync.Mutex
	problem error // of the last check of the stream; nil: it is as configured
}

// wiring is what the callbacks of a connection and its bus share. It is made
// before the connection, because nats.go may call back before it returns.
type wiring struct {
	denials  denials
	sessions atomic.Int64 // connections so far; a consumer belongs to one
	// away is why there is no connection; nil while there is one. nats.go knows,
	// too, but may hold its lock for seconds while it tries a silent server.
	away atomic.Pointer[error]
}

func (w *wiring) down(why error) {
	err := ErrDisconnected
	if why != nil {
		err = fmt.Errorf("%w: %w", ErrDisconnected, why)
	}
	w.away.Store(&err)
}

func (w *wiring) up() { w.away.Store(nil) }

func open(nc *nats.Conn, w *wiring, cfg Config, stop func()) (*Bus, error) {
	js, err := jetstream.New(nc,
		// Room for those of a call that was given up and may still be answered.
		jetstream.WithPublishAsyncMaxPending(2*outstanding), jetstream.WithPublishAsyncTimeout(ackTimeout))
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	return &Bus{wiring: w, cfg: cfg, nc: nc, js: js, stop: stop, turn: make(chan struct{}, 1), checked: -1}, nil
}

// Disconnected returns nil while a server is connected, and otherwise why not.
// It is for readiness and health, and does not wait.
func (b *Bus) Disconnected() error {
	if why := b.away.Load(); why != nil {
		return *why
	}
	return nil
}

// told gives the library's words for a connection that has just gone ours.
func told(err error) error {
	for _, e := range []error{nats.ErrReconnectBufExceeded, nats.ErrDisconnected, nats.ErrConnectionClosed} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", ErrDisconnected, err)
		}
	}
	return err
}

// Announce implements [bus.Publisher].
func (b *Bus) Announce(_ context.Context, head event.Position) error {
	if err := b.Disconnected(); err != nil {
		return fmt.Errorf("announce head: %w", err)
	}
	if err := b.nc.Publish(headSubject, []byte(head.String())); err != nil {
		return fmt.Errorf("announce head: %w", told(err))
	}
	return nil
}

// Heads implements [bus.Stream]. Heads are plain messages: what is announced
// while the connection is away does not arrive later.
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
	err := b.ask(ctx, "STREAM.DELETE."+StreamName, func(ctx context.Context) error {
		return b.js.DeleteStream(ctx, StreamName)
	})
	if err != nil {
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
	b.marker.end()
	b.nc.Close()
	b.stop()
	return nil
}

var _ bus.Bus = (*Bus)(nil)
