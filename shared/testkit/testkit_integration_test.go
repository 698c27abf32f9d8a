//go:build integration

package testkit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"

	"github.com/curfew-project/curfew/shared/testkit"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// What a server acknowledged before SIGKILL is there after it, at the same
// address; in between nothing answers and no process is left.
func TestPostgresKeepsDataThroughAKill(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t)
	url := cluster.AdminURL("postgres")
	must(t, testkit.Connect(t, url), "CREATE TABLE kept (id int); INSERT INTO kept VALUES (1), (2)")
	// A backend at work does not notice by itself that its postmaster died.
	busy := testkit.Connect(t, url)
	backend := int(busy.PgConn().PID())
	ended := make(chan error, 1)
	go func() {
		_, err := busy.Exec(context.WithoutCancel(t.Context()), "SELECT pg_sleep(3600)")
		ended <- err
	}()
	pid := cluster.Pid()

	cluster.Kill(t)
	if err := <-ended; err == nil {
		t.Error("a statement outlived its server")
	}
	if cluster.Running() || server.Alive(pid) {
		t.Errorf("after a kill: running %v, postmaster alive %v", cluster.Running(), server.Alive(pid))
	}
	if !cluster.Contained() && server.Alive(backend) {
		t.Error("after a kill a backend is alive")
	}
	if conn, err := pgx.Connect(t.Context(), url); err == nil {
		t.Errorf("something answers at %s after the kill", conn.Config().Host)
	}

	cluster.Start(t)
	if got := scalar[int](t, testkit.Connect(t, url), "SELECT count(*) FROM kept"); got != 2 {
		t.Errorf("rows after a kill: %d, want 2", got)
	}
	if !strings.Contains(cluster.Log(t), "was not properly shut down") {
		t.Error("the log does not say that the server recovered")
	}

	cluster.Stop(t, testkit.Fast)
	cluster.Stop(t, testkit.Fast) // stopped already
	cluster.Start(t)
	if got := scalar[int](t, testkit.Connect(t, url), "SELECT count(*) FROM kept"); got != 2 {
		t.Errorf("rows after a stop: %d, want 2", got)
	}
}

// Sessions end when the server is stopped, and a server without TLS takes no
// login without the password.
func TestPostgresWantsThePassword(t *testing.T) {
	t.Parallel()
	cluster := testkit.SharedPostgres(t)
	_, err := pgx.Connect(t.Context(), cluster.URL(cluster.Superuser(), "wrong", "postgres"))
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "28P01" {
		t.Errorf("login with a wrong password: %v, want SQLSTATE 28P01", err)
	}
	if strings.Contains(cluster.Log(t), cluster.Password()) {
		t.Error("the log holds the superuser's password")
	}
}

