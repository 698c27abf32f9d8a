//go:build integration

package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/bus/jetstream"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/testkit"
)

// BenchmarkPublish measures acknowledged events a second, in batches as the
// publisher sends them, on one server and on a cluster of three.
func BenchmarkPublish(b *testing.B) {
	for _, servers := range []int{1, 3} {
		for _, batch := range []int{1, 64, 1024} {
			b.Run(fmt.Sprintf("replicas=%d/batch=%d", servers, batch), func(b *testing.B) {
				bus := benchBus(b, servers)
				events := make([]event.Event, batch)
				number := int64(1)
				for b.Loop() {
					for i := range events {
						number++
						events[i] = numbered(number)
					}
					if n, err := bus.Publish(b.Context(), events); n != batch {
						b.Fatalf("publish: %d of %d, %v", n, batch, err)
					}
				}
				b.ReportMetric(float64(batch)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
			})
		}
	}
}

// BenchmarkConsume measures events read and acknowledged a second.
func BenchmarkConsume(b *testing.B) {
	for _, servers := range []int{1, 3} {
		b.Run(fmt.Sprintf("replicas=%d", servers), func(b *testing.B) {
			bus := benchBus(b, servers)
			c, err := bus.Consume(b.Context(), "bench", false)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			events := make([]event.Event, 1024)
			number := int64(1)
			for b.Loop() {
				b.StopTimer()
				for i := range events {
					number++
					events[i] = numbered(number)
				}
				if n, err := bus.Publish(b.Context(), events); n != len(events) {
					b.Fatal(err)
				}
				b.StartTimer()
				for left := len(events); left > 0; {
					got, err := c.Fetch(b.Context(), 512, time.Second)
					if err != nil {
						b.Fatal(err)
					}
					left -= len(got)
					if err := c.Ack(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(len(events))*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func benchBus(b *testing.B, servers int) *jetstream.Bus {
	b.Helper()
	bus, err := jetstream.Dial(b.Context(), urls(testkit.NATSProcesses(b, servers)...), jetstream.Config{Replicas: servers})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = bus.Close(context.Background()) })
	ctx, cancel := context.WithTimeout(b.Context(), hang)
	defer cancel()
	for { // a cluster needs a moment to choose a leader
		n, err := bus.Publish(ctx, []event.Event{numbered(1)})
		if n == 1 {
			return bus
		}
		if ctx.Err() != nil {
			b.Fatal(errors.Join(ctx.Err(), err))
		}
	}
}
