//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/curfew-project/curfew/services/internal/child"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// process is the one-machine form: `curfew server`, with everything embedded.
type process struct {
	curfew *curfew
	args   []string
	said   output
	child  *child.Child
}

// output collects what a process writes, across starts.
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

// tail is the end of it.
func (o *output) tail() string {
	const length = 16 << 10
	text := o.String()
	return text[max(0, len(text)-length):]
}

// newProcess writes the configuration of a server that keeps its data in c.dir:
// the smallest one, and settings.
func newProcess(tb testing.TB, c *curfew, settings []string) *process {
	tb.Helper()
	file := filepath.Join(filepath.Dir(c.dir), "curfew.hcl")
	lines := append([]string{
		fmt.Sprintf("data_dir = %q", c.dir),
		fmt.Sprintf("listener \"tcp\" { address = %q tls_disable = true }", c.address),
	}, settings...)
	must(tb, os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600), "write configuration")
	p := &process{curfew: c, args: []string{"server", "-config=" + file}}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the server's log ends:\n%s", p.said.tail())
		}
	})
	return p
}

func (p *process) launch(tb testing.TB) {
	tb.Helper()
	cmd := exec.Command(program(tb), p.args...)
	cmd.Env = server.Environ(os.Environ(), p.curfew.home)
	// What a server in dev mode keeps while it runs lies below its home, too.
	cmd.Env = append(cmd.Env, "TMPDIR="+p.curfew.home)
	cmd.Stdout, cmd.Stderr = &p.said, &p.said
	var err error
	p.child, err = child.Start(cmd)
	must(tb, err, "start the program")
}

func (p *process) await(tb testing.TB) {
	tb.Helper()
	eventually(tb, hang, func() error {
		if !p.child.Running() {
			tb.Fatalf("the server ended with %d:\n%s", p.child.ExitCode(), &p.said)
		}
		res, err := http.Get(p.curfew.url() + "/v1/sys/health")
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

func (p *process) kill(tb testing.TB) {
	tb.Helper()
	must(tb, p.child.Kill(), "kill the server")
	raceless(tb, "curfew server", p.said.String())
}

func (p *process) end(tb testing.TB) int {
	tb.Helper()
	if err := p.child.Stop(context.Background(), hang); err != nil {
		tb.Fatalf("the server did not stop: %v\n%s", err, &p.said)
	}
	return p.child.ExitCode()
}

func (p *process) output(testing.TB) string { return p.said.String() }

func (p *process) store() string { return filepath.Join(p.curfew.dir, "store") }

func (p *process) folders() []string { return []string{p.curfew.dir} }

// raceless fails the test where the race detector of a program has spoken.
func raceless(tb testing.TB, name, said string) {
	tb.Helper()
	if strings.Contains(said, "WARNING: DATA RACE") {
		tb.Errorf("%s has a data race:\n%s", name, said)
	}
}
