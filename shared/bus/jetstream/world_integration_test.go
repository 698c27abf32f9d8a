//go:build integration

package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/bus/bustest"
	"github.com/curfew-project/curfew/shared/bus/jetstream"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/testkit"
)

// hang bounds every wait for something that must happen.
const hang = 3 * time.Minute

func TestMain(m *testing.M) {
	testkit.Main(m)
	// The kit waits for ^C as long as the process lives.
	if err := goleak.Find(goleak.IgnoreAnyFunction("github.com/curfew-project/curfew/shared/testkit.endOn")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func dial(t *testing.T, urls string, cfg jetstream.Config) *jetstream.Bus {
	t.Helper()
	b, err := jetstream.Dial(t.Context(), urls, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBus(t, b) })
	return b
}

func closeBus(t *testing.T, b *jetstream.Bus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
}

func numbered(n int64) event.Event {
	return event.Event{
		Position: event.Position{Epoch: 1, Number: n}, Type: event.LeaseRevoked, Time: time.Unix(1_800_000_000, 0),
		Subject: "database/creds/r/x",
		Data:    event.Data{Mount: "database/", LeaseID: lease.ID(fmt.Sprintf("database/creds/r/%d", n)), Version: n},
	}
}

// eventually tries until it is done; the last error is shown if it hangs.
func eventually(t *testing.T, what string, try func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, hang, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// sender is a publisher as package publish is: at the first missing
// acknowledgement everything from it on is sent again.
type sender struct {
	bus  *jetstream.Bus
	sent int64
}

// upTo publishes until event n is acknowledged, and returns how long the
// longest time without an acknowledgement was.
func (s *sender) upTo(t *testing.T, n int64) (outage time.Duration) {
	t.Helper()
	last := time.Now()
	eventually(t, fmt.Sprintf("publishing up to %d", n), func(ctx context.Context) error {
		for s.sent < n {
			batch := make([]event.Event, 0, 1024)
			for k := s.sent + 1; k <= n && len(batch) < cap(batch); k++ {
				batch = append(batch, numbered(k))
			}
			acked, err := s.bus.Publish(ctx, batch)
			if acked > 0 {
				outage = max(outage, time.Since(last))
				last = time.Now()
			}
			s.sent += int64(acked)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return outage
}

// receiver reads events and notes their numbers.
type receiver struct {
	consumer bus.Consumer
	numbers  []int64
	outage   time.Duration // longest time between two batches
}

// upTo reads until event n has come.
func (r *receiver) upTo(t *testing.T, n int64) {
	t.Helper()
	last := time.Now()
	eventually(t, fmt.Sprintf("reading up to %d", n), func(ctx context.Context) error {
		for !slices.Contains(r.numbers, n) {
			got, err := r.consumer.Fetch(ctx, 500, time.Second)
			if err != nil {
				return err
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if len(got) == 0 {
				continue
			}
			r.outage = max(r.outage, time.Since(last))
			last = time.Now()
			for _, e := range got {
				r.numbers = append(r.numbers, e.Position.Number)
			}
			if err := r.consumer.Ack(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// complete demands that each of from..to has come. (At least once.)
func (r *receiver) complete(t *testing.T, from, to int64) {
	t.Helper()
	seen := map[int64]bool{}
	for _, n := range r.numbers {
		seen[n] = true
	}
	for n := from; n <= to; n++ {
		if !seen[n] {
			t.Errorf("event %d of %d to %d never came (%d came)", n, from, to, len(seen))
			return
		}
	}
}

func consume(t *testing.T, b *jetstream.Bus, name string, durable bool) *receiver {
	t.Helper()
	r := &receiver{}
	eventually(t, "opening a consumer", func(ctx context.Context) (err error) {
		r.consumer, err = b.Consume(ctx, name, durable)
		return err
	})
	t.Cleanup(func() {
		if err := r.consumer.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// stored reads the numbers in the stream as it is, by way of another library
// call than the consumers'.
func stored(t *testing.T, url string) (numbers []int64) {
	t.Helper()
	js, err := natsjs.New(connect(t, url))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "reading the whole stream", func(ctx context.Context) error {
		numbers = numbers[:0]
		s, err := js.Stream(ctx, jetstream.StreamName)
		if err != nil {
			return err
		}
		c, err := s.CreateConsumer(ctx, natsjs.ConsumerConfig{AckPolicy: natsjs.AckNonePolicy, InactiveThreshold: hang})
		if err != nil {
			return err
		}
		messages, err := c.Messages()
		if err != nil {
			return err
		}
		defer messages.Stop()
		for left := s.CachedInfo().State.Msgs; left > 0; left-- {
			m, err := messages.Next(natsjs.NextMaxWait(10 * time.Second))
			if err != nil {
				return err
			}
			p, err := event.ParsePosition(m.Headers().Get("ce-id"))
			if err != nil {
				return err
			}
			numbers = append(numbers, p.Number)
		}
		return nil
	})
	return numbers
}

// inOrder demands that the stream holds each of 1..n once and in order.
func inOrder(t *testing.T, numbers []int64, n int64) {
	t.Helper()
	for i, got := range numbers {
		if got != int64(i+1) {
			t.Errorf("message %d of the stream is event %d (D3: in order, once)", i+1, got)
			return
		}
	}
	if int64(len(numbers)) != n {
		t.Errorf("the stream holds %d events, want %d", len(numbers), n)
	}
}

func connect(t *testing.T, url string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// deleted deletes the stream. An answer may have been lost: none is fine.
func deleted(ctx context.Context, b *jetstream.Bus) error {
	if err := b.Delete(ctx); !errors.Is(err, natsjs.ErrStreamNotFound) {
		return err
	}
	return nil
}

// subject is b under a law, whose stream is deleted by way of behind.
func subject(t *testing.T, b bus.Bus, behind *jetstream.Bus) bustest.Subject {
	t.Helper()
	return bustest.Subject{Bus: b, Delete: func() error {
		eventually(t, "the deletion of the stream", func(ctx context.Context) error { return deleted(ctx, behind) })
		return nil
	}}
}

// The laws hold on an external server, and on a cluster of three with three
// replicas.
func TestContractOfExternalServers(t *testing.T) {
	t.Parallel()
	for _, count := range []int{1, 3} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			t.Parallel()
			servers := testkit.NATSProcesses(t, count)
			b := dial(t, urls(servers...), jetstream.Config{Replicas: count})
			for _, law := range bustest.Laws() {
				t.Run(law.Name, func(t *testing.T) { // one after the other: they share the stream
					eventually(t, "an empty stream", func(ctx context.Context) error {
						if err := deleted(ctx, b); err != nil {
							return err
						}
						c, err := b.Consume(ctx, "probe", false)
						if err != nil {
							return err
						}
						if err := c.Close(); err != nil {
							return err
						}
						// The server removes files behind the answer, and a stream that is
						// made at once may find the old messages.
						for e, err := range b.Replay(ctx, time.Time{}) {
							if err != nil {
								return err
							}
							return fmt.Errorf("event %s is still there", e.Position)
						}
						return nil
					})
					s := subject(t, b, b)
					s.Replicated = count > 1
					law.Check(t, s)
				})
			}
		})
	}
}
