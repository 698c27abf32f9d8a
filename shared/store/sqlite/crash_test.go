package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/sqlite"
)

// roleOfChild and dirOfChild tell a copy of this test program what to be.
const (
	roleOfChild = "CURFEW_TEST_CHILD"
	dirOfChild  = "CURFEW_TEST_DIR"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleOfChild) {
	case "load":
		childLoad(os.Getenv(dirOfChild))
		os.Exit(1) // it never ends by itself
	case "recovery":
		fmt.Fprintln(os.Stderr, childRecovery(os.Getenv(dirOfChild)))
		os.Exit(1) // it never ends by itself
	case "disk":
		os.Exit(childDisk(os.Getenv(dirOfChild)))
	}
	os.Exit(m.Run())
}

func child(t *testing.T, role, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), roleOfChild+"="+role, dirOfChild+"="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// childLoad changes leases from many goroutines for ever and says what was
// acknowledged, after it was.
func childLoad(dir string) {
	ctx := context.Background()
	s, err := sqlite.Open(ctx, dir, clock.System{}, sqlite.Config{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 24 {
		wg.Go(func() {
			for {
				l := lease.Lease{ID: lease.NewID("database/creds/a")}
				actions := []lease.Action{
					lease.Begin{Lease: lease.Lease{Kind: lease.Secret, TTL: time.Hour, Renewable: true, Account: "a"}, Grace: time.Minute},
					lease.Activate{},
					lease.Renew{},
					lease.Revoke{},
					lease.Finish{To: lease.Revoked},
				}
				for _, do := range actions {
					key := lease.RandomBase62(8)
					out := s.Apply(ctx, store.Transition{Change: lease.Change{ID: l.ID, Version: l.Version, Key: key, Do: do}})
					if out[0].Err != nil {
						fmt.Fprintln(os.Stderr, out[0].Err)
						return
					}
					l = out[0].Lease
					mu.Lock()
					fmt.Println(l.ID, l.Version, key)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
}

type acked struct {
	version int64
	key     string
}

// killUnderLoad runs the load until enough was acknowledged, then kills it.
func killUnderLoad(t *testing.T, dir string, enough int, known map[lease.ID]acked) {
	t.Helper()
	killAfter(t, "load", dir, enough, func(line string) {
		var id lease.ID
		var a acked
		if _, err := fmt.Sscan(line, &id, &a.version, &a.key); err != nil {
			return // the kill cut the last line
		}
		if a.version > known[id].version {
			known[id] = a
		}
	})
}

// killAfter runs a child until it has said enough lines, then kills it; each is
// told what it said.
func killAfter(t *testing.T, role, dir string, enough int, each func(line string)) {
	t.Helper()
	cmd := child(t, role, dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	n := 0
	for lines.Scan() {
		each(lines.Text())
		if n++; n == enough {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); n < enough || err == nil {
		t.Fatalf("the child ended by itself after %d lines: %v", n, err)
	}
}

// A6, durability: after kill -9 in the middle of a load, all that was
// acknowledged is there, with one event for each version, and numbers are dense.
func TestKilledUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	known := map[lease.ID]acked{}
	for round := range 3 {
		killUnderLoad(t, dir, 500, known)
		s := open(t, dir, clock.System{}) // at once: the lock died with its process
		stored := checkAcked(t, s, known)
		checkRecord(t, s, stored)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d: %d leases acknowledged, %d stored", round, len(known), len(stored))
	}
}

func checkAcked(t *testing.T, s *sqlite.Store, known map[lease.ID]acked) map[lease.ID]int64 {
	t.Helper()
	for id, a := range known {
		l, err := s.Get(t.Context(), id)
		if err != nil || l.Version < a.version || l.Version == a.version && l.LastKey != a.key {
			t.Errorf("%s: acknowledged was version %d by %s; stored is %d by %s, %v", id, a.version, a.key, l.Version, l.LastKey, err)
		}
	}
	stored := map[lease.ID]int64{}
	q := store.Query{Prefix: "database/"}
	for {
		page, err := s.Find(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return stored
		}
		for _, l := range page {
			stored[l.ID] = l.Version
		}
		q.After = page[len(page)-1].ID
	}
}

func checkRecord(t *testing.T, s *sqlite.Store, stored map[lease.ID]int64) {
	t.Helper()
	lock, ok, err := s.Acquire(t.Context(), "publisher", "test", time.Hour)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if _, _, err := s.Number(t.Context(), lock, 1<<30); err != nil {
		t.Fatal(err)
	}
	all, err := s.Events(t.Context(), event.Position{}, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	versions := map[lease.ID]int64{}
	for i, e := range all {
		if e.Position.Number != int64(i)+1 {
			t.Fatalf("event %d has number %d", i, e.Position.Number)
		}
		if e.Data.Version != versions[e.Data.LeaseID]+1 {
			t.Errorf("event %s is version %d after %d", e.Position, e.Data.Version, versions[e.Data.LeaseID])
		}
		versions[e.Data.LeaseID] = e.Data.Version
	}
	for id, v := range stored {
		if versions[id] != v {
			t.Errorf("%s has version %d, its last event %d", id, v, versions[id])
		}
	}
	if len(versions) != len(stored) {
		t.Errorf("%d leases have events, %d are stored", len(versions), len(stored))
	}
}

// childDisk makes the disk fail for real: writes beyond a file size limit end
// with EFBIG, which SQLite reports as SQLITE_IOERR_WRITE.
func childDisk(dir string) int {
	signal.Ignore(syscall.SIGXFSZ)
	ctx := context.Background()
	s, err := sqlite.Open(ctx, dir, clock.System{}, sqlite.Config{})
	if err != nil {
		fmt.Println("open:", err)
		return 1
	}
	limit := func(size uint64) {
		var l syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
			panic(err)
		}
		l.Cur = min(size, l.Max)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
			panic(err)
		}
	}
	limit(256 << 10)
	var failed error
	for n := 0; failed == nil && n < 10_000; n++ {
		id := lease.ID(fmt.Sprintf("a/%d", n))
		if failed = s.Apply(ctx, begin(id))[0].Err; failed == nil {
			fmt.Println("acked", id)
		}
	}
	limit(1 << 62) // the disk is well again: the store must not believe it
	select {
	case <-s.Fatal():
	default:
		fmt.Println("Fatal was not closed")
		return 1
	}
	_, getErr := s.Get(ctx, "a/0")
	_, nowErr := s.Now(ctx)
	_, writeErr := s.Write(ctx, store.Write{})
	for name, err := range map[string]error{
		"failing": failed, "Apply": s.Apply(ctx, begin("b/1"))[0].Err, "Get": getErr, "Now": nowErr, "Write": writeErr,
	} {
		if !errors.Is(err, step.ErrFatal) {
			fmt.Println(name, "is not fatal:", err)
			return 1
		}
	}
	if !errors.Is(failed, store.ErrUnknown) {
		fmt.Println("the outcome is said to be known:", failed)
		return 1
	}
	fmt.Println("poisoned")
	return 0
}

// A6: an I/O error ends all trust in the disk; what was acknowledged is there
// after a restart.
func TestAnIOErrorIsFatal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out, err := child(t, "disk", dir).Output()
	if err != nil || !strings.Contains(string(out), "poisoned") {
		t.Fatalf("%v\n%s", err, out)
	}
	s := open(t, dir, clock.System{})
	n := 0
	for line := range strings.Lines(string(out)) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "acked "); ok {
			if n++; !exists(t, s, lease.ID(id)) {
				t.Errorf("%s was acknowledged and is gone", id)
			}
		}
	}
	if n == 0 {
		t.Error("nothing was acknowledged before the error")
	}
}
