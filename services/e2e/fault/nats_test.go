//go:build e2e

package fault

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/curfew-project/curfew/services/internal/topology"
	bus "github.com/curfew-project/curfew/shared/bus/jetstream"
)

// TestNATS takes the event stream away, or what it holds. Nothing is lost with it
// (promise 6): requests are served, leases end on time, and the record is complete
// afterwards, from the store (D3, D5).
func TestNATS(t *testing.T) {
	if !distributed() {
		t.Skip("the stream of the one-machine form is within the process: TestEmbeddedStream")
	}
	w := open(t)
	n := newStreams(t, w)
	w.outages(t,
		outage{"nats: stream deleted", 10, 2 * time.Second, n.deleted},
		outage{"nats: killed", 5, 10 * time.Second, n.killed},
		outage{"nats: store wiped", 5, 5 * time.Second, n.wiped},
		outage{"nats: unreachable", 1, minutes, n.frozen(1)},
		outage{"nats: disk full", 1, 30 * time.Second, n.full},
	)
}

// TestNATSCluster takes the stream's leader, or the majority, from a cluster of
// three (D3: at the first missing acknowledgement everything from it on is sent
// again).
func TestNATSCluster(t *testing.T) {
	if !distributed() {
		t.Skip("the stream of the one-machine form is within the process: TestEmbeddedStream")
	}
	if !full() {
		t.Skip("make fault asks for it")
	}
	w := open(t, func(cfg *topology.Config) { cfg.Streams = 3 })
	n := newStreams(t, w)
	w.outages(t,
		outage{"nats: leader killed", 5, 12 * time.Second, n.leaderless(n.fleet.kill)},
		outage{"nats: leader unreachable", 2, 30 * time.Second, n.frozen(1)},
		outage{"nats: majority unreachable", 1, 30 * time.Second, n.frozen(2)},
	)
}

// streams are the servers of a fleet's event stream.
type streams struct {
	*world
	fleet *fleet
}

func newStreams(t *testing.T, w *world) *streams {
	t.Helper()
	f, ok := w.form.(*fleet)
	if !ok {
		t.Fatal("this form has no NATS")
	}
	return &streams{w, f}
}

// connect is a connection to any of these servers, for as long as the test lasts.
func connect(tb testing.TB, urls ...string) jetstream.JetStream {
	tb.Helper()
	conn, err := nats.Connect(strings.Join(urls, ","), nats.Timeout(answersWithin), nats.MaxReconnects(-1), nats.ReconnectWait(pace),
		nats.RetryOnFailedConnect(true)) // it may have been started just now
	must(tb, err, "connect to NATS")
	tb.Cleanup(conn.Close)
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(answersWithin))
	must(tb, err, "connect to JetStream")
	return js
}

// all are the URLs of the servers.
func (n *streams) all(t *testing.T) []string {
	t.Helper()
	return n.fleet.config(t, "revoker-1").NATS.Servers
}

// server is the URL of one of them by its part.
func (n *streams) server(t *testing.T, part string) string {
	t.Helper()
	i, err := strconv.Atoi(strings.TrimPrefix(part, "nats-"))
	must(t, err, "read the number of a server")
	return n.all(t)[i-1]
}

// info is what the servers say of the stream.
func info(js jetstream.JetStream) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(lasting(), answersWithin)
	defer cancel()
	s, err := js.Stream(ctx, bus.StreamName)
	if err != nil {
		return nil, err
	}
	return s.CachedInfo(), nil
}

// made is when the stream was made that is there.
func made(t *testing.T, js jetstream.JetStream) (at time.Time) {
	t.Helper()
	var err error
	if !soon(hang, func() bool {
		var i *jetstream.StreamInfo
		if i, err = info(js); err == nil {
			at = i.Created
		}
		return err == nil
	}) {
		must(t, err, "look at the stream")
	}
	return at
}

// anew is the effect of a stream that was lost: there is none, or another.
func anew(js jetstream.JetStream, was time.Time) func() error {
	return func() error {
		if i, err := info(js); err == nil && !i.Created.After(was) {
			return fmt.Errorf("the stream is still the one of %s", was)
		}
		return nil
	}
}

func (n *streams) deleted(t *testing.T) fault {
	t.Helper()
	js := connect(t, n.all(t)...)
	was := made(t, js)
	must(t, js.DeleteStream(t.Context(), bus.StreamName), "delete the stream")
	return fault{effect: anew(js, was), end: func() {}}
}

func (n *streams) killed(t *testing.T) fault {
	t.Helper()
	n.fleet.kill(t, "nats-1")
	return fault{effect: n.unpublished(t, "nats-1"), end: func() {}}
}

