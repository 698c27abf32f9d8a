package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func testConfig(dir string) Config {
	return Config{Dir: dir, Installation: "test", CheckpointInterval: 100 * time.Millisecond}
}

func mustOpen(t testing.TB, dir string) *Ledger {
	t.Helper()
	l, err := Open(t.Context(), testConfig(dir))
	if err != nil {
		t.Fatal(err)
	}
	// A second Close does nothing; this one is for tests that end early.
	t.Cleanup(func() { _ = l.Close(context.WithoutCancel(t.Context())) })
	return l
}

func mustClose(t testing.TB, l *Ledger) {
	t.Helper()
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// entryData is the one content that entry n of an epoch has in these tests, as
// event n of an epoch has one content.
func entryData(epoch, n int64) []byte {
	return fmt.Appendf(nil, "epoch %d entry %d %s", epoch, n, strings.Repeat("x", int(n%37)))
}

func entryRange(epoch, from, to int64) [][]byte {
	entries := make([][]byte, 0, max(0, to-from+1))
	for n := from; n <= to; n++ {
		entries = append(entries, entryData(epoch, n))
	}
	return entries
}

func mustAppend(t testing.TB, l *Ledger, epoch, from, to int64) {
	t.Helper()
	last, err := l.Append(t.Context(), epoch, from, entryRange(epoch, from, to))
	if err != nil {
		t.Fatal(err)
	}
	if last < to {
		t.Fatalf("last durable is %d, want at least %d", last, to)
	}
}

// checkEntries: the segment holds exactly the entries 1..last, in order.
func checkEntries(t testing.TB, r *Reader, epoch, last int64) {
	t.Helper()
	want := int64(1)
	for e, err := range r.Entries(t.Context(), epoch, 1, last+100) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Number != want || string(e.Data) != string(entryData(epoch, want)) {
			t.Fatalf("entry %d is %q, want entry %d %q", e.Number, e.Data, want, entryData(epoch, want))
		}
		want++
	}
	if want != last+1 {
		t.Fatalf("the segment ends with entry %d, want %d", want-1, last)
	}
}

func checkSound(t testing.TB, dir string, key PublicKey, earlier ...[]byte) Report {
	t.Helper()
	report, err := Verify(t.Context(), dir, key, earlier...)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range report.Damages {
		t.Errorf("damage in a sound ledger: %s", d)
	}
	return report
}

// D5: the appender appends only the next and drops smaller; "next" is read from
// the log at start. Whatever the calls and restarts, the log is 1..n in order.
func TestAppendKeepsOrderOverRestarts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "ledger")
		if err != nil {
			rt.Fatal(err)
		}
		l := mustOpen(t, dir)
		last := map[int64]int64{1: 0, 2: 0}
		for range rapid.IntRange(1, 8).Draw(rt, "calls") {
			epoch := rapid.Int64Range(1, 2).Draw(rt, "epoch")
			from := rapid.Int64Range(max(1, last[epoch]-300), last[epoch]+2).Draw(rt, "from")
			to := from + rapid.Int64Range(-1, 600).Draw(rt, "count")
			got, err := l.Append(t.Context(), epoch, from, entryRange(epoch, from, to))
			var gap *ErrGap
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
			if rapid.IntRange(0, 3).Draw(rt, "restart") == 0 {
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
	for range l.Entries(t.Context(), 7, 1, 10) {
		t.Fatal("an entry out of nowhere")
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
	for e := range l.Entries(t.Context(), 1, 1, 5) {
		if e.Number == 3 {
			break // an iteration may end early
		}
	}
}

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

// Opening for append looks before it signs: it never signs a shorter or other
// log over the one that was signed.
func TestAppendRefusesADamagedSegment(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(t *testing.T, dir string){
		"state removed":   func(t *testing.T, dir string) { mustRemove(t, statePath(dir)) },
		"state truncated": func(t *testing.T, dir string) { mustWrite(t, statePath(dir), nil) },
		"state of another": func(t *testing.T, dir string) {
			mustWrite(t, statePath(dir), []byte(`{"size":300,"root":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}`))
		},
		"state put back": func(t *testing.T, dir string) {
			mustWrite(t, statePath(dir), []byte(`{"size":0,"root":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}`))
		},
		"state hidden":     func(t *testing.T, dir string) { mustRemove(t, filepath.Join(dir, stateDirName)) },
		"checkpoint gone":  func(t *testing.T, dir string) { mustRemove(t, filepath.Join(dir, "checkpoint")) },
		"checkpoint bad":   func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "checkpoint"), 40) },
		"last bundle bad":  func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "tile/entries/001.p/44"), 10) },
		"last bundle gone": func(t *testing.T, dir string) { mustRemove(t, filepath.Join(dir, "tile/entries/001.p")) },
		"tile bad":         func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "tile/1/000.p/1"), 3) },
		"segment removed":  func(t *testing.T, dir string) { mustRemove(t, dir) },
		"state and checkpoint removed": func(t *testing.T, dir string) {
			mustRemove(t, filepath.Join(dir, stateDirName))
			mustRemove(t, filepath.Join(dir, "checkpoint"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l := mustOpen(t, dir)
			mustAppend(t, l, 1, 1, 300)
			mustClose(t, l)
			harm(t, filepath.Join(dir, segmentName(1)))
			l = mustOpen(t, dir)
			if next, err := l.Next(t.Context(), 1); !errors.Is(err, ErrDamaged) {
				t.Fatalf("next is %d, %v; want damage", next, err)
			}
			if _, err := l.Append(t.Context(), 1, 301, entryRange(1, 301, 302)); !errors.Is(err, ErrDamaged) {
				t.Fatalf("append: %v; want damage", err)
			}
			if _, err := l.Append(t.Context(), 1, 1, entryRange(1, 1, 302)); !errors.Is(err, ErrDamaged) {
				t.Fatalf("append from 1: %v; want damage", err)
			}
			mustAppend(t, l, 2, 1, 3) // the record of another epoch goes on
		})
	}
}

