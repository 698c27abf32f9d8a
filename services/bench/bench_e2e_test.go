//go:build e2e

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/curfew-project/curfew/services/bench/internal/report"
	"github.com/curfew-project/curfew/services/bench/internal/work"
	"github.com/curfew-project/curfew/services/internal/built"
	"github.com/curfew-project/curfew/shared/testkit"
	"github.com/curfew-project/curfew/shared/testkit/find"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// Every benchmark runs to its end on few leases, finds no error, and leaves
// nothing behind. No figure decides anything.
func TestEveryBenchmark(t *testing.T) {
	t.Parallel()
	_, err := find.Finder{Getenv: os.Getenv}.Postgres(t.Context())
	var missing *find.NotFoundError
	if errors.As(err, &missing) && os.Getenv("CURFEW_CI") != "1" {
		t.Skip(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(filepath.Dir(self), "bin")
	if err := built.Programs(context.Background(), bin, false, append(built.Distributed(), "bench", "curfew")...); err != nil {
		t.Fatal(err)
	}
	tmp, err := os.MkdirTemp("", "curfew-bench-test-") //nolint:usetesting // the folder above t.TempDir is closed to the user of Postgres
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(tmp) })
	if err := os.Chmod(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	out, profiles := t.TempDir(), t.TempDir()
	cmd := exec.Command(filepath.Join(bin, "bench"), "-time=300ms", "-mix=1s", "-rate=20", "-leases=40", "-live=40", "-singles=2",
		"-outage=1s", "-clients=4", "-revokers=1,2", "-targets=3", "-each=2", "-out="+out, "-profile="+profiles)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	content, err := os.ReadFile(filepath.Join(out, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r report.Report
	if err := json.Unmarshal(content, &r); err != nil {
		t.Fatal(err)
	}
	// One for each kind of role, one for each other benchmark, the restart, and three
	// more of scaling.
	if want := len(work.Variants()) + len(work.Names()) + 3; len(r.Rows) != want {
		t.Errorf("%d rows, want %d\n%s", len(r.Rows), want, text)
	}
	for _, row := range r.Rows {
		if row.Count == 0 || row.Errors > 0 {
			t.Errorf("%s %s: %d succeeded, %d failed: %s", row.What, row.Role, row.Count, row.Errors, row.Error)
		}
	}
	for _, name := range []string{"table.md", "issue-rate.svg", "expiry-lag.svg", "memory.svg"} {
		if content, err := os.ReadFile(filepath.Join(out, name)); err != nil || len(bytes.TrimSpace(content)) == 0 {
			t.Errorf("%s: %d bytes, %v", name, len(content), err)
		}
	}
	if taken, err := filepath.Glob(filepath.Join(profiles, "*.pprof")); err != nil || len(taken) == 0 {
		t.Errorf("no profile was taken: %v", err)
	}
}
