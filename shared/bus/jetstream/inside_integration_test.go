//go:build integration

package jetstream

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/secret"
)

// A server inside the process that stores nothing any more, as after a write that
// its disk refused, is started anew: events go on, consumers and subscribers find
// it again (D3, promise 6).
func TestStartedAnew(t *testing.T) {
	t.Parallel()
	const password = "subscriber-password"
	b, url, err := Embed(t.Context(), EmbedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Subscriber: secret.New(password)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	event := func(n int64) []event.Event {
		return []event.Event{{Position: event.Position{Epoch: 1, Number: n}, Type: event.LeaseCreated, Time: time.Now()}}
	}
	if _, err := b.Publish(t.Context(), event(1)); err != nil {
		t.Fatal(err)
	}
	c, err := b.Consume(t.Context(), "reader", true)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	read := func(want int64) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; {
			got, err := c.Fetch(t.Context(), 10, time.Second)
			if len(got) > 0 && got[len(got)-1].Position.Number == want {
				if err := c.Ack(t.Context()); err != nil {
					t.Fatal(err)
				}
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("event %d does not come: %v, %v", want, got, err)
			}
		}
	}
	read(1)
	if err := b.inside.srv.ShutdownJetStream(); err != nil {
		t.Fatal(err)
	}
	tries := 0
	for deadline := time.Now().Add(time.Minute); ; tries++ {
		_, err := b.Publish(t.Context(), event(2))
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing is published after %d tries: %v", tries, err)
		}
	}
	if tries < failures {
		t.Errorf("it was given up after %d failures, want %d", tries, failures)
	}
	read(2)
	nc, err := nats.Connect(url, nats.UserInfo(SubscriberUser, password))
	if err != nil {
		t.Fatalf("subscribers do not find it again: %v", err)
	}
	nc.Close()
	// A bus that is closed stays so.
	if err := errors.Join(b.Close(t.Context()), b.inside.restart(t.Context())); !errors.Is(err, errAbsent) {
		t.Errorf("after the end it was started: %v", err)
	}
}

// A stream that cannot be made keeps nothing from starting, and is made once it
// can be (promise 6).
func TestStartsWithoutStream(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	streams := filepath.Join(dir, "jetstream", "$G", "streams")
	if err := os.MkdirAll(streams, 0o700); err != nil {
		t.Fatal(err)
	}
	obstacle := filepath.Join(streams, StreamName)
	if err := os.WriteFile(obstacle, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b, _, err := Embed(t.Context(), EmbedConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	events := []event.Event{{Position: event.Position{Epoch: 1, Number: 1}, Type: event.LeaseCreated, Time: time.Now()}}
	b.mu.Lock()
	problem := b.problem
	b.mu.Unlock()
	if problem == nil {
		t.Fatal("the stream was made")
	}
	if err := os.Remove(obstacle); err != nil && !errors.Is(err, os.ErrNotExist) { // the server tidies up
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		_, err := b.Publish(t.Context(), events)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the stream is not made: %v", err)
		}
	}
}
