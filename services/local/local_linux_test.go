//go:build e2e

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/built"
	"github.com/curfew-project/curfew/services/internal/topology"
	"github.com/curfew-project/curfew/shared/testkit"
	"github.com/curfew-project/curfew/shared/testkit/find"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// hang is longer than anything takes that goes on.
const hang = 3 * time.Minute

// programs builds bin/ once for all tests, beside the test binary: the go command
// removes that folder when the tests have ended.
var programs = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(filepath.Dir(self), "bin")
	return dir, built.Programs(context.Background(), dir, false, built.Distributed()...)
})

// upped is a run of `local up` whose files are all below tmp.
type upped struct {
	cmd   *exec.Cmd
	tmp   string
	out   output
	ended chan struct{}
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

var _ io.Writer = (*output)(nil)

// up starts `local up`, with environ added to ours, or skips the test where a
// server is missing.
func startUp(t *testing.T, environ ...string) *upped {
	t.Helper()
	finder := find.Finder{Getenv: os.Getenv}
	_, noPostgres := finder.Postgres(t.Context())
	_, noRedis := finder.Redis(t.Context())
	var missing *find.NotFoundError
	if errors.As(errors.Join(noPostgres, noRedis), &missing) && os.Getenv("CURFEW_CI") != "1" {
		t.Skip(missing)
	}
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	u := &upped{ended: make(chan struct{})}
	u.tmp, err = os.MkdirTemp("", "curfew-up-test-") //nolint:usetesting // the folder above t.TempDir is closed to the user of Postgres
	if err == nil {
		err = os.Chmod(u.tmp, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	u.cmd = exec.Command(filepath.Join(dir, "local"), "up", "-nats=1")
	u.cmd.Env = append(append(os.Environ(), "TMPDIR="+u.tmp), environ...)
	u.cmd.Stdout, u.cmd.Stderr = &u.out, &u.out
	u.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a "terminal" of its own for ^C
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = u.cmd.Wait() // the exit code is looked at
		close(u.ended)
	}()
	t.Cleanup(func() {
		_ = u.cmd.Process.Kill() // it may have ended; Linux ends its children with it
		<-u.ended
		if err := os.RemoveAll(u.tmp); err != nil {
			t.Error(err)
		}
	})
	return u
}

// until waits for something that has no deadline of its own.
func (u *upped) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(hang); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not to be seen: %s\n%s\n%v", what, &u.out, u.processes(t))
		}
	}
}

func (u *upped) signal(t *testing.T, to int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(to, sig); err != nil {
		t.Fatal(err)
	}
}

// end waits for the end and wants the exit code, no file and no process.
func (u *upped) end(t *testing.T, code int) {
	t.Helper()
	u.until(t, "the end of local up", func() bool {
		select {
		case <-u.ended:
			return true
		default:
			return false
		}
	})
	if got := u.cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d:\n%s", got, code, &u.out)
	}
	left, err := os.ReadDir(u.tmp)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		t.Errorf("left behind: %s", entry.Name())
	}
	for _, process := range u.processes(t) {
		t.Errorf("still running: %s", process)
	}
}

// processes lists those whose command line or folder names tmp.
func (u *upped) processes(t *testing.T) (found []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range all {
		line, err := os.ReadFile(filepath.Join(process, "cmdline"))
		if err != nil {
			continue // it has ended
		}
		cwd, _ := os.Readlink(filepath.Join(process, "cwd")) // unreadable: it has ended
		if strings.Contains(string(line), u.tmp) || strings.HasPrefix(cwd, u.tmp) {
			found = append(found, filepath.Base(process)+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// runs waits until everything runs, and returns the URL of the API.
func (u *upped) runs(t *testing.T) string {
	t.Helper()
	u.until(t, "how to stop it", func() bool { return strings.Contains(u.out.String(), "^C stops everything") })
	address := regexp.MustCompile(`VAULT_ADDR='(http://[^']+)'`).FindStringSubmatch(u.out.String())
	if address == nil {
		t.Fatalf("no address is printed:\n%s", &u.out)
	}
	return address[1]
}

// ^C ends everything within the bound, whatever the caller's environment says.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	u := startUp(t, "CURFEW_DATA_DIR=/nonexistent", "CURFEW_LISTEN_ADDRESS=127.0.0.1:1", "VAULT_ADDR=http://127.0.0.1:1", "PGHOST=/nonexistent")
	res, err := http.Get(u.runs(t) + "/v1/sys/health")
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("health is %s, %v", res.Status, err)
	}
	if n := len(u.processes(t)); n < 11 { // of them two are Redis, one is Postgres, whose children have no names of folders
		t.Errorf("only %d processes run:\n%v", n, u.processes(t))
	}
	began := time.Now()
	u.signal(t, -u.cmd.Process.Pid, syscall.SIGINT)
	u.end(t, 0)
	if took := time.Since(began); took > topology.CloseWithin {
		t.Errorf("the end took %v", took)
	}
}

func TestInterruptWhileItStarts(t *testing.T) {
	t.Parallel()
	u := startUp(t)
	u.until(t, "the first program", func() bool { return strings.Contains(strings.Join(u.processes(t), "\n"), "local nats") })
	u.signal(t, -u.cmd.Process.Pid, syscall.SIGTERM)
	u.end(t, 130)
}

// Whoever kills it leaves no process behind.
func TestKilled(t *testing.T) {
	t.Parallel()
	u := startUp(t)
	u.runs(t)
	if len(u.processes(t)) == 0 {
		t.Fatal("the test sees no process")
	}
	u.signal(t, u.cmd.Process.Pid, syscall.SIGKILL)
	u.until(t, "the end of all processes", func() bool { return len(u.processes(t)) == 0 })
}

func TestUsage(t *testing.T) {
	t.Parallel()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{}, {"down"}, {"up", "-nosuch"}, {"nats", "-listen=nowhere"}, {"proxy"}} {
		ctx, cancel := context.WithTimeout(t.Context(), hang)
		out, err := exec.CommandContext(ctx, filepath.Join(dir, "local"), args...).CombinedOutput()
		cancel()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "local:") {
			t.Errorf("local %v ended with %v and said:\n%s", args, err, out)
		}
	}
}
