//go:build e2e

package fault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/child"
	"github.com/curfew-project/curfew/services/internal/topology"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/testkit"
	"github.com/curfew-project/curfew/shared/testkit/find"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// form is what Curfew runs as.
type form interface {
	// name is how the table calls it.
	name() string
	url() string
	token(tb testing.TB) string // of the first start
	// processes that can be killed; ours are the programs of Curfew.
	processes() []string
	ours() []string
	running(tb testing.TB, name string) bool
	// pid of one of them, that runs.
	pid(tb testing.TB, name string) int
	kill(tb testing.TB, names ...string)
	// stop ends our programs in good order; one that is killed meanwhile is.
	stop(tb testing.TB)
	// start starts what does not run, and returns when all can work; or with the
	// error of one that ended meanwhile, as it does at an armed point.
	start(ctx context.Context) error
	// devices is a folder in which files of audit devices may be.
	devices(tb testing.TB) string
	// programs is the folder of the programs, and environ what they are run with.
	programs() string
	environ() []string
}

// settings of both forms: sweeps that come round often.
const settings = `expiry { stray_sweep = "1s" }` + "\n"

// option changes how Curfew is run: its Settings are of both forms, the rest is
// of the distributed one.
type option func(*topology.Config)

// with are the usual settings and these.
func with(options []option) topology.Config {
	cfg := topology.Config{Streams: 1, Settings: settings}
	for _, o := range options {
		o(&cfg)
	}
	return cfg
}

// single is the one-machine form.
type single struct {
	dir, bin, config, address, log string
	child                          *child.Child
}

func newServer(tb testing.TB, bin string, options ...option) *single {
	tb.Helper()
	s := unstarted(tb, bin, options...)
	must(tb, s.start(tb.Context()), "start the server")
	return s
}

func unstarted(tb testing.TB, bin string, options ...option) *single {
	tb.Helper()
	cfg := with(options)
	dir := tb.TempDir()
	s := &single{
		dir: filepath.Join(dir, "data"), bin: bin, config: filepath.Join(dir, "curfew.hcl"),
		address: fmt.Sprintf("127.0.0.1:%d", testkit.Port(tb)), log: filepath.Join(dir, "log"),
	}
	text := fmt.Sprintf("data_dir = %q\nlistener \"tcp\" { address = %q tls_disable = true }\n", s.dir, s.address)
	must(tb, os.WriteFile(s.config, []byte(text+cfg.Settings), 0o600), "write the configuration")
	tb.Cleanup(func() {
		must(tb, s.child.Stop(context.WithoutCancel(tb.Context()), hang), "stop the server")
		wrote(tb, "curfew server", s.log)
	})
	return s
}

func (s *single) name() string        { return "one machine" }
func (s *single) url() string         { return "http://" + s.address }
func (s *single) processes() []string { return []string{"server"} }
func (s *single) ours() []string      { return s.processes() }
func (s *single) environ() []string   { return server.Environ(os.Environ(), filepath.Dir(s.dir)) }
func (s *single) programs() string    { return s.bin }

func (s *single) token(tb testing.TB) string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "root-token"))
	must(tb, err, "read the root token")
	return strings.TrimSpace(string(text))
}

func (s *single) running(testing.TB, string) bool { return s.child.Running() }
func (s *single) pid(testing.TB, string) int      { return s.child.Pid() }

func (s *single) kill(tb testing.TB, _ ...string) {
	tb.Helper()
	must(tb, s.child.Kill(), "kill the server")
}

func (s *single) stop(tb testing.TB) {
	tb.Helper()
	must(tb, s.child.Stop(tb.Context(), hang), "stop the server")
}

