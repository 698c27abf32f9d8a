package server

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/shared/clock"
	doubt "github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/sqlite"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// A home differs where machine, directory or file do; what one of the two does
// not know is no difference.
func TestMoved(t *testing.T) {
	t.Parallel()
	base := home{Machine: "m", Directory: place{1, 10}, Database: place{2, 20}}
	for name, c := range map[string]struct {
		change func(*home)
		want   string
	}{
		"the same":            {func(*home) {}, ""},
		"machine":             {func(h *home) { h.Machine = "n" }, "on another machine"},
		"machine is not told": {func(h *home) { h.Machine = "" }, ""},
		"directory":           {func(h *home) { h.Directory.Inode = 3 }, "in another directory"},
		"file":                {func(h *home) { h.Database.Inode = 3 }, "in another file"},
		"inode used again":    {func(h *home) { h.Database.Born = 21 }, "in another file"},
		"birth is not told":   {func(h *home) { h.Directory.Born, h.Database.Born = 0, 0 }, ""},
		"all of it":           {func(h *home) { *h = home{"n", place{3, 10}, place{4, 20}} }, "on another machine, in another directory, in another file"},
	} {
		now := base
		c.change(&now)
		if got := now.movedFrom(base); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if got := base.movedFrom(now); got != c.want {
			t.Errorf("%s, the other way: %q, want %q", name, got, c.want)
		}
	}
}

// tree makes a data directory with a store's file.
func tree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(dir, "store"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, databaseFile), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// copyTree copies as an operator does, with owners, modes and times.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy %s: %v\n%s", from, err, out)
	}
}

func look(t *testing.T, dir, machine string) home {
	t.Helper()
	h, err := homeOf(dir, machine)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// On a real file system: what is written to and renamed stays at home, what is
// copied does not.
func TestHomeOf(t *testing.T) {
	t.Parallel()
	dir := tree(t)
	machine := filepath.Join(t.TempDir(), "machine-id")
	before := look(t, dir, machine)
	if before.Machine != "" || before.Directory.Inode == 0 || before.Database.Inode == 0 {
		t.Fatalf("home %+v", before)
	}
	if err := os.WriteFile(machine, []byte("abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if h := look(t, dir, machine); h.Machine != "abc" || h.movedFrom(before) != "" {
		t.Errorf("home %+v", h)
	}
	if err := os.WriteFile(filepath.Join(dir, databaseFile), []byte("more"), 0o600); err != nil {
		t.Fatal(err)
	}
	renamed := filepath.Join(t.TempDir(), "renamed")
	if err := os.Rename(dir, renamed); err != nil {
		t.Fatal(err)
	}
	h := look(t, renamed, machine)
	if ways := h.movedFrom(before); ways != "" {
		t.Errorf("written to and renamed, it is %s", ways)
	}
	copied := filepath.Join(t.TempDir(), "copied")
	copyTree(t, renamed, copied)
	h = look(t, copied, machine)
	if ways := h.movedFrom(before); ways != "in another directory, in another file" {
		t.Errorf("copied, it is %q", ways)
	}
	if _, err := homeOf(filepath.Join(copied, "nowhere"), machine); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of a directory that is not there: %v", err)
	}
}

// One move raises one doubt, whatever fails on the way; the first start of an
// installation raises none (B3).
func TestMoveRaisesOneDoubt(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	fake := storetest.NewFake(storetest.NewClock())
	s := storetest.NewFaulty(fake)
	doubts := func() []string {
		t.Helper()
		reasons, err := doubt.Current(ctx, fake)
		if err != nil {
			t.Fatal(err)
		}
		return reasons
	}
	check := func(h home, want error) {
		t.Helper()
		if err := checkHome(ctx, s, h); !errors.Is(err, want) {
			t.Fatalf("check: %v, want %v", err, want)
		}
	}
	first, second := home{Directory: place{1, 10}}, home{Directory: place{2, 20}}
	check(first, nil)
	if got := doubts(); len(got) != 0 {
		t.Fatalf("the first start doubts: %q", got)
	}
	s.Break()
	check(first, nil)
	if n := s.Calls("Write"); n != 0 {
		t.Errorf("a restart in the same place made %d commits", n)
	}

	s.Break(storetest.Fault{Method: "Write"})
	check(second, storetest.ErrInjected)
	if got := doubts(); len(got) != 0 {
		t.Fatalf("what was not committed is there: %q", got)
	}
	s.Break(storetest.Fault{Method: "Write", Done: true})
	check(second, storetest.ErrInjected)
	s.Break()
	check(second, nil)
	if got := doubts(); len(got) != 1 || !strings.Contains(got[0], "in another directory") {
		t.Fatalf("doubts %q", got)
	}
	if _, err := doubt.Confirm(ctx, fake, lease.System("system:test")); err != nil {
		t.Fatal(err)
	}
	check(second, nil)
	if got := doubts(); len(got) != 0 {
		t.Fatalf("what was confirmed is doubted again: %q", got)
	}
	check(first, nil) // moved back
	if got := doubts(); len(got) != 1 {
		t.Fatalf("doubts %q", got)
	}
}

// A commit that meets another's change is made anew.
func TestMoveMeetsAnotherChange(t *testing.T) {
	t.Parallel()
	fake := storetest.NewFake(storetest.NewClock())
	if err := checkHome(t.Context(), fake, home{Directory: place{1, 0}}); err != nil {
		t.Fatal(err)
	}
	meeting := &meeting{Entries: fake, change: func() error { return doubt.Raise(t.Context(), fake, "restored") }}
	if err := checkHome(t.Context(), meeting, home{Directory: place{2, 0}}); err != nil {
		t.Fatal(err)
	}
	got, err := doubt.Current(t.Context(), fake)
	if err != nil || len(got) != 2 || !slices.Contains(got, "restored") {
		t.Errorf("doubts %q, %v", got, err)
	}
}

// meeting makes another change before the first commit.
type meeting struct {
	store.Entries
	change func() error
}

func (m *meeting) Write(ctx context.Context, w store.Write) ([]store.Entry, error) {
	if change := m.change; change != nil {
		m.change = nil
		if err := change(); err != nil {
			return nil, err
		}
	}
	return m.Entries.Write(ctx, w)
}

// A server whose data directory was copied doubts; the original does not.
func TestCopiedDirectory(t *testing.T) {
	t.Parallel()
	c := configuration(t)
	doubts := func(dir string) []string {
		t.Helper()
		s, err := sqlite.Open(t.Context(), filepath.Join(dir, "store"), clock.System{}, sqlite.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		reasons, err := doubt.Current(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		return reasons
	}
	for range 2 {
		_, stop := run(t, c)
		stop()
		if got := doubts(c.DataDir); len(got) != 0 {
			t.Errorf("a restart doubts: %q", got)
		}
	}
	copied := c
	copied.DataDir = filepath.Join(t.TempDir(), "copied")
	copied.KeyFile = ""
	copyTree(t, c.DataDir, copied.DataDir)
	if err := copied.Finish(config.Server); err != nil {
		t.Fatal(err)
	}
	_, stop := run(t, copied)
	stop()
	if got := doubts(copied.DataDir); len(got) != 1 || !strings.Contains(got[0], "in another directory, in another file") {
		t.Errorf("the copy's doubts: %q", got)
	}
	_, stop = run(t, c)
	stop()
	if got := doubts(c.DataDir); len(got) != 0 {
		t.Errorf("the original doubts: %q", got)
	}
}