func TestOpenRefusesAForeignLedger(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(t *testing.T, cfg *Config){
		"manifest removed": func(t *testing.T, cfg *Config) { mustRemove(t, filepath.Join(cfg.Dir, manifestFileName)) },
		"manifest changed": func(t *testing.T, cfg *Config) { flip(t, filepath.Join(cfg.Dir, manifestFileName), 30) },
		"key removed":      func(t *testing.T, cfg *Config) { mustRemove(t, filepath.Join(cfg.Dir, keyFileName)) },
		"key changed":      func(t *testing.T, cfg *Config) { flip(t, filepath.Join(cfg.Dir, keyFileName), 50) },
		"public changed":   func(t *testing.T, cfg *Config) { flip(t, filepath.Join(cfg.Dir, publicFileName), 40) },
		"other name":       func(_ *testing.T, cfg *Config) { cfg.Installation = "other" },
		"other key": func(t *testing.T, cfg *Config) {
			cfg.KeyFile = filepath.Join(t.TempDir(), "key")
			if _, err := createKey(cfg.KeyFile, cfg.Installation); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l := mustOpen(t, dir)
			mustAppend(t, l, 1, 1, 3)
			mustClose(t, l)
			cfg := testConfig(dir)
			harm(t, &cfg)
			if l, err := Open(t.Context(), cfg); err == nil {
				mustClose(t, l)
				t.Fatal("it was opened")
			}
		})
	}
}

func TestKeyFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := testConfig(filepath.Join(dir, "deep", "ledger"))
	cfg.KeyFile = filepath.Join(dir, "key")
	for range 2 { // generated, then loaded
		l, err := Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		next, err := l.Next(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, 1, next, next)
		mustClose(t, l)
	}
	info, err := os.Stat(cfg.KeyFile)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("key file: %v, %v", info.Mode(), err)
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, keyFileName)); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a key lies in the ledger too: %v", err)
	}
	key, err := NewReader(cfg.Dir).PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	checkSound(t, cfg.Dir, key)
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"no dir":          {Installation: "a"},
		"no installation": {Dir: "x"},
		"bad name":        {Dir: "x", Installation: "a b"},
		"slash":           {Dir: "x", Installation: "a/b"},
		"too fast":        {Dir: "x", Installation: "a", CheckpointInterval: time.Millisecond},
		"negative":        {Dir: "x", Installation: "a", CollectInterval: -1},
	} {
		if _, err := Open(t.Context(), cfg); !errors.Is(err, errConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func mustWrite(t testing.TB, path string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func mustRemove(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Lstat(path); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// flip changes one bit of one byte.
func flip(t testing.TB, path string, at int) {
	t.Helper()
	raw := mustRead(t, path)
	raw[at] ^= 1
	mustWrite(t, path, raw)
}