// wiped is a server that comes back without its data.
func (n *streams) wiped(t *testing.T) fault {
	t.Helper()
	js := connect(t, n.all(t)...)
	was := made(t, js)
	n.fleet.kill(t, "nats-1")
	must(t, os.RemoveAll(n.data("nats-1")), "remove the data of NATS")
	must(t, n.fleet.part(t, "nats-1").Start(t.Context()), "start NATS")
	return fault{effect: anew(js, was), end: func() {}}
}

// data is the folder of a server's streams.
func (n *streams) data(part string) string { return filepath.Join(n.fleet.Dir, "nats", part) }

// frozen makes the leader silent, and as many others as are asked for.
func (n *streams) frozen(count int) func(t *testing.T) fault {
	return func(t *testing.T) fault {
		t.Helper()
		names := n.fleet.named("nats-")
		first := n.leader(t)
		chosen := []string{first}
		for _, name := range names {
			if name != first && len(chosen) < count {
				chosen = append(chosen, name)
			}
		}
		thaw := n.fleet.freeze(t, chosen...)
		f := fault{effect: n.silent(t, chosen...), end: thaw}
		if 2*count > len(names) { // nothing can be published
			f.effect = n.unpublished(t, chosen...)
		}
		return f
	}
}

// leader is the part that leads the stream.
func (n *streams) leader(t *testing.T) (name string) {
	t.Helper()
	if len(n.all(t)) == 1 {
		return "nats-1"
	}
	js := connect(t, n.all(t)...)
	var err error
	if !soon(hang, func() bool {
		var i *jetstream.StreamInfo
		if i, err = info(js); err == nil && i.Cluster != nil {
			name = i.Cluster.Leader
		}
		return name != ""
	}) {
		t.Fatalf("the stream has no leader: %v", err)
	}
	return name
}

// leaderless takes the leader away in some way.
func (n *streams) leaderless(take func(testing.TB, ...string)) func(t *testing.T) fault {
	return func(t *testing.T) fault {
		t.Helper()
		name := n.leader(t)
		t.Logf("%s leads", name)
		take(t, name)
		return fault{
			effect: func() error {
				if err := n.silent(t, name)(); err != nil {
					return err
				}
				if now := n.leader(t); now == name {
					return fmt.Errorf("%s still leads", name)
				}
				return nil
			},
			end: func() {},
		}
	}
}

// silent is the effect of servers that do not answer.
func (n *streams) silent(t *testing.T, parts ...string) func() error {
	t.Helper()
	return func() error {
		for _, part := range parts {
			conn, err := nats.Connect(n.server(t, part), nats.Timeout(time.Second))
			if err == nil {
				conn.Close()
				return fmt.Errorf("%s answers", part)
			}
		}
		return nil
	}
}

// unpublished is the effect of servers without which nothing can be published:
// events gather in the store.
func (n *streams) unpublished(t *testing.T, parts ...string) func() error {
	t.Helper()
	silent := n.silent(t, parts...)
	gather := gathers(t, n.fleet.Monitors()[0])
	return func() error { return errors.Join(silent(), gather()) }
}

// gathers fails unless ever more events wait to be published, as a program tells
// at its monitor.
func gathers(t *testing.T, monitor string) func() error {
	t.Helper()
	before := 0.0
	return func() error {
		var now float64
		var err error
		if !soon(hang, func() bool {
			now, err = metric(monitor, "curfew_events_unpublished")
			return err == nil && now > before
		}) {
			return fmt.Errorf("%v events wait to be published, %v did before: %w", now, before, err)
		}
		t.Logf("%v events wait to be published", now)
		before = now
		return nil
	}
}

// metric is one without labels that a program tells at its monitor.
func metric(monitor, name string) (float64, error) {
	req, err := http.NewRequestWithContext(lasting(), http.MethodGet, monitor+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	res, err := (&http.Client{Timeout: hang}).Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }() // it was read
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), " "); ok && key == name {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("there is no %s", name)
}

// full gives the server a small disk of its own, which somebody else fills.
func (n *streams) full(t *testing.T) fault {
	t.Helper()
	part, dir := n.fleet.part(t, "nats-1"), n.data("nats-1")
	n.fleet.kill(t, "nats-1")
	disk := smallDisk(t, dir)
	must(t, part.Start(t.Context()), "start NATS")
	made(t, connect(t, n.all(t)...))
	disk.fill(t)
	gather := gathers(t, n.fleet.Monitors()[0])
	return fault{
		effect: func() error { return errors.Join(disk.isFull(), gather()) },
		end: func() {
			disk.clear(t)
			n.fleet.kill(t, "nats-1") // it has switched JetStream off, and says that it must be started again
		},
	}
}
