//go:build integration

package postgres_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/postgres"
	"github.com/curfew-project/curfew/shared/store/storetest"
	"github.com/curfew-project/curfew/shared/testkit"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// pooler starts PgBouncer in front of the shared cluster, in transaction mode
// with fewer server connections than the stores have of their own.
func pooler(t *testing.T) (url string) {
	t.Helper()
	program := os.Getenv("CURFEW_PGBOUNCER")
	if program == "" {
		var err error
		if program, err = exec.LookPath("pgbouncer"); err != nil {
			t.Skip("pgbouncer is not installed")
		}
	}
	cluster := testkit.SharedDurablePostgres(t)
	dir, err := os.MkdirTemp("", "curfew-pgbouncer-") //nolint:usetesting // its user must reach it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	port, err := server.TakePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = port.Close() })
	configuration := fmt.Sprintf(`
[databases]
* = host=%s port=%d user=%s password=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 6
max_client_conn = 500
`, cluster.Host(), cluster.Port(), cluster.Superuser(), cluster.Password(), port.Number)
	file := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(file, []byte(configuration), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-q", file)
	cmd.SysProcAttr = unprivileged(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // the test's context has ended it
	url = strings.Replace(cluster.AdminURL("postgres"), fmt.Sprint(":", cluster.Port(), "/"), fmt.Sprint(":", port.Number, "/"), 1)
	waitFor(t, "pgbouncer", func() bool {
		c, err := pgx.Connect(t.Context(), url+"&default_query_exec_mode=exec")
		if err == nil {
			_ = c.Close(t.Context())
		}
		return err == nil
	})
	return url
}

// unprivileged is whom PgBouncer runs as: it refuses to be root.
func unprivileged(t *testing.T) *syscall.SysProcAttr {
	t.Helper()
	attributes := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		return attributes
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skip("pgbouncer refuses to run as root, and there is no user nobody")
	}
	id, err := strconv.ParseUint(nobody.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	attributes.Credential = &syscall.Credential{Uid: uint32(id), Gid: uint32(id)}
	return attributes
}

// The store keeps its laws behind a pooler that gives each transaction another
// session.
func TestBehindAPooler(t *testing.T) {
	t.Parallel()
	url := pooler(t)
	t.Run("laws", func(t *testing.T) {
		t.Parallel()
		storetest.Run(t, func(t *testing.T, c clock.Clock) store.Store {
			t.Helper()
			cfg := configured(t)
			cfg.URL, cfg.Pooled = secret.New(url), true
			return openAt(t, c, cfg)
		})
	})
	t.Run("load", func(t *testing.T) {
		t.Parallel()
		cfg := configured(t)
		direct := cfg.URL
		cfg.URL, cfg.Pooled, cfg.ListenURL = secret.New(url), true, direct
		stores := []*postgres.Store{openReal(t, cfg), openReal(t, cfg)}
		hint, stop := stores[1].Watch()
		defer stop()
		ctx, cancel := contextOf(t)
		listening := make(chan error, 1)
		go func() { listening <- stores[1].Listen(ctx) }()
		<-hint
		if out := stores[0].Apply(t.Context(), begin("b/1"))[0]; out.Err != nil {
			t.Error(out.Err)
		}
		select {
		case <-hint:
		case <-time.After(hangs):
			t.Error("no hint past the pooler")
		}
		cancel()
		if err := <-listening; err != nil {
			t.Error(err)
		}
		done := hammer(t, stores, 16, 20)
		done.versions["b/1"], done.keys["b/1"] = 1, "key of b/1"
		done.check(t, stores[0])
	})
}
