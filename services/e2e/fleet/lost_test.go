//go:build e2e

package fleet

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/curfew-project/curfew/services/internal/topology"
)

// driftWithin is the promise: how long after a loss the index may differ from
// the store.
const driftWithin = 30 * time.Second

// TestLost takes what Redis and NATS hold away, under load and with leases that
// run out meanwhile. Nothing is missed and the record is complete (promise 6).
func TestLost(t *testing.T) {
	f := open(t)
	for _, loss := range []struct {
		name string
		take func(*testing.T)
	}{
		{"redis flushed", f.flush},
		{"redis back without its data", f.emptied},
		{"stream deleted", f.streamDeleted},
		{"consumers deleted", f.consumersDeleted},
		{"leader killed", f.leaderKilled},
	} {
		t.Run(loss.name, func(t *testing.T) {
			l := f.load(t, 4)
			c := f.client(t)
			var brief []credential
			for range 10 {
				brief = append(brief, f.brief(t, c))
			}
			loss.take(t)
			l.more(t, 50)
			t.Logf("leases that ran out meanwhile were gone %v later", f.gone(t, brief).Round(time.Millisecond))
			if errors := l.stop(t); len(errors) > 0 {
				t.Errorf("%d requests failed", len(errors))
			}
			f.start(t)
			f.settled(t)
			f.check(t)
			disabled, gone := f.lags(t, brief)
			t.Logf("disabled after their time: %s; gone: %s", spread(disabled), spread(gone))
		})
	}
	f.all(t)
}

// flush empties the index.
func (f *fleet) flush(t *testing.T) {
	t.Helper()
	conn, err := net.Dial("tcp", f.config(t, "revoker-1").Redis.Addresses[0])
	must(t, err, "connect to Redis")
	defer func() { _ = conn.Close() }() // nothing is buffered
	must(t, conn.SetDeadline(time.Now().Add(hang)), "set a deadline")
	_, err = conn.Write([]byte("FLUSHALL\r\n"))
	must(t, err, "flush Redis")
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || answer != "+OK\r\n" {
		t.Fatalf("flush Redis: %q, %v", answer, err)
	}
}

// emptied kills the primary and starts it without its data; its replica follows.
func (f *fleet) emptied(t *testing.T) {
	t.Helper()
	f.kill(t, topology.Index)
	primary, ok := f.part(t, topology.Index).(interface{ Dir() string })
	if !ok {
		t.Fatal("the index has no folder")
	}
	data := filepath.Join(primary.Dir(), "appendonlydir")
	_, err := os.Stat(data)
	must(t, err, "find the data of Redis")
	must(t, os.RemoveAll(data), "delete the data of Redis")
	f.start(t)
}

// jetstream is the API of the stream's servers.
func (f *fleet) jetstream(t *testing.T) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(strings.Join(f.config(t, "revoker-1").NATS.Servers, ","))
	must(t, err, "connect to NATS")
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	must(t, err, "connect to JetStream")
	return js
}

// streamName is the only one.
func (f *fleet) streamName(t *testing.T, js jetstream.JetStream) string {
	t.Helper()
	names := js.StreamNames(t.Context())
	var all []string
	for name := range names.Name() {
		all = append(all, name)
	}
	must(t, names.Err(), "list streams")
	if len(all) != 1 {
		t.Fatalf("the streams are %v, want one", all)
	}
	return all[0]
}

func (f *fleet) streamDeleted(t *testing.T) {
	t.Helper()
	js := f.jetstream(t)
	must(t, js.DeleteStream(t.Context(), f.streamName(t, js)), "delete the stream")
}

func (f *fleet) consumersDeleted(t *testing.T) {
	t.Helper()
	js := f.jetstream(t)
	stream, err := js.Stream(t.Context(), f.streamName(t, js))
	must(t, err, "find the stream")
	names := stream.ConsumerNames(t.Context())
	n := 0
	for name := range names.Name() {
		err := stream.DeleteConsumer(t.Context(), name)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			continue // its owner has made another
		}
		must(t, err, "delete consumer "+name)
		n++
	}
	must(t, names.Err(), "list consumers")
	if n == 0 {
		t.Error("the stream has no consumer to delete")
	}
}

func (f *fleet) leaderKilled(t *testing.T) {
	t.Helper()
	js := f.jetstream(t)
	stream, err := js.Stream(t.Context(), f.streamName(t, js))
	must(t, err, "find the stream")
	var leader string
	eventually(t, "the stream has a leader", func() error {
		info, err := stream.Info(t.Context())
		if err != nil {
			return err
		}
		if info.Cluster == nil || info.Cluster.Leader == "" {
			return errors.New("it has none")
		}
		leader = info.Cluster.Leader
		return nil
	})
	t.Logf("%s leads", leader)
	f.kill(t, leader)
}

// settled waits until the index is what the store says, where the revokers tell.
func (f *fleet) settled(t *testing.T) {
	t.Helper()
	const name = "curfew_index_drift"
	for _, revoker := range f.named("revoker-") {
		m, err := f.metrics(t, revoker)
		must(t, err, "read metrics")
		if _, told := m[name]; !told {
			t.Logf("%s does not tell %s", revoker, name)
			continue
		}
		took := eventually(t, "the index is what the store says", func() error {
			m, err := f.metrics(t, revoker)
			if err == nil && m[name] != 0 {
				err = fmt.Errorf("%s of %s is %v", name, revoker, m[name])
			}
			return err
		})
		t.Logf("%s of %s is 0 after %v", name, revoker, took.Round(time.Millisecond))
		if took > driftWithin {
			t.Errorf("that took longer than %v", driftWithin)
		}
	}
}
