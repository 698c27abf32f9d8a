package server

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/bus/jetstream"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/secret"
)

// ran runs a stream until the returned function ends it.
func ran(t *testing.T, s *stream) (end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	return func() error { cancel(); return <-done }
}

// A stream that has not started yet keeps callers waiting as long as they may,
// and is asked nothing where its mark says enough (A7).
func TestStreamStarting(t *testing.T) {
	t.Parallel()
	cfg := jetstream.EmbedConfig{Dir: t.TempDir(), Config: jetstream.Config{Source: "/curfew/test"}}
	e := event.Event{Position: event.Position{Epoch: 1, Number: 7}, Type: event.LeaseCreated, Time: time.Now()}
	first := newStream(cfg)
	if first.known() {
		t.Error("a new stream is known")
	}
	end := ran(t, first)
	if _, err := first.Publish(t.Context(), []event.Event{e}); err != nil { // it waits
		t.Fatal(err)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}

	s := newStream(cfg)
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	for name, call := range map[string]func() error{
		"publish": func() error { _, err := s.Publish(short, []event.Event{e}); return err },
		"consume": func() error { _, err := s.Consume(short, "a", false); return err },
		"heads":   func() error { _, err := s.Heads(short); return err },
		"tail":    func() error { _, err := s.Tail(short); return err },
		"replay": func() (failed error) {
			for _, err := range s.Replay(short, time.Time{}) {
				failed = err
			}
			return failed
		},
		"disconnected": s.Disconnected,
	} {
		if err := call(); !errors.Is(err, errStarting) {
			t.Errorf("%s: %v, want errStarting", name, err)
		}
	}
	if err := s.Announce(short, e.Position); err != nil {
		t.Errorf("announce: %v", err)
	}
	if at, err := (atLeast{s}).Tail(t.Context()); !s.known() || err != nil || at.Position != e.Position || at.Type != "" {
		t.Errorf("its end is %+v, %v; want that of its mark", at, err)
	}
	end = ran(t, s)
	if at, err := s.Tail(t.Context()); err != nil || at.Position != e.Position || at.Type != e.Type {
		t.Errorf("its last event is %+v, %v", at, err)
	}
	if at, err := (atLeast{s}).Tail(t.Context()); err != nil || at.Type != e.Type {
		t.Errorf("its last event is %+v, %v", at, err)
	}
	if err := s.Disconnected(); err != nil {
		t.Error(err)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}

// One that cannot start says so to all, and ends the process.
func TestStreamThatDoesNotStart(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := newStream(jetstream.EmbedConfig{Dir: t.TempDir(), Listen: l.Addr().String(), Subscriber: secret.New("a password")})
	failed := s.run(t.Context())
	if failed == nil {
		t.Fatal("it runs")
	}
	for name, err := range map[string]error{"wait": s.wait(t.Context()), "disconnected": s.Disconnected(), "announce": s.Announce(t.Context(), event.Position{})} {
		if !errors.Is(err, failed) {
			t.Errorf("%s: %v, want %v", name, err, failed)
		}
	}
}
