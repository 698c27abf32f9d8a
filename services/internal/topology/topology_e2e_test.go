//go:build e2e

package topology

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/curfew-project/curfew/services/internal/built"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/testkit"
	"github.com/curfew-project/curfew/shared/testkit/find"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// programs builds what a topology starts once for all tests, beside the test
// binary: the go command removes that folder when the tests have ended.
var programs = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(filepath.Dir(self), "bin")
	return dir, built.Programs(context.Background(), dir, false, built.Distributed()...)
})

// config is that of a topology whose files are all below its Parent. Small is
// one of each.
func config(t *testing.T, small bool) Config {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	parent, err := os.MkdirTemp("", "curfew-topology-test-") //nolint:usetesting // the folder above t.TempDir is closed to the user of Postgres
	if err == nil {
		err = os.Chmod(parent, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(parent); err != nil {
			t.Error(err)
		}
	})
	cfg := Config{
		Programs: dir, Finder: find.Finder{Getenv: os.Getenv}, Environ: os.Environ(), Clock: clock.System{}, Parent: parent,
	}
	if small {
		cfg.Issuers, cfg.Revokers, cfg.Auditors, cfg.Streams = 1, 1, 1, 1
	}
	return cfg
}

// open opens a topology, or skips the test where a server is missing.
func open(t *testing.T, cfg Config) *Topology {
	t.Helper()
	top, err := Open(t.Context(), cfg)
	var missing *find.NotFoundError
	if errors.As(err, &missing) && os.Getenv("CURFEW_CI") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := top.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return top
}

// serves fails unless clients are served: the root token is known.
func serves(t *testing.T, top *Topology) {
	t.Helper()
	token, err := top.RootToken()
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, top.URL+"/v1/auth/token/lookup-self", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", token.Reveal())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("look up the root token: %s, %v", res.Status, err)
	}
}

func part(t *testing.T, top *Topology, name string) Part {
	t.Helper()
	p, err := top.Part(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// closed closes a topology and fails if anything of it is left.
func closed(t *testing.T, top *Topology, cfg Config) {
	t.Helper()
	pids := map[string]int{}
	for _, name := range top.Names() {
		pids[name] = part(t, top, name).Pid()
	}
	if err := top.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for name, pid := range pids {
		if pid != 0 && server.Alive(pid) {
			t.Errorf("%s still runs, as process %d", name, pid)
		}
	}
	empty(t, cfg.Parent)
}

func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		t.Errorf("left behind: %s", entry.Name())
	}
}

// Each part is killed and stopped alone, the others going on, and comes back
// with what it had.
func TestPartsSingly(t *testing.T) {
	t.Parallel()
	cfg := config(t, false)
	top := open(t, cfg)
	want := []string{
		Store, Index, Replica, "nats-1", "nats-2", "nats-3", "auditor-1", "auditor-2", "revoker-1", "revoker-2", "issuer-1", "issuer-2", Proxy,
	}
	if !slices.Equal(top.Names(), want) {
		t.Fatalf("the parts are %v", top.Names())
	}
	serves(t, top)
	for _, name := range []string{"issuer-2", "revoker-1", "auditor-1", "nats-2", Index, Replica, Proxy, Store} {
		p := part(t, top, name)
		for act, end := range map[string]func(context.Context) error{
			"kill": func(ctx context.Context) error { return top.Kill(ctx, name) },
			"stop": p.Stop,
		} {
			pid := p.Pid()
			if !p.Running() || pid == 0 {
				t.Fatalf("%s does not run", name)
			}
			if err := p.Start(t.Context()); err == nil {
				t.Errorf("%s was started twice", name)
			}
			for range 2 { // the second finds it ended
				if err := end(t.Context()); err != nil {
					t.Fatalf("%s %s: %v", act, name, err)
				}
			}
			if p.Running() || p.Pid() != 0 || server.Alive(pid) {
				t.Errorf("%s runs after %s", name, act)
			}
			for _, other := range want {
				if other != name && !part(t, top, other).Running() {
					t.Errorf("%s %s: %s has ended, too", act, name, other)
				}
			}
			if err := top.Start(t.Context()); err != nil {
				t.Fatalf("start %s again: %v", name, err)
			}
			serves(t, top)
		}
	}
	closed(t, top, cfg)
}

