package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// D5: the appender appends only the next and drops smaller; "next" is read from
// the log at start. Whatever the calls and restarts, the log is 1..n in order.
func TestAppendKeepsOrderOverRestarts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		l := mustOpen(t, dir)
		last := map[int64]int64{1: 0, 2: 0}
		for range rapid.IntRange(1, 6).Draw(rt, "calls") {
			epoch := rapid.Int64Range(1, 2).Draw(rt, "epoch")
			from := rapid.Int64Range(max(1, last[epoch]-300), last[epoch]+2).Draw(rt, "from")
			to := from + rapid.Int64Range(-1, 600).Draw(rt, "count")
			got, err := l.Append(t.Context(), epoch, from, entryRange(epoch, from, to))
			var gap *GapError
			switch {
			case from > last[epoch]+1:
				if !errors.As(err, &gap) || gap.Want != last[epoch]+1 || gap.Got != from || gap.Epoch != epoch {
					rt.Fatalf("append from %d after %d: %v, want a gap", from, last[epoch], err)
				}
			case err != nil:
				rt.Fatal(err)
			default:
				last[epoch] = max(last[epoch], to)
			}
			if got != last[epoch] {
				rt.Fatalf("last durable is %d, want %d", got, last[epoch])
			}
			if rapid.IntRange(0, 5).Draw(rt, "restart") == 0 {
				mustClose(t, l)
				l = mustOpen(t, dir)
			}
			if next, err := l.Next(t.Context(), epoch); err != nil || next != last[epoch]+1 {
				rt.Fatalf("next is %d (%v), want %d", next, err, last[epoch]+1)
			}
		}
		mustClose(t, l)
		for epoch, n := range last {
			checkEntries(t, l.Reader, epoch, n)
		}
		checkSound(t, dir, l.Key())
	})
}

func TestNextOfAnEpochThatHasNoSegment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := mustOpen(t, dir)
	if next, err := l.Next(t.Context(), 7); err != nil || next != 1 {
		t.Fatalf("next is %d, %v", next, err)
	}
	if epochs, err := l.Epochs(); err != nil || len(epochs) != 0 {
		t.Fatalf("asking for next made segments %v, %v", epochs, err)
	}
	if _, err := l.Checkpoint(7); !errors.Is(err, ErrNoSegment) {
		t.Fatalf("checkpoint: %v", err)
	}
	for e, err := range l.Entries(t.Context(), 7, 1, 10) {
		t.Fatalf("entry %v out of nowhere, %v", e, err)
	}
}

func TestAppendRefusesWhatCannotBeAnEntry(t *testing.T) {
	t.Parallel()
	l := mustOpen(t, t.TempDir())
	for _, c := range []struct{ epoch, first int64 }{{0, 1}, {-1, 1}, {1, 0}, {1, -5}} {
		if _, err := l.Append(t.Context(), c.epoch, c.first, [][]byte{{1}}); err == nil {
			t.Errorf("epoch %d entry %d was accepted", c.epoch, c.first)
		}
	}
	large := [][]byte{{1}, make([]byte, MaxEntrySize+1)}
	if _, err := l.Append(t.Context(), 1, 1, large); !errors.Is(err, ErrEntryTooLarge) {
		t.Fatalf("too large: %v", err)
	}
	if next, err := l.Next(t.Context(), 1); err != nil || next != 1 {
		t.Fatalf("a refused call changed next to %d (%v)", next, err)
	}
	if last, err := l.Append(t.Context(), 1, 1, [][]byte{{}, make([]byte, MaxEntrySize)}); err != nil || last != 2 {
		t.Fatalf("an empty and a largest entry: %d, %v", last, err)
	}
	mustClose(t, l)
	checkSound(t, l.cfg.Dir, l.Key())
}

func TestAppendStopsBetweenBatchesWhenCanceled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := mustOpen(t, dir)
	mustAppend(t, l, 1, 1, 10)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	last, err := l.Append(ctx, 1, 11, entryRange(1, 11, 1000))
	if !errors.Is(err, context.Canceled) || last != 10 {
		t.Fatalf("canceled append: last %d, %v", last, err)
	}
	mustAppend(t, l, 1, 11, 20)
	mustClose(t, l)
	checkEntries(t, l.Reader, 1, 20)
}

