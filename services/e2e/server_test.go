//go:build e2e

package e2e

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/testkit"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// curfew is a server as its clients and its operator see it, with data, address
// and root token that stay the same from one start to the next.
type curfew struct {
	form
	dir     string // data_dir
	root    string // token
	address string // host:port
	home    string // of its processes
}

// newCurfew starts a server that keeps its data. settings are added to the
// smallest configuration.
func newCurfew(tb testing.TB, settings ...string) *curfew {
	tb.Helper()
	c := unstarted(tb, settings...)
	c.start(tb)
	c.readRoot(tb)
	return c
}

// unstarted prepares a server.
func unstarted(tb testing.TB, settings ...string) *curfew {
	tb.Helper()
	c := frame(tb)
	c.form = newForm(tb, c, settings)
	return c
}

// uninitialised starts a server that waits for sys/init.
func uninitialised(tb testing.TB) *curfew {
	tb.Helper()
	c := frame(tb)
	if distributed() {
		c.form = &place{curfew: c, uninitialised: true}
	} else {
		c.form = newForm(tb, c, []string{"auto_init = false"})
	}
	c.launch(tb)
	tb.Cleanup(func() { c.kill(tb) })
	eventually(tb, hang, func() error {
		a, err := c.send(http.MethodGet, "/v1/sys/health", "", "", nil)
		if err == nil && a.status != http.StatusNotImplemented {
			err = fmt.Errorf("health is %d: %s", a.status, a.body)
		}
		return err
	})
	return c
}

// newDev starts a server in dev mode.
func newDev(tb testing.TB) *curfew {
	tb.Helper()
	c := frame(tb)
	c.root = "dev-" + strings.ToLower(rand.Text())
	c.form = &process{curfew: c, args: []string{"server", "-dev", "-dev-root-token-id=" + c.root, "-dev-listen-address=" + c.address}}
	c.start(tb)
	return c
}

func frame(tb testing.TB) *curfew {
	tb.Helper()
	return &curfew{address: fmt.Sprintf("127.0.0.1:%d", testkit.Port(tb)), home: tb.TempDir()}
}

func (c *curfew) readRoot(tb testing.TB) {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, "root-token"))
	must(tb, err, "read the root token")
	c.root = strings.TrimSpace(string(text))
}

func (c *curfew) url() string { return "http://" + c.address }

// start runs it and returns when it serves.
func (c *curfew) start(tb testing.TB) {
	tb.Helper()
	c.launch(tb)
	tb.Cleanup(func() { c.kill(tb) })
	c.await(tb)
}

// stop ends it in order and returns its exit code and how long that took.
func (c *curfew) stop(tb testing.TB) (int, time.Duration) {
	tb.Helper()
	began := time.Now()
	code := c.end(tb)
	return code, time.Since(began)
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
