//go:build e2e

package e2e

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/testkit"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// curfew is `curfew server` as a process, with data, address and root token
// that stay the same from one start to the next.
type curfew struct {
	dir     string // data_dir, and the configuration beside it
	root    string // token
	address string // host:port
	args    []string
	home    string
	output  *output

	cmd   *exec.Cmd
	ended chan struct{}
	code  int
}

// output collects what the process writes, across starts.
type output struct {
	mu    sync.Mutex
	bytes bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes.String()
}

// newCurfew starts a server that keeps its data in a directory. more is added
// to the smallest configuration.
func newCurfew(tb testing.TB, more ...string) *curfew {
	tb.Helper()
	c := unstarted(tb, more...)
	c.start(tb)
	c.readRoot(tb)
	return c
}

// unstarted writes the configuration of a server.
func unstarted(tb testing.TB, more ...string) *curfew {
	tb.Helper()
	c := frame(tb)
	dir := tb.TempDir()
	c.dir = filepath.Join(dir, "data")
	file := filepath.Join(dir, "curfew.hcl")
	lines := append([]string{
		fmt.Sprintf("data_dir = %q", c.dir),
		fmt.Sprintf("listener \"tcp\" { address = %q tls_disable = true }", c.address),
	}, more...)
	must(tb, os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600), "write configuration")
	c.args = []string{"server", "-config=" + file}
	return c
}

// newDev starts a server in dev mode.
func newDev(tb testing.TB) *curfew {
	tb.Helper()
	c := frame(tb)
	c.root = "dev-" + strings.ToLower(rand.Text())
	c.args = []string{"server", "-dev", "-dev-root-token-id=" + c.root, "-dev-listen-address=" + c.address}
	c.start(tb)
	return c
}

func frame(tb testing.TB) *curfew {
	tb.Helper()
	return &curfew{address: fmt.Sprintf("127.0.0.1:%d", testkit.Port(tb)), home: tb.TempDir(), output: &output{}}
}

func (c *curfew) readRoot(tb testing.TB) {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, "root-token"))
	must(tb, err, "read the root token")
	c.root = strings.TrimSpace(string(text))
}

func (c *curfew) url() string { return "http://" + c.address }

// start runs the program and returns when it serves.
func (c *curfew) start(tb testing.TB) {
	tb.Helper()
	c.launch(tb)
	tb.Cleanup(func() { c.kill(tb) })
	eventually(tb, hang, func() error {
		if !c.running() {
			tb.Fatalf("the server ended with %d:\n%s", c.code, c.output)
		}
		res, err := http.Get(c.url() + "/v1/sys/health")
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("health is %s", res.Status)
		}
		return nil
	})
}

// launch runs the program and does not wait for it.
func (c *curfew) launch(tb testing.TB) {
	tb.Helper()
	cmd := exec.Command(program(tb), c.args...)
	cmd.Env = server.Environ(os.Environ(), c.home)
	// What a server in dev mode keeps while it runs lies below its home, too.
	cmd.Env = append(cmd.Env, "TMPDIR="+c.home)
	cmd.Stdout, cmd.Stderr = c.output, c.output
	cmd.SysProcAttr = withUs()
	ended, started := make(chan struct{}), make(chan error, 1)
	c.cmd, c.ended = cmd, ended
	// The goroutine keeps its thread: Linux ends a child with the thread that
	// made it. It ends with the child.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the code is all that it says
			c.code = cmd.ProcessState.ExitCode()
		}
		close(ended)
	}()
	must(tb, <-started, "start the program")
}

func (c *curfew) running() bool {
	if c.ended == nil {
		return false
	}
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// kill ends the process as a power cut would; one that has ended is left.
func (c *curfew) kill(tb testing.TB) {
	tb.Helper()
	if c.ended == nil {
		return
	}
	err := c.cmd.Process.Signal(syscall.SIGKILL)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		tb.Fatalf("kill the server: %v", err)
	}
	<-c.ended
	if strings.Contains(c.output.String(), "WARNING: DATA RACE") {
		tb.Errorf("the server has a data race:\n%s", c.output)
	}
}

// stop asks the process to end and returns its exit code and how long it took.
func (c *curfew) stop(tb testing.TB) (int, time.Duration) {
	tb.Helper()
	began := time.Now()
	must(tb, c.cmd.Process.Signal(syscall.SIGTERM), "stop the server")
	select {
	case <-c.ended:
	case <-time.After(hang):
		tb.Fatalf("the server did not stop:\n%s", c.output)
	}
	return c.code, time.Since(began)
}

// run is a command of the program that ends by itself.
func (c *curfew) run(tb testing.TB, args ...string) (output string, code int) {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), program(tb), args...)
	cmd.Env = append(server.Environ(os.Environ(), c.home), "VAULT_ADDR="+c.url(), "VAULT_TOKEN="+c.root)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		tb.Fatalf("run curfew %s: %v", strings.Join(args, " "), err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}
