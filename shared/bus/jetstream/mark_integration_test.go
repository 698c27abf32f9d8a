//go:build integration

package jetstream_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/bus/jetstream"
	"github.com/curfew-project/curfew/shared/event"
)

func of(epoch, number int64) event.Event {
	return event.Event{Position: event.Position{Epoch: epoch, Number: number}, Type: event.LeaseCreated, Time: time.Now()}
}

// A7: how far the stream of a process has come is known without its server at
// every moment: what is sent next is marked before. Nothing of another
// installation's is taken, and nothing that is damaged.
func TestPublished(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const source = "/curfew/mine"
	wants := func(when string, want int64) {
		t.Helper()
		at, ok := jetstream.Published(dir, source)
		if ok != (want > 0) || at.Number != want {
			t.Errorf("%s: %s, %t; want %d", when, at, ok, want)
		}
	}
	wants("before the first start", 0)
	b, _, err := jetstream.Embed(t.Context(), jetstream.EmbedConfig{Dir: dir, Config: jetstream.Config{Source: source}})
	if err != nil {
		t.Fatal(err)
	}
	publish := func(numbers ...int64) {
		t.Helper()
		for _, n := range numbers {
			if _, err := b.Publish(t.Context(), []event.Event{of(1, n)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(1, 2)
	wants("of what was sent", 2)
	given, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := b.Publish(given, []event.Event{of(1, 1000)}); err == nil || n > 0 {
		t.Fatalf("a call that was given up published %d, %v", n, err)
	}
	publish(1000)
	wants("of a longer number", 1000)
	publish(3)
	wants("after one sent again", 1000)
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	wants("after the end", 1000)
	b, _, err = jetstream.Embed(t.Context(), jetstream.EmbedConfig{Dir: dir, Config: jetstream.Config{Source: source}})
	if err != nil {
		t.Fatal(err)
	}
	publish(999)
	wants("after one sent again since", 1000)
	if _, err := b.Publish(t.Context(), []event.Event{of(2, 3)}); err != nil {
		t.Fatal(err)
	}
	wants("of a shorter number", 3)
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if at, ok := jetstream.Published(dir, "/curfew/other"); ok {
		t.Errorf("of another installation: %s", at)
	}
	marks, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(marks) != 1 {
		t.Fatalf("marks %v, %v", marks, err)
	}
	if err := os.WriteFile(marks[0], []byte(`{"source":"/cur`), 0o600); err != nil {
		t.Fatal(err)
	}
	wants("of a torn file", 0)

	// One that cannot be kept is not left as it was.
	if err := errors.Join(os.Remove(marks[0]), os.Symlink("/dev/full", marks[0])); err != nil {
		t.Fatal(err)
	}
	b, _, err = jetstream.Embed(t.Context(), jetstream.EmbedConfig{Dir: dir, Config: jetstream.Config{Source: source}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close(context.Background()) }()
	publish(4)
	if _, err := os.Lstat(marks[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a mark that cannot be written is there: %v", err)
	}
}
