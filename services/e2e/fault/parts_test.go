//go:build e2e

package fault

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/curfew-project/curfew/services/internal/config"
)

// named are the parts of the fleet whose names begin so.
func (f *fleet) named(prefix string) (names []string) {
	for _, name := range f.Names() {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// config is the configuration that a program was given.
func (f *fleet) config(tb testing.TB, name string) config.Config {
	tb.Helper()
	c := config.Default()
	must(tb, c.Read(filepath.Join(f.Dir, name+".hcl")), "read a configuration")
	return c
}

// readdress starts our programs again with another address of a server.
func (f *fleet) readdress(tb testing.TB, old, address string) {
	tb.Helper()
	f.stop(tb)
	for _, name := range f.ours() {
		file := filepath.Join(f.Dir, name+".hcl")
		text, err := os.ReadFile(file)
		must(tb, err, "read a configuration")
		must(tb, os.WriteFile(file, []byte(strings.ReplaceAll(string(text), old, address)), 0o600), "write a configuration")
		if got := f.config(tb, name).Redis.Addresses; !slices.Equal(got, []string{address}) {
			tb.Fatalf("%s finds Redis at %v", name, got)
		}
	}
	must(tb, f.start(tb.Context()), "start the programs")
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
