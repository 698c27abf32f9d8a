package ledger

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/tessera/api/layout"
)

// appenderEnv makes the test binary an appender of that directory.
const appenderEnv = "CURFEW_TEST_LEDGER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(appenderEnv); dir != "" {
		if err := appendForever(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// appendForever appends batches of changing sizes and prints each number that
// was acknowledged, until it is killed.
func appendForever(dir string) error {
	ctx := context.Background()
	l, err := Open(ctx, testConfig(dir))
	if err != nil {
		return err
	}
	next, err := l.Next(ctx, 1)
	if err != nil {
		return err
	}
	fmt.Println("next", next)
	for {
		n := rand.Int64N(600)
		last, err := l.Append(ctx, 1, next, entryRange(1, next, next+n))
		if err != nil {
			return err
		}
		next = last + 1
		fmt.Println("acknowledged", last)
	}
}

// D5: a process that is killed at any instant leaves at least what it
// acknowledged, in order, and the next one goes on behind it.
func TestKilledAppenderLosesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var acknowledged int64
	var checkpoints [][]byte
	for range 6 {
		acknowledged = runAndKill(t, dir, acknowledged, 3+rand.IntN(12))
		key, err := NewReader(dir).PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		checkSound(t, dir, key, checkpoints...) // before anyone repairs anything

		l := mustOpen(t, dir)
		next, err := l.Next(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if next <= acknowledged {
			t.Fatalf("next is %d but %d was acknowledged", next, acknowledged)
		}
		checkEntries(t, l.Reader, 1, next-1)
		mustAppend(t, l, 1, next, next+2)
		mustClose(t, l)
		acknowledged = next + 2
		cp, err := l.Checkpoint(1)
		if err != nil {
			t.Fatal(err)
		}
		checkpoints = append(checkpoints, cp)
		checkSound(t, dir, key, checkpoints...)
		checkEntries(t, l.Reader, 1, acknowledged)
	}
}

// runAndKill starts an appender, kills it after some acknowledgements (at
// whatever it is doing then) and returns the last number acknowledged.
func runAndKill(t *testing.T, dir string, before int64, after int) int64 {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), appenderEnv+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last, lines := before, 0
	for scan := bufio.NewScanner(out); scan.Scan(); {
		word, digits, _ := strings.Cut(scan.Text(), " ")
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			t.Errorf("the appender says %q", scan.Text())
		}
		switch word {
		case "next":
			if n <= before {
				t.Errorf("next is %d although %d was acknowledged", n, before)
			}
		case "acknowledged":
			last = n
		}
		if lines++; lines == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || lines < after {
		t.Fatalf("the appender ended by itself: %v: %s", err, stderr.String())
	}
	if stderr.Len() > 0 {
		t.Errorf("the appender wrote to stderr: %s", stderr.String())
	}
	return last
}

// Verify and readers work while another process appends, each on the state that
// it met.
func TestVerifyWhileAnotherProcessAppends(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mustClose(t, mustOpen(t, dir)) // so that the key is there
	key, err := NewReader(dir).PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), appenderEnv+"="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var earlier [][]byte
	var verified int64
	for len(earlier) < 15 || verified == 0 {
		report := checkSound(t, dir, key, earlier...)
		if len(report.Segments) > 0 {
			verified = report.Segments[0].Size
			cp, err := NewReader(dir).Checkpoint(1)
			if err != nil {
				t.Fatal(err)
			}
			earlier = append(earlier, cp)
			checkPrefix(t, dir)
		}
		if t.Failed() {
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
}

// checkPrefix reads what is there now, from the first entry on.
func checkPrefix(t *testing.T, dir string) {
	t.Helper()
	r := NewReader(dir)
	size, err := r.Size(1)
	if err != nil {
		t.Fatal(err)
	}
	want := int64(1)
	for e, err := range r.Entries(t.Context(), 1, 1, size) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Number != want || string(e.Data) != string(entryData(1, want)) {
			t.Fatalf("entry %d is %q, want entry %d", e.Number, e.Data, want)
		}
		want++
	}
	if want != size+1 {
		t.Fatalf("%d entries were read, %d were durable", want-1, size)
	}
}

// D5: a process that is killed while a segment begins, after the state of an
// empty log was written and before it was signed, leaves nothing that the next
// one stumbles over, nor, when it is killed in turn, the one after that.
func TestKilledWhileASegmentBegins(t *testing.T) {
	t.Parallel()
	begun := t.TempDir()
	mustClose(t, mustOpen(t, begun))
	l := mustOpen(t, begun)
	mustAppend(t, l, 1, 1, 1)
	mustClose(t, l)

	// What the library writes first is that of another segment.
	other := t.TempDir()
	l = mustOpen(t, other)
	if _, err := l.open(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	if err := os.CopyFS(filepath.Join(begun, segmentName(2)), os.DirFS(filepath.Join(other, segmentName(2)))); err != nil {
		t.Fatal(err)
	}
	mustRemove(t, filepath.Join(begun, segmentName(2), layout.CheckpointPath))

	cfg := testConfig(begun)
	cfg.CheckpointInterval, cfg.CloseTimeout = time.Hour, time.Second // no checkpoint but the first one
	l, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if next, err := l.Next(t.Context(), 2); err != nil || next != 1 {
		t.Fatalf("next is %d, %v", next, err)
	}
	mustAppend(t, l, 2, 1, 3)
	killed := t.TempDir()
	if err := os.CopyFS(killed, os.DirFS(begun)); err != nil {
		t.Fatal(err)
	}
	_ = l.Close(t.Context()) // its checkpoint is an hour away
	l = mustOpen(t, killed)
	if next, err := l.Next(t.Context(), 2); err != nil || next != 4 {
		t.Fatalf("after a kill next is %d, %v, want 4", next, err)
	}
	mustAppend(t, l, 2, 4, 5)
	mustClose(t, l)
	key, err := NewReader(killed).PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	checkSound(t, killed, key)
}
