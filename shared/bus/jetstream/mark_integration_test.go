//go:build integration

package jetstream_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/bus/jetstream"
	"github.com/curfew-project/curfew/shared/event"
)

// A7: how far the stream of a process has come is known without its server, after
// an announcement and after an orderly end; never more than it has, and nothing
// of another installation's.
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
			e := event.Event{Position: event.Position{Epoch: 1, Number: n}, Type: event.LeaseCreated, Time: time.Now()}
			if _, err := b.Publish(t.Context(), []event.Event{e}); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(1, 2)
	wants("before an announcement", 0)
	if err := b.Announce(t.Context(), event.Position{Epoch: 1, Number: 9}); err != nil { // of which 2 are published
		t.Fatal(err)
	}
	wants("after it", 2)
	publish(3, 2) // one again
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	wants("after the end", 3)
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
}
