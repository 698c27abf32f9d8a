package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// D5: the lock has one holder; a second one is told so at once, and gets it with
// a higher fencing number when the first has gone.
func TestOneAppenderAtATime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := mustOpen(t, dir)
	_, err := Open(t.Context(), testConfig(dir))
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", os.Getpid())) {
		t.Fatalf("second open: %v", err)
	}
	mustAppend(t, first, 1, 1, 3) // the failed open did no harm
	mustClose(t, first)
	second := mustOpen(t, dir)
	if second.Fence() <= first.Fence() {
		t.Fatalf("fence went from %d to %d", first.Fence(), second.Fence())
	}
	mustAppend(t, second, 1, 4, 5)
	mustClose(t, second)
	report := checkSound(t, dir, second.Key())
	if got := report.Segments[0].Fence; got != second.Fence() {
		t.Fatalf("the checkpoint records fence %d, want %d", got, second.Fence())
	}
}

// D5: who has lost the lock writes and signs nothing more.
func TestFencedAppenderStops(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := mustOpen(t, dir)
	mustAppend(t, first, 1, 1, 3)
	if err := os.Remove(filepath.Join(dir, lockFileName)); err != nil {
		t.Fatal(err)
	}
	second := mustOpen(t, dir) // the removed lock file made this possible
	if second.Fence() <= first.Fence() {
		t.Fatalf("fence went from %d to %d without the lock file", first.Fence(), second.Fence())
	}
	mustAppend(t, second, 1, 4, 5)
	if last, err := first.Append(t.Context(), 1, 4, entryRange(1, 4, 9)); !errors.Is(err, ErrFenced) || last != 3 {
		t.Fatalf("the fenced appender appended: %d, %v", last, err)
	}
	if _, err := first.segments[1].publisher.plain().Sign([]byte("x")); !errors.Is(err, ErrFenced) {
		t.Fatalf("the fenced appender signed: %v", err)
	}
	if err := first.Close(t.Context()); !errors.Is(err, ErrFenced) {
		t.Fatalf("close of the fenced appender: %v", err)
	}
	mustClose(t, second)
	checkEntries(t, second.Reader, 1, 5)
	checkSound(t, dir, second.Key())
}

func TestStampedByAnotherIsFenced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := mustOpen(t, dir)
	mustAppend(t, l, 1, 1, 1)
	// A file system whose locks do not hold between machines.
	if err := os.WriteFile(filepath.Join(dir, lockFileName), []byte("fence 99\npid 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), 1, 2, entryRange(1, 2, 2)); !errors.Is(err, ErrFenced) {
		t.Fatalf("append: %v", err)
	}
}

func TestClosedLedgerRefuses(t *testing.T) {
	t.Parallel()
	l := mustOpen(t, t.TempDir())
	mustClose(t, l)
	mustClose(t, l)
	if _, err := l.Append(t.Context(), 1, 1, entryRange(1, 1, 1)); !errors.Is(err, ErrClosed) {
		t.Fatalf("append: %v", err)
	}
}
