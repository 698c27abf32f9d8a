//go:build integration

package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/services/internal/unseal"
	"github.com/curfew-project/curfew/services/internal/version"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store/postgres"
	"github.com/curfew-project/curfew/shared/testkit"
)

// childEnv makes the test binary a program that does not stop in order.
const childEnv = "CURFEW_TEST_STUBBORN"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(Main(config.Revoker, "a test", func(_ context.Context, p *Process) error {
			p.Life.OnStop("stubborn", func(ctx context.Context) error {
				p.Log.Info().Msg("stopping")
				<-ctx.Done()
				return ctx.Err()
			})
			return nil
		}))
	}
	testkit.Main(m)
}

// site is a store, initialised or not, and the configuration that leads there.
type site struct {
	*testing.T
	cluster *testkit.Cluster
	dir     string
}

func newSite(t *testing.T) *site {
	t.Helper()
	return &site{T: t, cluster: testkit.Postgres(t, testkit.Durable()), dir: t.TempDir()}
}

// config is that of a program; the password is in a file.
func (s *site) config(name string) string {
	s.Helper()
	password := filepath.Join(s.dir, "password")
	if err := os.WriteFile(password, []byte(s.cluster.Password()+"\n"), 0o600); err != nil {
		s.Fatal(err)
	}
	return monitored + fmt.Sprintf(`
name     = %q
key_file = %q
store "postgres" { url = "postgres://%s@%s:%d/postgres" password_file = %q }
nats  { servers = ["nats://127.0.0.1:1"] }
redis { addresses = ["127.0.0.1:1"] }
`, name, filepath.Join(s.dir, "seal.key"), s.cluster.Superuser(), s.cluster.Host(), s.cluster.Port(), password)
}

func (s *site) open() *postgres.Store {
	s.Helper()
	st, err := postgres.Open(s.Context(), clock.System{}, zerolog.Nop(), postgres.Config{URL: secret.New(s.cluster.AdminURL("postgres"))})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = st.Close() })
	return st
}

// initialise makes the installation, as an issuer does.
func (s *site) initialise(st *postgres.Store) {
	s.Helper()
	i := unseal.New(st, unseal.Config{KeyFile: filepath.Join(s.dir, "seal.key"), StorageType: "postgresql"})
	i.Roots(func(context.Context, secret.Value) error { return nil })
	if err := i.Initialise(s.Context(), unseal.NewToken()); err != nil {
		s.Fatal(err)
	}
}

func await(ctx context.Context, p *Process) error { return p.Await(ctx) }

// A program waits for the installation, is ready when it is there, is known to
// the others while it runs, and is forgotten when it has stopped.
func TestLife(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := launch(t, s.config("one"), await)
	eventually(t, "it waits for the installation", func() bool {
		code, body := r.monitor("/readyz")
		return code == 503 && body == "start: the installation is not initialised\n"
	})
	st := s.open()
	s.initialise(st)
	eventually(t, "it is ready", func() bool { code, _ := r.monitor("/readyz"); return code == 200 })
	var known []installation.Process
	eventually(t, "it says that it runs", func() bool {
		var err error
		known, err = installation.Processes(t.Context(), st)
		return err == nil && len(known) == 1
	})
	if p := known[0]; p.Name != "one" || p.Program != "curfew-revoker" || p.Version != version.Version || p.Skew.Abs() > time.Minute {
		t.Errorf("it says %+v", p)
	}
	if code, body := r.monitor("/metrics"); code != 200 || !strings.Contains(body, "curfew_store_up 1") ||
		!strings.Contains(body, `curfew_process_seen_timestamp_seconds{process="one",program="curfew-revoker"`) {
		t.Errorf("metrics: %d %s", code, body)
	}
	r.stop()
	if code := r.code(); code != 0 {
		t.Errorf("exit %d: %s", code, r.stderr.String())
	}
	if known, err := installation.Processes(t.Context(), st); err != nil || len(known) > 0 {
		t.Errorf("after its stop: %+v, %v", known, err)
	}
}

// A store that goes away and comes back, at the start and later, ends nothing;
// meanwhile the process is not ready, says so soon, and lives.
func TestStoreGoesAway(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.initialise(s.open())
	s.cluster.Stop(t, testkit.Immediate)
	r := launch(t, s.config("one"), await)
	eventually(t, "it waits for the store", func() bool {
		code, body := r.monitor("/readyz")
		return code == 503 && body == "start: the store has not answered yet\n"
	})
	for range 2 {
		s.cluster.Start(t)
		eventually(t, "it is ready", func() bool { code, _ := r.monitor("/readyz"); return code == 200 })
		s.cluster.Stop(t, testkit.Immediate)
		eventually(t, "it is not ready", func() bool {
			code, body := r.monitor("/readyz")
			return code == 503 && strings.HasPrefix(body, "store: ")
		})
		if code, body := r.monitor("/metrics"); code != 200 || !strings.Contains(body, "curfew_store_up 0") || !strings.Contains(body, "go_goroutines") {
			t.Errorf("metrics: %d %s", code, body)
		}
		if code, _ := r.monitor("/livez"); code != 200 {
			t.Errorf("live: %d", code)
		}
	}
	r.stop()
	r.code() // it could not say goodbye
}

// A part that fails ends the process, with its reason and exit code 1, after the
// others have stopped in order; so does a role that cannot start.
func TestFailures(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.initialise(s.open())
	broken := errors.New("broken on purpose")
	for name, role := range map[string]Role{
		"part": func(ctx context.Context, p *Process) error {
			if err := p.Await(ctx); err != nil {
				return err
			}
			p.Life.OnStop("another part", func(context.Context) error { p.Log.Info().Msg("stopped in order"); return nil })
			p.Life.Run(ctx, "weak part", func(context.Context) error { return broken })
			return nil
		},
		"role": func(_ context.Context, p *Process) error {
			p.Life.OnStop("another part", func(context.Context) error { p.Log.Info().Msg("stopped in order"); return nil })
			return broken
		},
	} {
		r := launch(t, s.config(name), role)
		if code := r.code(); code != 1 || !strings.Contains(r.stderr.String(), broken.Error()) || !strings.Contains(r.stderr.String(), "stopped in order") {
			t.Errorf("%s: exit %d: %s", name, code, r.stderr.String())
		}
	}
}

// A key file of another installation ends the program and names the file; the
// log holds no password.
func TestForeignKeyFile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.initialise(s.open())
	if err := os.WriteFile(filepath.Join(s.dir, "seal.key"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := launch(t, s.config("one"), await)
	if code := r.code(); code != 1 || !strings.Contains(r.stderr.String(), "seal.key") {
		t.Errorf("exit %d: %s", code, r.stderr.String())
	}
	if strings.Contains(r.stderr.String(), s.cluster.Password()) {
		t.Error("the store's password is in the log")
	}
}

// The first signal stops in order; a second one ends a stop that takes too long.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-config="+file(t, s.config("one")))
	cmd.Env = append(os.Environ(), childEnv+"=1")
	var stderr output
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	eventually(t, "it runs", func() bool { return stderr.field("running", "name") == "one" })
	signal := func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
	}
	signal()
	eventually(t, "it begins to stop", func() bool { return strings.Contains(stderr.String(), `"stopping"`) })
	eventually(t, "it ends", func() bool {
		signal() // again and again: it may not listen yet
		return len(ended) > 0
	})
	var exit *exec.ExitError
	if err := <-ended; !errors.As(err, &exit) || !exit.Sys().(syscall.WaitStatus).Signaled() {
		t.Errorf("it ended with %v, want the signal: %s", err, stderr.String())
	}
}
