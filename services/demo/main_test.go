//go:build e2e

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/built"
	"github.com/curfew-project/curfew/shared/testkit"
	"github.com/curfew-project/curfew/shared/testkit/find"
)

// hang is longer than anything takes that goes on.
const hang = 5 * time.Minute

func TestMain(m *testing.M) { testkit.Main(m) }

// programs builds bin/ once for all tests, as `make build` does, beside the test
// binary: the go command removes that folder when the tests have ended.
var programs = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(filepath.Dir(self), "bin")
	return dir, built.Programs(context.Background(), dir, false, append(built.Distributed(), "demo", "curfew", "examples/subscriber")...)
})

// bin is the folder of the built programs. Those who need a Postgres skip
// without one.
func bin(t *testing.T) string {
	t.Helper()
	_, err := find.Finder{Getenv: os.Getenv}.Postgres(t.Context())
	var missing *find.NotFoundError
	if errors.As(err, &missing) && os.Getenv("CURFEW_CI") != "1" {
		t.Skip(err)
	}
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// folder is a TMPDIR that the user whom Postgres runs as can walk to.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "curfew-demo-test-") //nolint:usetesting // the folder above t.TempDir is closed to others
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// demo is a run of the program.
type demo struct {
	cmd         *exec.Cmd
	out, errOut *output
	tmp         string
	ended       chan struct{}
}

type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs the demo. curfew is the program that it is to use; empty: the one
// beside it. env is added to ours.
func start(t *testing.T, curfew string, env ...string) *demo {
	t.Helper()
	return play(t, []string{"-curfew=" + cmp.Or(curfew, filepath.Join(bin(t), "curfew"))}, env...)
}

// play runs the demo with these flags. env is added to our environment.
func play(t *testing.T, flags []string, env ...string) *demo {
	t.Helper()
	dir := bin(t)
	d := &demo{tmp: folder(t), out: &output{}, errOut: &output{}, ended: make(chan struct{})}
	d.cmd = exec.Command(filepath.Join(dir, "demo"), flags...)
	d.cmd.Env = append(append(os.Environ(), "TMPDIR="+d.tmp), env...)
	d.cmd.Stdout, d.cmd.Stderr = d.out, d.errOut
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a "terminal" of its own for ^C
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait() // the exit code is looked at
		close(d.ended)
	}()
	t.Cleanup(func() {
		select {
		case <-d.ended:
		default: // the test has failed; Linux ends its children with it
			_ = d.cmd.Process.Kill()
			<-d.ended
		}
	})
	return d
}

// interrupt is ^C at a terminal.
func (d *demo) interrupt(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(-d.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
}

// end waits for the end, wants the exit code, and that nothing is left.
func (d *demo) end(t *testing.T, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	select {
	case <-d.ended:
	case <-ctx.Done():
		t.Fatalf("the demo does not end:\n%s\n%s", d.out, d.errOut)
	}
	if got := d.cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d:\n%s\n%s", got, code, d.out, d.errOut)
	}
	left, err := os.ReadDir(d.tmp)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		t.Errorf("left behind: %s", entry.Name())
	}
	for _, process := range running(t, d.tmp) {
		t.Errorf("still running: %s", process)
	}
}

// until waits for the demo to say something.
func (d *demo) until(t *testing.T, said string) {
	t.Helper()
	for deadline := time.Now().Add(hang); !strings.Contains(d.out.String(), said); time.Sleep(10 * time.Millisecond) {
		select {
		case <-d.ended:
			t.Fatalf("the demo ended without saying %q:\n%s\n%s", said, d.out, d.errOut)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the demo does not say %q:\n%s", said, d.out)
		}
	}
}

// running lists processes whose command line or folder names dir; Linux only.
func running(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range processes {
		line, err := os.ReadFile(filepath.Join(process, "cmdline"))
		if err != nil {
			continue // it has ended
		}
		cwd, _ := os.Readlink(filepath.Join(process, "cwd"))
		if strings.Contains(string(line), dir) || strings.HasPrefix(cwd, dir) {
			found = append(found, filepath.Base(process)+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}
