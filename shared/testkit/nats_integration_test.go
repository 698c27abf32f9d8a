//go:build integration

package testkit_test

import (
	"context"
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

// A cluster of processes chooses a leader for a stream of three replicas, loses
// one server to SIGKILL and one to silence, and has all messages when they are
// back. A wiped server gets its copy again.
func TestNATSProcesses(t *testing.T) {
	t.Parallel()
	servers := testkit.NATSProcesses(t, 3)
	ctx := t.Context()
	conn, err := nats.Connect(testkit.NATSURLs(servers), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	config := jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept.>"}, Replicas: 3}
	published := uint64(0)
	publish := func() {
		t.Helper()
		hang := time.Now().Add(time.Minute)
		for {
			bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
			_, err := js.CreateOrUpdateStream(bounded, config)
			if err == nil {
				_, err = js.Publish(bounded, "kept.a", []byte("1"))
			}
			cancel()
			if err == nil {
				published++
				return
			}
			if time.Now().After(hang) {
				t.Fatalf("publish: %v", err)
			}
		}
	}
	publish()
	servers[0].Kill(t)
	publish()
	servers[0].Wipe(t)
	servers[0].Start(t)
	publish()
	servers[1].Pause(t)
	publish()
	servers[1].Resume(t)
	stream, err := js.Stream(ctx, "KEPT")
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().State.Msgs; got < published { // more where an answer was lost
		t.Errorf("%d messages, want %d", got, published)
	}
	if names := servers[0].Name() + servers[1].Name() + servers[2].Name(); names != "n1n2n3" {
		t.Errorf("names are %s", names)
	}
}
