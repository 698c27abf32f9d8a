//go:build integration

package testkit_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/curfew-project/curfew/shared/testkit"
)

// A stream outlives a restart at the same address, and is the same one by
// either way of connecting.
func TestNATSKeepsStreamsThroughARestart(t *testing.T) {
	t.Parallel()
	n := testkit.NATS(t)
	ctx := t.Context()
	js, err := jetstream.New(n.Connect(t, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "kept.a", []byte("1")); err != nil {
		t.Fatal(err)
	}

	url := n.URL()
	n.Stop(t)
	if conn, err := nats.Connect(url); err == nil {
		conn.Close()
		t.Error("something answers after the stop")
	}
	n.Start(t)
	if n.URL() != url {
		t.Errorf("address after a restart: %s, want %s", n.URL(), url)
	}

	inProcess, err := jetstream.New(n.ConnectInProcess(t))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := inProcess.Stream(ctx, "KEPT")
	if err != nil {
		t.Fatal(err)
	}
	message, err := stream.GetMsg(ctx, 1)
	if err != nil || string(message.Data) != "1" {
		t.Errorf("message 1 after a restart: %v, %v", message, err)
	}
}

// natsHang bounds what a cluster must do in the end.
const natsHang = 3 * time.Minute

// natsEventually tries, a few seconds at a time, until it is done: a cluster
// without a leader does not answer.
func natsEventually(t *testing.T, what string, try func(ctx context.Context) error) {
	t.Helper()
	for end := time.Now().Add(natsHang); ; {
		bounded, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err := try(bounded)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s: %v", what, natsHang, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// whole demands that a stream has count messages on each of its servers, as its
// leader knows them.
func whole(ctx context.Context, js jetstream.JetStream, name string, count uint64) error {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return err
	}
	info := stream.CachedInfo()
	if info.State.Msgs < count {
		return fmt.Errorf("%d messages, want %d", info.State.Msgs, count)
	}
	if info.Cluster == nil || len(info.Cluster.Replicas) != info.Config.Replicas-1 {
		return fmt.Errorf("the stream does not know its servers: %+v", info.Cluster)
	}
	for _, r := range info.Cluster.Replicas {
		if !r.Current {
			return fmt.Errorf("the copy on %s is not current: %+v", r.Name, *r)
		}
	}
	return nil
}

// A cluster of processes chooses a leader for a stream of three replicas, loses
// one server to SIGKILL and one to silence, and has all messages when they are
// back. A wiped server gets its copy again; until then its vote elects nobody
// while another server is away.
func TestNATSProcesses(t *testing.T) {
	t.Parallel()
	servers := testkit.NATSProcesses(t, 3)
	conn, err := nats.Connect(testkit.NATSURLs(servers), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond),
		nats.PingInterval(2*time.Second)) // or a paused server is taken for a living one for minutes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	config := jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept.>"}, Replicas: 3}
	published := uint64(0) // the stream has more where an answer was lost
	publish := func() {
		t.Helper()
		natsEventually(t, "publish", func(ctx context.Context) error {
			_, err := js.CreateOrUpdateStream(ctx, config)
			if err == nil {
				_, err = js.Publish(ctx, "kept.a", []byte("1"))
			}
			return err
		})
		published++
	}
	copied := func() {
		t.Helper()
		natsEventually(t, "a copy on each server", func(ctx context.Context) error {
			return whole(ctx, js, config.Name, published)
		})
	}
	publish()
	copied()
	servers[0].Kill(t)
	publish()
	servers[0].Wipe(t)
	servers[0].Start(t)
	copied()
	publish()
	servers[1].Pause(t)
	publish()
	servers[1].Resume(t)
	copied()
	if names := servers[0].Name() + servers[1].Name() + servers[2].Name(); names != "n1n2n3" {
		t.Errorf("names are %s", names)
	}
}