func (s *single) start(ctx context.Context) error {
	if !s.child.Running() {
		log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		cmd := exec.Command(filepath.Join(s.bin, "curfew"), "server", "-config="+s.config)
		cmd.Env = append(s.environ(), "TMPDIR="+filepath.Dir(s.dir))
		cmd.Stdout, cmd.Stderr = log, log
		s.child, err = child.Start(cmd)
		if err = errors.Join(err, log.Close()); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, hang)
	defer cancel()
	for {
		err := healthy(ctx, s.url()+"/v1/sys/health")
		if err == nil {
			return nil
		}
		select {
		case <-s.child.Ended():
			return errors.New("the server ended")
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func healthy(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_ = res.Body.Close() // nothing of it is read
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, res.Status)
	}
	return nil
}

func (s *single) devices(tb testing.TB) string {
	tb.Helper()
	dir := filepath.Join(s.dir, "devices")
	must(tb, os.MkdirAll(dir, 0o700), "make the folder of devices")
	return dir
}

// fleet is the distributed form.
type fleet struct {
	*topology.Topology
	bin   string
	front func() string // URL that clients use, where it is not the load balancer's
}

func newFleet(tb testing.TB, bin string, options ...option) *fleet {
	tb.Helper()
	cfg := with(options)
	cfg.Programs, cfg.Finder, cfg.Environ, cfg.Clock = bin, find.Finder{Getenv: os.Getenv}, os.Environ(), clock.System{}
	top, err := topology.Open(tb.Context(), cfg)
	var missing *find.NotFoundError
	if errors.As(err, &missing) && os.Getenv("CURFEW_CI") != "1" {
		tb.Skip(err)
	}
	must(tb, err, "start the fleet")
	f := &fleet{Topology: top, bin: bin}
	tb.Cleanup(func() {
		for _, name := range f.ours() {
			if p, ok := f.part(tb, name).(*topology.Program); ok {
				wrote(tb, name, p.Log())
			}
		}
		must(tb, f.Close(context.WithoutCancel(tb.Context())), "end the fleet")
	})
	return f
}

func (f *fleet) name() string     { return "distributed" }
func (f *fleet) programs() string { return f.bin }
func (f *fleet) url() string {
	if f.front != nil {
		return f.front()
	}
	return f.URL
}

func (f *fleet) environ() []string {
	return topology.Environ(os.Environ(), filepath.Join(f.Dir, "home"))
}

func (f *fleet) token(tb testing.TB) string {
	tb.Helper()
	root, err := f.RootToken()
	must(tb, err, "read the root token")
	return root.Reveal()
}

// processes are all: of NATS, Redis and the store too.
func (f *fleet) processes() []string { return f.Names() }

func (f *fleet) ours() (names []string) {
	for _, name := range f.Names() {
		for _, role := range []string{"issuer-", "revoker-", "auditor-"} {
			if strings.HasPrefix(name, role) {
				names = append(names, name)
			}
		}
	}
	return names
}

func (f *fleet) part(tb testing.TB, name string) topology.Part {
	tb.Helper()
	p, err := f.Part(name)
	must(tb, err, "find a part")
	return p
}

func (f *fleet) running(tb testing.TB, name string) bool {
	tb.Helper()
	return f.part(tb, name).Running()
}

func (f *fleet) pid(tb testing.TB, name string) int {
	tb.Helper()
	return f.part(tb, name).Pid()
}

func (f *fleet) kill(tb testing.TB, names ...string) {
	tb.Helper()
	must(tb, f.Kill(tb.Context(), names...), "kill "+strings.Join(names, ", "))
}

func (f *fleet) stop(tb testing.TB) {
	tb.Helper()
	for _, name := range f.ours() {
		_ = f.part(tb, name).Stop(tb.Context()) // it may be killed meanwhile
	}
}

func (f *fleet) start(ctx context.Context) error { return f.Start(ctx) }
func (f *fleet) devices(testing.TB) string       { return f.LogDir() }

// wrote fails where a program said what it must never say.
func wrote(tb testing.TB, name, log string) {
	tb.Helper()
	text, err := os.ReadFile(log)
	must(tb, err, "read the log of "+name)
	for _, bad := range []string{"panic: ", "goroutine 1 [", "fatal error: "} {
		if _, after, found := strings.Cut(string(text), bad); found {
			tb.Errorf("%s wrote %q:\n%s", name, bad, after[:min(len(after), 4000)])
		}
	}
	if tb.Failed() {
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		tb.Logf("the log of %s ends:\n%s", name, strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
}
