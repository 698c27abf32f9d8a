package ledger

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func testConfig(dir string) Config {
	return Config{Dir: dir, Installation: "test", CheckpointInterval: 100 * time.Millisecond}
}

func mustOpen(tb testing.TB, dir string) *Ledger {
	tb.Helper()
	l, err := Open(tb.Context(), testConfig(dir))
	if err != nil {
		tb.Fatal(err)
	}
	// A second Close does nothing; this one is for tests that end early.
	tb.Cleanup(func() { _ = l.Close(context.WithoutCancel(tb.Context())) })
	return l
}

func mustClose(tb testing.TB, l *Ledger) {
	tb.Helper()
	if err := l.Close(tb.Context()); err != nil {
		tb.Fatal(err)
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

func mustAppend(tb testing.TB, l *Ledger, epoch, from, to int64) {
	tb.Helper()
	last, err := l.Append(tb.Context(), epoch, from, entryRange(epoch, from, to))
	if err != nil {
		tb.Fatal(err)
	}
	if last < to {
		tb.Fatalf("last durable is %d, want at least %d", last, to)
	}
}

// checkEntries: the segment holds exactly the entries 1..last, in order.
func checkEntries(tb testing.TB, r *Reader, epoch, last int64) {
	tb.Helper()
	want := int64(1)
	for e, err := range r.Entries(tb.Context(), epoch, 1, last+100) {
		if err != nil {
			tb.Fatal(err)
		}
		if e.Number != want || string(e.Data) != string(entryData(epoch, want)) {
			tb.Fatalf("entry %d is %q, want entry %d %q", e.Number, e.Data, want, entryData(epoch, want))
		}
		want++
	}
	if want != last+1 {
		tb.Fatalf("the segment ends with entry %d, want %d", want-1, last)
	}
}

func checkSound(tb testing.TB, dir string, key PublicKey, earlier ...[]byte) Report {
	tb.Helper()
	report, err := Verify(tb.Context(), dir, key, earlier...)
	if err != nil {
		tb.Fatal(err)
	}
	for _, d := range report.Damages {
		tb.Errorf("damage in a sound ledger: %s", d)
	}
	return report
}

func mustRead(tb testing.TB, path string) []byte {
	tb.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func mustWrite(tb testing.TB, path string, raw []byte) {
	tb.Helper()
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		tb.Fatal(err)
	}
}

func mustRemove(tb testing.TB, path string) {
	tb.Helper()
	if _, err := os.Lstat(path); err != nil {
		tb.Fatal(err)
	}
	if err := os.RemoveAll(path); err != nil {
		tb.Fatal(err)
	}
}

// flip changes one bit of one byte.
func flip(tb testing.TB, path string, at int) {
	tb.Helper()
	raw := mustRead(tb, path)
	raw[at] ^= 1
	mustWrite(tb, path, raw)
}
