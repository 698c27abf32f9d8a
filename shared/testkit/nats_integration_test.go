//go:build integration

package testkit_test

import (
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
