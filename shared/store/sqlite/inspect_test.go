package sqlite_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store/sqlite"
)

// contents are the bytes of the files of a store, but for the index of the log,
// which holds no data.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range []string{"curfew.db", "curfew.db-wal"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		out[name] = string(text)
	}
	return out
}

// What a program has committed is seen, also what only the log has since the
// program was killed; nothing is changed, and nothing can be.
func TestInspect(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := sqlite.Open(t.Context(), dir, clock.System{}, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Append(t.Context(), event.Event{Type: event.SystemStarted}); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Inspect(t.Context(), dir, clock.System{}); !errors.Is(err, sqlite.ErrLocked) {
		t.Errorf("a store in use: %v, want ErrLocked", err)
	}
	killed := t.TempDir() // the files as a kill would leave them
	for name, text := range contents(t, dir) {
		if err := os.WriteFile(filepath.Join(killed, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"closed": dir, "killed": killed} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := contents(t, dir)
			if name == "killed" && before["curfew.db-wal"] == "" {
				t.Fatal("the log has nothing: this shows nothing")
			}
			s, err := sqlite.Inspect(t.Context(), dir, clock.System{})
			if err != nil {
				t.Fatal(err)
			}
			if n, err := s.Backlog(t.Context()); n != 1 || err != nil {
				t.Errorf("it has %d events, %v; want 1", n, err)
			}
			if err := s.Append(t.Context(), event.Event{}); !errors.Is(err, sqlite.ErrReadOnly) {
				t.Errorf("append: %v, want ErrReadOnly", err)
			}
			if _, _, err := s.Acquire(t.Context(), "a", "b", 1); !errors.Is(err, sqlite.ErrReadOnly) {
				t.Errorf("acquire: %v, want ErrReadOnly", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if after := contents(t, dir); after["curfew.db"] != before["curfew.db"] || after["curfew.db-wal"] != before["curfew.db-wal"] {
				t.Error("its files have changed")
			}
		})
	}
}

func TestInspectNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "none")
	if _, err := sqlite.Inspect(t.Context(), dir, clock.System{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no store: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("a store was made")
	}
}
