package sqlite_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/sqlite"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// What a process had locked that was killed is free at once for the next, with
// another fence (D3).
func TestLocksEndWithTheirProcess(t *testing.T) {
	t.Parallel()
	dir, clk := t.TempDir(), storetest.NewClock()
	for fence := int64(1); fence < 4; fence++ {
		s, err := sqlite.Open(t.Context(), dir, clk, sqlite.Config{})
		if err != nil {
			t.Fatal(err)
		}
		owner := fmt.Sprint("process ", fence)
		l, ok, err := s.Acquire(t.Context(), "publisher", owner, time.Hour)
		if err != nil || !ok || l.Fence != fence {
			t.Errorf("%s got %+v, %v, %v; want fence %d", owner, l, ok, err, fence)
		}
		if _, ok, err := s.Acquire(t.Context(), "publisher", "another", time.Hour); ok || err != nil {
			t.Errorf("a lock that is held was given away: %v, %v", ok, err)
		}
		if err := s.Close(); err != nil { // which gives no lock back
			t.Fatal(err)
		}
	}
}

// The lock is given back also where somebody else has its file, as a child has
// between its fork and its exec.
func TestCloseGivesTheLockBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := sqlite.Open(t.Context(), dir, storetest.NewClock(), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	child, err := syscall.Dup(s.LockDescriptor())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(child) }()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir, storetest.NewClock())
}

// A6: a second one gets a lock error, and the first is not disturbed.
func TestASecondOpenIsLocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, storetest.NewClock())
	if _, err := sqlite.Open(t.Context(), dir, storetest.NewClock(), sqlite.Config{}); !errors.Is(err, sqlite.ErrLocked) {
		t.Errorf("a second Open: %v, want ErrLocked", err)
	}
	if out := s.Apply(t.Context(), begin("a/1")); out[0].Err != nil {
		t.Error(out[0].Err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if again := open(t, dir, storetest.NewClock()); !exists(t, again, "a/1") {
		t.Error("what was stored is gone")
	}
}

// Files are for their owner only, whatever the umask.
func TestFilesAreForTheirOwner(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data ü?&#%41")
	s := open(t, dir, storetest.NewClock())
	s.Apply(t.Context(), begin("a/1"))
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 3 { // database, log, lock
		t.Fatal(files, err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info.Mode(), err)
	}
}

// A5: the store's time does not go back over a restart, and goes on while the
// machine's clock is behind.
func TestTimeOverARestart(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), storetest.NewClock()
	s := open(t, dir, c)
	l := s.Apply(t.Context(), begin("a/1"))[0].Lease
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c.Advance(-time.Hour)
	s = open(t, dir, c)
	for range 3 {
		before, err := s.Now(t.Context())
		if err != nil || before.Before(l.IssuedAt) {
			t.Fatalf("now %s, the last commit was at %s, %v", before, l.IssuedAt, err)
		}
		c.Advance(time.Minute)
		if after, err := s.Now(t.Context()); err != nil || after.Sub(before) != time.Minute {
			t.Errorf("a minute later it is %s, before it was %s, %v", after, before, err)
		}
	}
}

// A disk that is full refuses; nothing was done, and nothing is broken.
func TestAFullDiskRefuses(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	if err := s.LimitPages(t.Context(), 60); err != nil {
		t.Fatal(err)
	}
	var refused error
	n := 0
	for ; refused == nil && n < 10_000; n++ {
		refused = s.Apply(t.Context(), begin(lease.ID(fmt.Sprintf("a/%d", n))))[0].Err
	}
	if !errors.Is(refused, store.ErrUnavailable) || errors.Is(refused, step.ErrFatal) || errors.Is(refused, store.ErrUnknown) {
		t.Fatalf("after %d: %v", n, refused)
	}
	if exists(t, s, lease.ID(fmt.Sprintf("a/%d", n-1))) || !exists(t, s, "a/0") {
		t.Error("what was refused is there, or what was stored is not")
	}
	if err := s.LimitPages(t.Context(), 1<<20); err != nil {
		t.Fatal(err)
	}
	if out := s.Apply(t.Context(), begin("b/1")); out[0].Err != nil {
		t.Errorf("with room again: %v", out[0].Err)
	}
	dense(t, s, n)
}

// A6: an item that does not fit fails alone; its neighbours do.
func TestWhatFitsIsStored(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	if err := s.LimitPages(t.Context(), 60); err != nil {
		t.Fatal(err)
	}
	huge := begin("a/huge")
	l := lease.Lease{Kind: lease.Secret, Plan: make([]byte, 1<<20)}
	huge.Change.Do = lease.Begin{Lease: l}
	for i, out := range s.Apply(t.Context(), begin("a/1"), huge, begin("a/2")) {
		if (out.Err != nil) != (i == 1) {
			t.Errorf("item %d: %v", i, out.Err)
		}
	}
	dense(t, s, 2)
}

// Close lets calls under way finish: each is done or refused, none is lost.
func TestCloseUnderLoad(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), storetest.NewClock()
	s := open(t, dir, c)
	var mu sync.Mutex
	done := map[lease.ID]bool{}
	started := make(chan struct{}, 1<<20)
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for n := range 200 {
				id := lease.ID(fmt.Sprintf("a/%d-%d", g, n))
				out := s.Apply(t.Context(), begin(id))
				_, readErr := s.Get(t.Context(), id)
				mu.Lock()
				done[id] = out[0].Err == nil
				mu.Unlock()
				started <- struct{}{}
				if out[0].Err != nil || readErr != nil {
					return
				}
			}
		})
	}
	for range 50 {
		<-started
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	s = open(t, dir, c)
	for id, want := range done {
		if exists(t, s, id) != want {
			t.Errorf("%s: acknowledged %v", id, want)
		}
	}
}

// Log: what is written goes to the database file now and then, so that the log
// stays small.
func TestTheLogStaysSmall(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, storetest.NewClock())
	for n := range 40 {
		var items []store.Transition
		for i := range 128 {
			items = append(items, begin(lease.ID(fmt.Sprintf("a/%d-%d", n, i))))
		}
		for _, out := range s.Apply(t.Context(), items...) {
			if out.Err != nil {
				t.Fatal(out.Err)
			}
		}
	}
	log, err := os.Stat(filepath.Join(dir, "curfew.db-wal"))
	if err != nil {
		t.Fatal(err)
	}
	if log.Size() > 8<<20 {
		t.Errorf("the log has %d bytes", log.Size())
	}
}

// Close waits for a commit that is under way.
func TestCloseWaits(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	committing, release := make(chan struct{}), make(chan struct{})
	s.BreakCommits(func(int) error {
		close(committing)
		<-release
		return nil
	}, nil)
	applied, closed := make(chan error, 1), make(chan error, 1)
	go func() { applied <- s.Apply(t.Context(), begin("a/1"))[0].Err }()
	<-committing
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		t.Errorf("Close returned in the middle of a commit: %v", err)
		closed <- err
	case <-time.After(200 * time.Millisecond): // a wrong Close would not take that long
	}
	close(release)
	if err := errors.Join(<-applied, <-closed); err != nil {
		t.Error(err)
	}
}