func TestEntriesReadsAnyRange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := mustOpen(t, dir)
	const last = 700
	mustAppend(t, l, 1, 1, last)
	rapid.Check(t, func(rt *rapid.T) {
		from := rapid.Int64Range(1, last+10).Draw(rt, "from")
		to := rapid.Int64Range(0, last+10).Draw(rt, "to")
		want := from
		for e, err := range l.Entries(t.Context(), 1, from, to) {
			if err != nil {
				rt.Fatal(err)
			}
			if e.Number != want || string(e.Data) != string(entryData(1, want)) {
				rt.Fatalf("got entry %d, want %d", e.Number, want)
			}
			want++
		}
		if end := max(from, min(to, last)+1); want != end {
			rt.Fatalf("%d..%d ended before %d, want %d", from, to, want, end)
		}
	})
	for _, err := range l.Entries(t.Context(), 1, 0, 5) {
		if err == nil {
			t.Fatal("entry 0 exists")
		}
	}
	for e, err := range l.Entries(t.Context(), 1, 1, 5) {
		if err != nil || e.Number > 3 {
			t.Fatalf("entry %d after the end, %v", e.Number, err)
		}
		if e.Number == 3 {
			break // an iteration may end early
		}
	}
}

// A failed write is sticky; what is on disk is decided by opening anew, and the
// numbers go on without a hole.
func TestFailedWriteBreaksTheSegmentUntilReopened(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := mustOpen(t, dir)
	mustAppend(t, l, 1, 1, 256)
	// The next bundle's directory cannot be made.
	blocker := filepath.Join(dir, segmentName(1), "tile", "entries", "001.p")
	if err := os.WriteFile(blocker, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		last, err := l.Append(t.Context(), 1, 257, entryRange(1, 257, 300))
		if !errors.Is(err, ErrBroken) || last != 256 {
			t.Fatalf("append over a broken disk: last %d, %v", last, err)
		}
		if err := removeIfPresent(blocker); err != nil {
			t.Fatal(err)
		}
	}
	mustAppend(t, l, 2, 1, 5) // another segment is not concerned
	mustClose(t, l)
	l = mustOpen(t, dir)
	if next, err := l.Next(t.Context(), 1); err != nil || next != 257 {
		t.Fatalf("next after reopening is %d, %v", next, err)
	}
	mustAppend(t, l, 1, 257, 300)
	mustClose(t, l)
	checkEntries(t, l.Reader, 1, 300)
	checkSound(t, dir, l.Key())
}

// What a crash left beyond the durable size is not taken for entries, and does
// not look like tampering once other bytes have come in its place.
func TestLeftoversOfACrashAreDropped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := mustOpen(t, dir)
	mustAppend(t, l, 1, 1, 300)
	mustClose(t, l)
	segment := filepath.Join(dir, segmentName(1))
	state := mustRead(t, statePath(segment))
	checkpoint := mustRead(t, filepath.Join(segment, "checkpoint"))
	listed := mustRead(t, filepath.Join(dir, manifestFileName))

	// A batch of other bytes is written, but not the state that makes it count.
	l = mustOpen(t, dir)
	other := make([][]byte, 400)
	for i := range other {
		other[i] = fmt.Appendf(nil, "other %d", i)
	}
	if _, err := l.Append(t.Context(), 1, 301, other); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	mustWrite(t, statePath(segment), state)
	mustWrite(t, filepath.Join(segment, "checkpoint"), checkpoint)
	mustWrite(t, filepath.Join(dir, manifestFileName), listed)

	checkSound(t, dir, l.Key()) // leftovers are no damage
	l = mustOpen(t, dir)
	if next, err := l.Next(t.Context(), 1); err != nil || next != 301 {
		t.Fatalf("next is %d, %v", next, err)
	}
	mustAppend(t, l, 1, 301, 320)
	mustClose(t, l)
	checkEntries(t, l.Reader, 1, 320)
	checkSound(t, dir, l.Key())
}

// The library compares a file's time with the clock; a clock that was put back
// must not stop checkpoints.
func TestCheckpointsSurviveAClockPutBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for n := int64(1); n <= 6; n += 3 { // before a write, and before an open
		l := mustOpen(t, dir)
		mustAppend(t, l, 1, n, n)
		future := time.Now().Add(time.Hour)
		if err := os.Chtimes(filepath.Join(dir, "epoch-0001/checkpoint"), future, future); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, 1, n+1, n+2)
		mustClose(t, l) // fails unless a checkpoint covers the last entry
		if err := os.Chtimes(filepath.Join(dir, "epoch-0001/checkpoint"), future, future); err != nil {
			t.Fatal(err)
		}
	}
	key, err := NewReader(dir).PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	checkSound(t, dir, key)
}

// After a wipe an epoch's segment begins at 1 again, under a new key.
func TestWipedDirectoryBeginsAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := mustOpen(t, dir)
	mustAppend(t, l, 3, 1, 10)
	mustClose(t, l)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, dir)
	if next, err := l.Next(t.Context(), 3); err != nil || next != 1 {
		t.Fatalf("next is %d, %v", next, err)
	}
	mustAppend(t, l, 3, 1, 10)
	mustClose(t, l)
	checkSound(t, dir, l.Key())
}
