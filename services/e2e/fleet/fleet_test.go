//go:build e2e

package fleet

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/services/internal/topology"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/testkit/find"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// fleet is the distributed form, a target of its own, and what is known of both
// from outside.
type fleet struct {
	*topology.Topology
	programs string // folder
	root     string // token
	target   *target
	book     *book
	record   record
	ended    bool
}

// open starts a fleet for a test and its subtests.
func open(t *testing.T) *fleet {
	t.Helper()
	return openWith(t, topology.Config{})
}

// openWith starts one that differs from the usual in what cfg says.
func openWith(t *testing.T, cfg topology.Config) *fleet {
	t.Helper()
	dir, err := build()
	must(t, err, "build")
	cfg.Programs, cfg.Finder, cfg.Environ, cfg.Clock = dir, find.Finder{Getenv: os.Getenv}, os.Environ(), clock.System{}
	top, err := topology.Open(t.Context(), cfg)
	var missing *find.NotFoundError
	if errors.As(err, &missing) && os.Getenv("CURFEW_CI") != "1" {
		t.Skip(err)
	}
	must(t, err, "start the fleet")
	f := &fleet{Topology: top, programs: dir, book: newBook()}
	t.Cleanup(func() { f.end(t) })
	root, err := top.RootToken()
	must(t, err, "read the root token")
	f.root = root.Reveal()
	f.target = newTarget(t)
	f.target.setUp(t, f.client(t))
	return f
}

// end stops everything and looks at what the programs wrote.
func (f *fleet) end(t *testing.T) {
	t.Helper()
	if f.ended {
		return
	}
	f.ended = true
	for _, name := range f.Names() {
		p := f.part(t, name)
		if t.Failed() {
			t.Logf("the log of %s ends:\n%s", name, p.LogTail())
		}
		if program, ok := p.(*topology.Program); ok {
			text, err := os.ReadFile(program.Log())
			must(t, err, "read the log of "+name)
			for _, bad := range []string{"WARNING: DATA RACE", "panic: ", "goroutine 1 ["} {
				if _, after, found := strings.Cut(string(text), bad); found {
					t.Errorf("%s wrote %q:\n%s", name, bad, after[:min(len(after), 4000)])
				}
			}
		}
	}
	must(t, f.Close(context.WithoutCancel(t.Context())), "end the fleet")
}

func (f *fleet) part(tb testing.TB, name string) topology.Part {
	tb.Helper()
	p, err := f.Part(name)
	must(tb, err, "find a part")
	return p
}

// kill ends parts as a power cut would, all where none is named.
func (f *fleet) kill(tb testing.TB, names ...string) {
	tb.Helper()
	must(tb, f.Kill(tb.Context(), names...), "kill "+strings.Join(names, ", "))
}

// stop ends parts in good order, one after the other.
func (f *fleet) stop(tb testing.TB, names ...string) {
	tb.Helper()
	for _, name := range names {
		must(tb, f.part(tb, name).Stop(tb.Context()), "stop "+name)
	}
}

// freeze makes parts silent, as a server that hangs is: their connections stay
// open. They go on when the test calls thaw, or has ended.
func (f *fleet) freeze(tb testing.TB, names ...string) (thaw func()) {
	tb.Helper()
	send := func(sig syscall.Signal) {
		for _, name := range names {
			if p := f.part(tb, name); p.Running() {
				must(tb, syscall.Kill(p.Pid(), sig), "signal "+name)
			}
		}
	}
	thaw = sync.OnceFunc(func() { send(syscall.SIGCONT) })
	tb.Cleanup(thaw)
	send(syscall.SIGSTOP)
	return thaw
}

// start starts every part that does not run and returns when all can work.
func (f *fleet) start(tb testing.TB) {
	tb.Helper()
	must(tb, f.Start(tb.Context()), "start what does not run")
}

// named are the parts whose names begin so, "nats-" for example.
func (f *fleet) named(prefixes ...string) (names []string) {
	for _, name := range f.Names() {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			names = append(names, name)
		}
	}
	return names
}

// ours are the parts that are programs of Curfew.
func (f *fleet) ours() []string { return f.named("issuer-", "revoker-", "auditor-") }

// streams are the servers of the event stream.
func (f *fleet) streams() []string { return f.named("nats-") }

// config is the configuration that a program was given.
func (f *fleet) config(tb testing.TB, name string) config.Config {
	tb.Helper()
	c := config.Default()
	must(tb, c.Read(filepath.Join(f.Dir, name+".hcl")), "read a configuration")
	return c
}

// run is a command of curfew that ends by itself.
func (f *fleet) run(tb testing.TB, args ...string) string {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), filepath.Join(f.programs, "curfew"), args...)
	cmd.Env = append(server.Environ(os.Environ(), tb.TempDir()), "VAULT_ADDR="+f.URL, "VAULT_TOKEN="+f.root)
	out, err := cmd.CombinedOutput()
	if err != nil {
		tb.Errorf("curfew %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
