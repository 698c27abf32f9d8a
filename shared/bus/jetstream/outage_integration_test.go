//go:build integration

package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/curfew-project/curfew/shared/bus/jetstream"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/testkit"
)

// The server dies, is paused, restarted in good order, or comes back without
// its disk; the stream or a consumer is deleted. What was acknowledged before
// is there (but for the disk), and everybody goes on without being touched.
func TestSingleServer(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(t *testing.T, n *testkit.NATSProcess, js natsjs.JetStream) (lost bool){
		"killed": func(t *testing.T, n *testkit.NATSProcess, _ natsjs.JetStream) bool {
			t.Helper()
			n.Kill(t)
			n.Start(t)
			return false
		},
		"stopped": func(t *testing.T, n *testkit.NATSProcess, _ natsjs.JetStream) bool {
			t.Helper()
			n.Stop(t)
			n.Start(t)
			return false
		},
		"wiped": func(t *testing.T, n *testkit.NATSProcess, _ natsjs.JetStream) bool {
			t.Helper()
			n.Kill(t)
			n.Wipe(t)
			n.Start(t)
			return true
		},
		"stream deleted": func(t *testing.T, _ *testkit.NATSProcess, js natsjs.JetStream) bool {
			t.Helper()
			if err := js.DeleteStream(t.Context(), jetstream.StreamName); err != nil {
				t.Error(err)
			}
			return true
		},
		"consumers deleted": func(t *testing.T, _ *testkit.NATSProcess, js natsjs.JetStream) bool {
			t.Helper()
			s, err := js.Stream(t.Context(), jetstream.StreamName)
			if err != nil {
				t.Fatal(err)
			}
			for name := range s.ConsumerNames(t.Context()).Name() {
				if err := s.DeleteConsumer(t.Context(), name); err != nil {
					t.Error(err)
				}
			}
			return false
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			servers := testkit.NATSProcesses(t, 1)
			b := dial(t, urls(servers...), jetstream.Config{})
			s := &sender{bus: b}
			s.upTo(t, 10)
			durable, fresh := consume(t, b, "durable", true), consume(t, b, "fresh", false)
			s.upTo(t, 2000)
			fresh.upTo(t, 2000)
			durable.upTo(t, 2000)
			js, err := natsjs.New(connect(t, urls(servers...)))
			if err != nil {
				t.Fatal(err)
			}
			lost := fault(t, servers[0], js)
			outage := s.upTo(t, 5000)
			fresh.upTo(t, 5000)
			durable.upTo(t, 5000)
			fresh.complete(t, 11, 5000)
			durable.complete(t, 1, 5000)
			if !lost {
				inOrder(t, stored(t, urls(servers...)), 5000)
			}
			t.Logf("no acknowledgement for %s, no event for %s", outage.Round(time.Millisecond), fresh.outage.Round(time.Millisecond))
		})
	}
}

// What a consumer had fetched and not acknowledged when its connection broke
// comes again. All of it is fetched: what is still in the client's buffer is
// handed out after the break, and the next Ack confirms what came before it.
func TestUnacknowledgedComesAgain(t *testing.T) {
	t.Parallel()
	servers := testkit.NATSProcesses(t, 1)
	b := dial(t, urls(servers...), jetstream.Config{})
	for _, kind := range []bool{true, false} {
		r := consume(t, b, fmt.Sprintf("durable-%t", kind), kind)
		s := &sender{bus: b}
		if !kind {
			s.sent = 100
		}
		s.upTo(t, s.sent+50)
		r.upTo(t, s.sent)
		s.upTo(t, s.sent+50)
		eventually(t, "the last of fifty events", func(ctx context.Context) error { // not acknowledged
			got, err := r.consumer.Fetch(ctx, 50, time.Second)
			if err == nil && (len(got) == 0 || got[len(got)-1].Position.Number != s.sent) {
				err = errors.New("not yet")
			}
			return err
		})
		servers[0].Kill(t)
		servers[0].Start(t)
		r.numbers = nil
		r.upTo(t, s.sent)
		r.complete(t, s.sent-49, s.sent)
	}
}

// A server that takes connections and answers nothing holds nobody beyond the
// deadline of the call.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	servers := testkit.NATSProcesses(t, 1)
	b := dial(t, urls(servers...), jetstream.Config{})
	s := &sender{bus: b}
	s.upTo(t, 100)
	r := consume(t, b, "fresh", false)
	servers[0].Pause(t)
	const deadline = time.Second
	within := func(what string, call func(ctx context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		began := time.Now()
		err := call(ctx)
		if took := time.Since(began); took > hang { // not a measurement
			t.Errorf("%s took %s with a deadline of %s", what, took, deadline)
		} else {
			t.Logf("%s: %v after %s", what, err, took.Round(time.Millisecond))
		}
	}
	large := make([]event.Event, 1024)
	for i := range large {
		large[i] = numbered(int64(101 + i))
		large[i].Data.Reason = strings.Repeat("x", 16<<10) // more than the sockets' buffers hold
	}
	within("publish", func(ctx context.Context) error {
		acked, err := b.Publish(ctx, large)
		if acked != 0 || err == nil {
			t.Errorf("%d events acknowledged by a silent server, %v", acked, err)
		}
		return err
	})
	within("announce", func(ctx context.Context) error { return b.Announce(ctx, event.Position{Epoch: 1, Number: 1}) })
	within("fetch", func(ctx context.Context) error {
		_, err := r.consumer.Fetch(ctx, 10, deadline)
		return err
	})
	eventually(t, "the connection to be given up", func(context.Context) error {
		if b.Disconnected() == nil {
			return errors.New("still connected")
		}
		return nil
	})
	if _, err := b.Publish(t.Context(), large); !errors.Is(err, jetstream.ErrDisconnected) {
		t.Errorf("publish: %v, want %v at once", err, jetstream.ErrDisconnected)
	}
	servers[0].Resume(t)
	s.upTo(t, 3000)
	r.upTo(t, 3000)
}

// The server's room is used up by somebody else: publishing says so, and goes
// on when there is room.
func TestServerFull(t *testing.T) {
	t.Parallel()
	servers := testkit.NATSProcesses(t, 1, "jetstream { store_dir: \"{{dir}}/jetstream\", max_file_store: 16MB }")
	b := dial(t, urls(servers...), jetstream.Config{MaxBytes: 8 << 20})
	s := &sender{bus: b}
	s.upTo(t, 100)
	js, err := natsjs.New(connect(t, urls(servers...)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), natsjs.StreamConfig{Name: "GREEDY", Subjects: []string{"greedy"}}); err != nil {
		t.Fatal(err)
	}
	for range 40 { // 512 kB each
		if _, err := js.Publish(t.Context(), "greedy", make([]byte, 512<<10)); err != nil {
			break
		}
	}
	acked, err := b.Publish(t.Context(), []event.Event{numbered(101)})
	if err == nil || acked != 0 || !strings.Contains(err.Error(), "insufficient resources") {
		t.Errorf("publish on a full server: %d, %v", acked, err)
	}
	if err := js.DeleteStream(t.Context(), "GREEDY"); err != nil {
		t.Fatal(err)
	}
	s.upTo(t, 1000)
	inOrder(t, stored(t, urls(servers...)), 1000)
}
