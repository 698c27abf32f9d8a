package server

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/bus/jetstream"
	"github.com/curfew-project/curfew/shared/event"
)

// errStarting: the server inside the process reads what it has, which takes
// seconds after a kill. Nothing that takes access away waits for it (promise 6).
var errStarting = errors.New("the event stream is starting")

// stream is the event stream inside the process, from before it runs. Calls wait
// until it does, as long as their context allows.
type stream struct {
	cfg  jetstream.EmbedConfig
	ends event.Position // the last that it was about to get, as its mark says; zero: not known

	opened chan struct{} // closed when the next three are set
	bus    *jetstream.Bus
	url    string // for subscribers
	err    error  // it does not run
}

func newStream(cfg jetstream.EmbedConfig) *stream {
	s := &stream{cfg: cfg, opened: make(chan struct{})}
	s.ends, _ = jetstream.Published(cfg.Dir, cfg.Source)
	return s
}

// run starts it, and stops it when ctx ends.
func (s *stream) run(ctx context.Context) error {
	s.bus, s.url, s.err = jetstream.Embed(ctx, s.cfg)
	close(s.opened)
	if s.err != nil {
		return s.err
	}
	<-ctx.Done()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	return s.bus.Close(bounded)
}

// closeWithin bounds the wait for acknowledgements of what was sent.
const closeWithin = 5 * time.Second

// known reports whether it is known where the stream ends, at least.
func (s *stream) known() bool { return s.ends.Number > 0 }

// wait returns when it runs, or why it does not.
func (s *stream) wait(ctx context.Context) error {
	select {
	case <-s.opened:
		return s.err
	default:
	}
	select {
	case <-s.opened:
		return s.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errStarting, ctx.Err())
	}
}

// Disconnected is that of [jetstream.Bus].
func (s *stream) Disconnected() error {
	select {
	case <-s.opened:
	default:
		return errStarting
	}
	if s.err != nil {
		return s.err
	}
	return s.bus.Disconnected()
}

// Publish implements [bus.Publisher].
func (s *stream) Publish(ctx context.Context, events []event.Event) (int, error) {
	if err := s.wait(ctx); err != nil {
		return 0, err
	}
	return s.bus.Publish(ctx, events)
}

// Announce implements [bus.Publisher]: nobody listens before it runs.
func (s *stream) Announce(ctx context.Context, head event.Position) error {
	if errors.Is(s.Disconnected(), errStarting) {
		return nil
	}
	if s.err != nil {
		return s.err
	}
	return s.bus.Announce(ctx, head)
}

// Consume implements [bus.Stream].
func (s *stream) Consume(ctx context.Context, name string, durable bool) (bus.Consumer, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.bus.Consume(ctx, name, durable)
}

// Heads implements [bus.Stream].
func (s *stream) Heads(ctx context.Context) (<-chan event.Position, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.bus.Heads(ctx)
}

// Replay implements [bus.Stream].
func (s *stream) Replay(ctx context.Context, since time.Time) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		if err := s.wait(ctx); err != nil {
			yield(event.Event{}, err)
			return
		}
		s.bus.Replay(ctx, since)(yield)
	}
}

// Tail implements [bus.Ender].
func (s *stream) Tail(ctx context.Context) (event.Event, error) {
	if err := s.wait(ctx); err != nil {
		return event.Event{}, err
	}
	return s.bus.Tail(ctx)
}

// atLeast is the stream for who compares the store with it before anything is
// decided (A7): until it runs, its end is where its mark says, which is written
// before anything is sent.
type atLeast struct{ *stream }

// Tail implements [bus.Ender].
func (s atLeast) Tail(ctx context.Context) (event.Event, error) {
	select {
	case <-s.opened:
	default:
		if s.known() {
			return event.Event{Position: s.ends}, nil
		}
	}
	return s.stream.Tail(ctx)
}

// awaitSubscribers returns when the stream can be subscribed to from outside, if
// it is meant to be: then the address is announced.
func (s *Server) awaitSubscribers(ctx context.Context) error {
	if st := s.stream.Load(); st != nil && s.cfg.NATS.Listen != "" {
		return st.wait(ctx)
	}
	return nil
}

// streamURL is for subscribers; empty: there is none, or not yet.
func (s *Server) streamURL() string {
	st := s.stream.Load()
	if st == nil {
		return ""
	}
	select {
	case <-st.opened:
		return st.url
	default:
		return ""
	}
}

var (
	_ bus.Bus    = (*stream)(nil)
	_ bus.Stream = atLeast{}
)
