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

// leader returns the server that leads the stream, and the others.
func leader(t *testing.T, servers []*testkit.NATSProcess) (first *testkit.NATSProcess, others []*testkit.NATSProcess) {
	t.Helper()
	js, err := natsjs.New(connect(t, testkit.NATSURLs(servers)))
	if err != nil {
		t.Fatal(err)
	}
	var name string
	eventually(t, "a leader", func(ctx context.Context) error {
		s, err := js.Stream(ctx, jetstream.StreamName)
		if err != nil {
			return err
		}
		if s.CachedInfo().Cluster == nil || s.CachedInfo().Cluster.Leader == "" {
			return errors.New("the stream has no leader")
		}
		name = s.CachedInfo().Cluster.Leader
		return nil
	})
	for _, n := range servers {
		if n.Name() == name {
			first = n
		} else {
			others = append(others, n)
		}
	}
	return first, others
}

func urls(servers ...*testkit.NATSProcess) string { return testkit.NATSURLs(servers) }

// D3: the leader is killed while events are published at full speed and read by
// two kinds of consumers. The publisher is connected to it, or to another
// server. Nothing acknowledged is lost, the stream holds every event once and
// in order, and everybody goes on.
func TestLeaderKilled(t *testing.T) {
	t.Parallel()
	for name, connected := range map[string]func(first *testkit.NATSProcess, others []*testkit.NATSProcess) string{
		"connected to it": func(first *testkit.NATSProcess, others []*testkit.NATSProcess) string {
			return urls(append([]*testkit.NATSProcess{first}, others...)...)
		},
		"connected to another": func(_ *testkit.NATSProcess, others []*testkit.NATSProcess) string { return urls(others...) },
	} {
		t.Run(name, func(t *testing.T) {
			servers := testkit.NATSProcesses(t, 3)
			cfg := jetstream.Config{Replicas: 3}
			first := dial(t, urls(servers...), cfg)
			eventually(t, "a first event", func(ctx context.Context) error {
				_, err := first.Publish(ctx, []event.Event{numbered(1)})
				return err
			})
			lead, others := leader(t, servers)
			b := dial(t, connected(lead, others), cfg)
			s := &sender{bus: b, sent: 1}
			durable, fresh := consume(t, b, "durable", true), consume(t, b, "fresh", false)

			const killAt, end = 4000, 40_000
			killed := make(chan struct{})
			go func() {
				defer close(killed)
				// Publishing is under way by then: the kill falls into a window of
				// unacknowledged events.
				eventually(t, "events to be under way", func(ctx context.Context) error {
					info, err := lastSequence(ctx, first)
					if err == nil && info < killAt {
						err = errors.New("not yet")
					}
					return err
				})
				lead.Kill(t)
			}()
			reading := make(chan struct{})
			go func() {
				defer close(reading)
				fresh.upTo(t, end)
			}()
			outage := s.upTo(t, end)
			<-killed
			durable.upTo(t, end)
			<-reading
			durable.complete(t, 1, end)
			fresh.complete(t, 2, end)
			inOrder(t, stored(t, urls(others...)), end)
			t.Logf("no acknowledgement for %s, no event for %s", outage.Round(time.Millisecond), fresh.outage.Round(time.Millisecond))

			lead.Start(t)
			s.upTo(t, end+1000)
			fresh.upTo(t, end+1000)
			fresh.complete(t, 2, end+1000)
		})
	}
}