func TestPostgresSettings(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t, testkit.Durable(), testkit.WithSetting("log_statement", "all"),
		testkit.WithSetting("application_name", "it's"))
	conn := testkit.Connect(t, cluster.AdminURL("postgres"))
	for name, want := range map[string]string{
		"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on",
		"log_statement": "all", "application_name": "it's", "listen_addresses": "127.0.0.1",
		"unix_socket_directories": "", "password_encryption": "scram-sha-256",
	} {
		if got := scalar[string](t, conn, "SELECT current_setting($1)", name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	must(t, conn, "SELECT 'seen in the log'")
	if !strings.Contains(cluster.Log(t), "seen in the log") {
		t.Error("log_statement=all has no effect on Log")
	}
}

// verify-full works with the right authority only, and only for the names in
// the certificate; without TLS there is no way in.
func TestPostgresTLS(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t, testkit.HostSSLOnly())
	elsewhere := testkit.Postgres(t, testkit.WithTLS("db.example.com"))
	for name, test := range map[string]struct {
		url  string
		want string // part of the error; empty: works
	}{
		"right authority":   {cluster.AdminURL("postgres"), ""},
		"another authority": {cluster.AdminURL("postgres", "sslrootcert="+cluster.OtherCAFile()), "signed by unknown authority"},
		"unverified":        {cluster.AdminURL("postgres", "sslmode=require", "sslrootcert="), ""},
		"plaintext":         {cluster.AdminURL("postgres", "sslmode=disable"), "no encryption"},
		"another host":      {elsewhere.AdminURL("postgres"), "cannot validate certificate for 127.0.0.1"},
		"host not checked":  {elsewhere.AdminURL("postgres", "sslmode=verify-ca"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := pgx.Connect(t.Context(), test.url)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("connect: %v, want an error with %q", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !scalar[bool](t, conn, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") {
				t.Error("the session is not encrypted")
			}
			if err := conn.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestStandbyReplaysAndIsPromoted(t *testing.T) {
	t.Parallel()
	primary := testkit.Postgres(t, testkit.HostSSLOnly())
	standby := primary.Standby(t)
	must(t, testkit.Connect(t, primary.AdminURL("postgres")), "CREATE TABLE sent (id int); INSERT INTO sent VALUES (7)")
	standby.WaitReplay(t, primary)
	conn := testkit.Connect(t, standby.AdminURL("postgres"))
	if got := scalar[int](t, conn, "SELECT id FROM sent"); got != 7 {
		t.Errorf("read on the standby: %d, want 7", got)
	}
	if !scalar[bool](t, conn, "SELECT pg_is_in_recovery()") {
		t.Error("the standby takes itself for a primary")
	}
	standby.Kill(t)
	standby.Start(t)
	primary.Kill(t)
	standby.Promote(t)
	must(t, testkit.Connect(t, standby.AdminURL("postgres")), "INSERT INTO sent VALUES (8)")
}

// Either kind of admin can make a user, let it read items, and end its
// session; only one of them is a superuser; they do not see each other's data.
func TestAdmins(t *testing.T) {
	t.Parallel()
	for _, kind := range testkit.AdminKinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			admin := testkit.SharedPostgres(t).CreateAdmin(t, kind)
			conn := admin.Connect(t)
			user := admin.User + "_user"
			must(t, conn, "CREATE ROLE "+user+" LOGIN PASSWORD 'pw'")
			must(t, conn, "GRANT SELECT ON items TO "+user)
			session := testkit.Connect(t, admin.Cluster().URL(user, "pw", admin.Database))
			if got := scalar[string](t, session, "SELECT string_agg(name, ' ' ORDER BY id) FROM items"); got != "lamp rope" {
				t.Errorf("items = %q, want lamp rope", got)
			}
			ended := scalar[bool](t, conn, "SELECT pg_terminate_backend($1, 60000)", session.PgConn().PID())
			if _, err := session.Exec(t.Context(), "SELECT 1"); !ended || err == nil {
				t.Errorf("end a session: %v, then a statement in it: %v", ended, err)
			}
			super := scalar[string](t, conn, "SELECT current_setting('is_superuser')") == "on"
			if super != (admin.Kind == testkit.SuperuserAdmin) {
				t.Errorf("superuser: %v", super)
			}
			if other := admin.NewDatabase(t); other == admin.Database {
				t.Errorf("NewDatabase gave %s twice", other)
			}
		})
	}
}

func TestNewDatabaseIsDropped(t *testing.T) {
	t.Parallel()
	cluster := testkit.SharedPostgres(t)
	var name string
	t.Run("inner", func(t *testing.T) {
		name = cluster.NewDatabase(t)
		cluster.Exec(t, name, "CREATE TABLE x ()")
	})
	conn := testkit.Connect(t, cluster.AdminURL("postgres"))
	if scalar[bool](t, conn, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name) {
		t.Errorf("database %s is there after its test", name)
	}
}

func TestRedisKeepsDataThroughAKill(t *testing.T) {
	t.Parallel()
	r := testkit.Redis(t)
	options, err := redis.ParseURL(r.URL())
	if err != nil {
		t.Fatal(err)
	}
	options.MaxRetries, options.DialerRetries = -1, 1 // what is asked for while it is down
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	ctx := t.Context()
	if err := client.Set(ctx, "kept", "yes", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for name, stop := range map[string]func(testing.TB){"kill": r.Kill, "stop": r.Stop} {
		pid := r.Pid()
		stop(t)
		if r.Running() || server.Alive(pid) {
			t.Errorf("after %s: running %v, alive %v", name, r.Running(), server.Alive(pid))
		}
		if err := client.Get(ctx, "kept").Err(); err == nil || errors.Is(err, redis.Nil) {
			t.Errorf("after %s something answers: %v", name, err)
		}
		r.Start(t)
		if got, err := client.Get(ctx, "kept").Result(); got != "yes" || err != nil {
			t.Errorf("after %s: %q, %v", name, got, err)
		}
	}
	r.FlushAll(t)
	if err := client.Get(ctx, "kept").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("after a flush: %v, want redis.Nil", err)
	}
}

// When a test has ended, so have its servers, and their files are gone.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	var pids []int
	var files []string
	t.Run("inner", func(t *testing.T) {
		cluster := testkit.Postgres(t, testkit.WithTLS())
		standby := cluster.Standby(t)
		r := testkit.Redis(t)
		pids = append(pids, cluster.Pid(), standby.Pid(), r.Pid())
		if conn := testkit.Connect(t, cluster.AdminURL("postgres")); !cluster.Contained() {
			pids = append(pids, int(conn.PgConn().PID()))
		}
		files = append(files, filepath.Dir(cluster.CAFile()), filepath.Dir(standby.CAFile()))
	})
	for _, pid := range pids {
		if pid == 0 || server.Alive(pid) {
			t.Errorf("process %d is alive after its test", pid)
		}
	}
	for _, file := range files {
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there after its test: %v", file, err)
		}
	}
}

// No test server sees what its user has configured.
func TestServersSeeNoForeignVariables(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	for _, name := range []string{"PGPASSWORD", "VAULT_TOKEN", "BAO_ADDR"} {
		t.Setenv(name, "foreign")
	}
	cluster, r := testkit.Postgres(t), testkit.Redis(t)
	for _, pid := range []int{cluster.Pid(), r.Pid()} {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(environ, []byte("foreign")) {
			t.Errorf("process %d has: %q", pid, environ)
		}
		home := os.Getenv("HOME") // the docker client needs it, its container has another
		if home != "" && !cluster.Contained() && bytes.Contains(environ, []byte("\x00HOME="+home+"\x00")) {
			t.Errorf("process %d has its user's HOME", pid)
		}
	}
}

func must(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func scalar[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) (value T) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}