// All of it loses its power at once, or is stopped in order; it comes back with
// the same address, token and store.
func TestWhole(t *testing.T) {
	t.Parallel()
	cfg := config(t, true)
	top := open(t, cfg)
	for act, end := range map[string]func(context.Context) error{
		"kill": func(ctx context.Context) error { return top.Kill(ctx) }, "stop": top.Stop,
	} {
		if err := end(t.Context()); err != nil {
			t.Fatalf("%s: %v", act, err)
		}
		for _, name := range top.Names() {
			if part(t, top, name).Running() {
				t.Errorf("%s: %s runs", act, name)
			}
		}
		if p, ok := part(t, top, "issuer-1").(*Program); act == "stop" && (!ok || p.ExitCode() != 0) {
			t.Errorf("the issuer ended with code %d", p.ExitCode())
		}
		if err := top.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		serves(t, top)
	}
	for _, folder := range top.Folders() {
		if filepath.Dir(folder) != cfg.Parent {
			t.Errorf("%s is not in %s", folder, cfg.Parent)
		}
		if _, err := os.Stat(folder); err != nil {
			t.Error(err)
		}
	}
	if len(top.Folders()) != 4 { // its own, the store's, the index's and its replica's
		t.Errorf("folders are %v", top.Folders())
	}
	if _, err := top.Part("nobody"); err == nil || !strings.Contains(err.Error(), "issuer-1") {
		t.Errorf("a part that is not there: %v", err)
	}
	closed(t, top, cfg)
}

// A part that does not come up is named, with its own words, and nothing is
// left.
func TestPartFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ program, script, says string }{
		"ends":        {"curfew-revoker", "#!/bin/sh\necho out of luck >&2\nexit 3\n", "out of luck"},
		"not started": {"curfew-auditor", "no program", "start auditor-1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config(t, true)
			cfg.Programs = broken(t, cfg.Programs, c.program, c.script)
			_, err := Open(t.Context(), cfg)
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), strings.TrimPrefix(c.program, "curfew-")+"-1") {
				t.Errorf("the error is %v, want one that says %q", err, c.says)
			}
			empty(t, cfg.Parent)
		})
	}
}

// broken is a folder of programs in which one is another.
func broken(t *testing.T, programs, name, text string) string {
	t.Helper()
	dir := t.TempDir()
	entries, err := os.ReadDir(programs)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == name {
			err = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700)
		} else {
			err = os.Symlink(filepath.Join(programs, e.Name()), filepath.Join(dir, e.Name()))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A program that does not end well says so at its stop.
func TestStopReportsAFailure(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "ready")
	p := &Program{
		name: "unhappy", path: "/bin/sh", dir: dir, log: filepath.Join(dir, "log"),
		args: []string{"-c", "trap 'echo oh dear; exit 7' TERM; touch " + file + "; while :; do sleep 0.1; done"},
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist); _, err = os.Stat(file) {
		if !p.Running() {
			t.Fatal(p.LogTail())
		}
	}
	err := p.Stop(t.Context())
	if text := fmt.Sprint(err); !strings.Contains(text, "unhappy") || !strings.Contains(text, "code 7") || !strings.Contains(text, "oh dear") {
		t.Errorf("the error is %v", err)
	}
}

// Whoever gives up waiting for the start finds nothing left.
func TestOpenIsBrokenOff(t *testing.T) {
	t.Parallel()
	cfg := config(t, true)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := Open(ctx, cfg)
		ended <- err
	}()
	for { // until the first program of ours has been started
		if logs, err := filepath.Glob(filepath.Join(cfg.Parent, "*", "nats-1.log")); err != nil || len(logs) > 0 {
			break
		}
		select {
		case err := <-ended:
			t.Skip(err) // a server is missing; other tests fail with it in CI
		default:
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	empty(t, cfg.Parent)
}