// lastSequence counts what is stored.
func lastSequence(ctx context.Context, b *jetstream.Bus) (int64, error) {
	var n int64
	for _, err := range b.Replay(ctx, time.Time{}) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// Two of three servers are killed: nothing hangs, everything says so, and goes
// on when one of them is back.
func TestMajorityKilled(t *testing.T) {
	t.Parallel()
	servers := testkit.NATSProcesses(t, 3)
	b := dial(t, urls(servers...), jetstream.Config{Replicas: 3})
	s := &sender{bus: b}
	s.upTo(t, 1000)
	fresh := consume(t, b, "fresh", false)
	s.upTo(t, 2000)
	fresh.upTo(t, 2000)

	servers[0].Kill(t)
	servers[1].Kill(t)
	const deadline = 2 * time.Second
	for what, call := range map[string]func(ctx context.Context) error{
		"publish": func(ctx context.Context) error {
			_, err := b.Publish(ctx, []event.Event{numbered(2001)})
			return err
		},
		"consume": func(ctx context.Context) error {
			c, err := b.Consume(ctx, "another", false)
			if err == nil {
				err = c.Close()
			}
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		began := time.Now()
		err := call(ctx)
		took := time.Since(began)
		cancel()
		if err == nil {
			t.Errorf("%s succeeded without a majority", what)
		}
		if took > hang { // not a measurement
			t.Errorf("%s took %s with a deadline of %s", what, took, deadline)
		}
		t.Logf("%s: %v after %s", what, err, took.Round(time.Millisecond))
	}
	// The server that is left believes for ten seconds that it leads, and answers
	// so. Fetch has no error to tell if the consumer lives there.
	eventually(t, "the check to find that the majority is away", func(ctx context.Context) error {
		began := time.Now()
		got, err := fresh.consumer.Fetch(ctx, 10, 500*time.Millisecond)
		if took := time.Since(began); took > hang {
			t.Errorf("fetch took %s with a wait of 500 ms", took)
		}
		if len(got) > 0 {
			t.Errorf("%d events without a majority", len(got))
		}
		warnings := b.Check(ctx)
		if len(warnings) == 0 {
			return errors.New("all is well")
		}
		t.Logf("fetch: %v; check: %q", err, warnings)
		return nil
	})

	servers[0].Start(t)
	s.upTo(t, 3000)
	fresh.upTo(t, 3000)
	fresh.complete(t, 1001, 3000)
	inOrder(t, stored(t, urls(servers[0], servers[2])), 3000)
}

// Check names a server that crashed, whether or not it led the stream, long
// before the cluster itself calls it offline, and is content when it is back.
func TestCheckNamesACrashedServer(t *testing.T) {
	t.Parallel()
	servers := testkit.NATSProcesses(t, 3)
	b := dial(t, urls(servers...), jetstream.Config{Replicas: 3})
	s := &sender{bus: b}
	s.upTo(t, 100)
	says := func(want string) {
		t.Helper()
		eventually(t, fmt.Sprintf("the check to say %q", want), func(ctx context.Context) error {
			if got := strings.Join(b.Check(ctx), "\n"); got != want {
				return fmt.Errorf("it says %q", got)
			}
			return nil
		})
	}
	says("")
	lead, others := leader(t, servers)
	for _, crashed := range []*testkit.NATSProcess{others[0], lead} {
		crashed.Kill(t)
		says("nats: stream CURFEW_EVENTS: replica on server " + crashed.Name() + " is offline")
		crashed.Start(t)
		says("")
		s.upTo(t, s.sent+100)
	}
}

// A server that neither answers nor closes its connections (a black hole, a
// paused machine) is left for another one.
func TestSilentServerInACluster(t *testing.T) {
	t.Parallel()
	servers := testkit.NATSProcesses(t, 3)
	b := dial(t, urls(servers...), jetstream.Config{Replicas: 3})
	s := &sender{bus: b}
	s.upTo(t, 1000)
	lead, others := leader(t, servers)
	toIt := dial(t, urls(append([]*testkit.NATSProcess{lead}, others...)...), jetstream.Config{Replicas: 3})
	s.bus = toIt
	fresh := consume(t, toIt, "fresh", false)
	s.upTo(t, 2000)
	fresh.upTo(t, 2000)
	lead.Pause(t)
	outage := s.upTo(t, 10_000)
	fresh.upTo(t, 10_000)
	fresh.complete(t, 1001, 10_000)
	t.Logf("no acknowledgement for %s, no event for %s", outage.Round(time.Millisecond), fresh.outage.Round(time.Millisecond))
	lead.Resume(t)
	inOrder(t, stored(t, urls(others...)), 10_000)
}
