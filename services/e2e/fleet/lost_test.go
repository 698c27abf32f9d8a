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

	vault "github.com/hashicorp/vault/api"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/curfew-project/curfew/services/internal/topology"
)

// driftWithin is the promise: how long after a loss the index may differ from
// the store.
const driftWithin = 30 * time.Second

// dataLost takes what Redis and NATS hold away, under load and with leases that
// run out meanwhile. Nothing is missed and the record is complete (promise 6).
func dataLost(t *testing.T, f *fleet) {
	t.Helper()
	for _, loss := range []struct {
		name  string
		take  func(*testing.T)
		index bool // what is lost
	}{
		{"redis flushed", f.flush, true},
		{"redis back without its data", f.emptied, true},
		{"stream deleted", f.streamDeleted, false},
		{"consumers deleted", f.consumersDeleted, false},
		{"leader killed", f.leaderKilled, false},
	} {
		t.Run(loss.name, func(t *testing.T) {
			l := f.load(t, 4)
			c := f.client(t)
			soon := f.soon(t, c)
			var brief []credential
			for range 10 {
				brief = append(brief, f.brief(t, c))
			}
			repaired := f.repaired(t)
			loss.take(t)
			lost := time.Now()
			if loss.index {
				f.mended(t, repaired, lost)
			}
			l.more(t, 50)
			t.Logf("leases that ran out meanwhile were gone %v later", f.gone(t, brief).Round(time.Millisecond))
			if errors := l.stop(t); len(errors) > 0 {
				t.Errorf("%d requests failed", len(errors))
			}
			f.start(t)
			f.settled(t)
			for _, cred := range soon {
				f.release(t, c, cred, false)
			}
			f.check(t)
			disabled, gone := f.lags(t, brief)
			t.Logf("disabled after their time: %s; gone: %s", spread(disabled), spread(gone))
		})
	}
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

// soon issues leases that fall due within the minute that the index is compared
// for, but not before the test is over.
func (f *fleet) soon(t *testing.T, c *vault.Client) (all []credential) {
	t.Helper()
	must(t, f.target.role(c, "soon", 55*time.Second), "write role soon")
	for range 20 {
		cred, err := issue(t.Context(), c, "soon")
		must(t, err, "issue")
		f.book.note(func() { f.book.held[cred.user] = cred })
		all = append(all, cred)
	}
	return all
}

// repaired is how many leases the revokers have put back into the index.
func (f *fleet) repaired(t *testing.T) (n float64) {
	t.Helper()
	for _, revoker := range f.named("revoker-") {
		m, err := f.metrics(t, revoker)
		must(t, err, "read metrics")
		n += m["curfew_index_repaired_total"]
	}
	return n
}

// mended waits until the index has what was taken from it, and fails where that
// took longer than promised.
func (f *fleet) mended(t *testing.T, before float64, lost time.Time) {
	t.Helper()
	eventually(t, "leases are put back into the index", func() error {
		if f.repaired(t) == before {
			return errors.New("none was")
		}
		return nil
	})
	f.settled(t)
	took := time.Since(lost)
	t.Logf("the index has what it lost after %v", took.Round(time.Millisecond))
	if took > driftWithin {
		t.Errorf("that took longer than %v", driftWithin)
	}
}

// settled waits until every revoker finds nothing that the index lacks.
func (f *fleet) settled(t *testing.T) {
	t.Helper()
	for _, revoker := range f.named("revoker-") {
		eventually(t, "the index is what the store says", func() error {
			m, err := f.metrics(t, revoker)
			if err != nil {
				return err
			}
			drift, known := m["curfew_index_drift"]
			if !known || drift != 0 {
				return fmt.Errorf("the drift that %s tells is %v (known: %t)", revoker, drift, known)
			}
			return nil
		})
	}
}
