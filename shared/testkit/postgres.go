package testkit

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/testkit/server"
)

// StopMode says what happens to the clients of a cluster that is stopped.
type StopMode = server.StopMode

// The modes of pg_ctl.
const (
	Smart     = server.Smart     // wait for clients to leave
	Fast      = server.Fast      // end their sessions
	Immediate = server.Immediate // as a crash: recover at the next start
)

// Option configures a cluster.
type Option func(*clusterConfig)

type clusterConfig struct {
	server.PostgresConfig
	tls   bool
	hosts []string
}

// WithTLS gives the server a certificate for hosts, by default 127.0.0.1 and
// localhost, signed by an authority of its own (Cluster.CAFile).
func WithTLS(hosts ...string) Option {
	return func(c *clusterConfig) {
		c.tls = true
		if c.hosts = hosts; len(hosts) == 0 {
			c.hosts = []string{"127.0.0.1", "localhost"}
		}
	}
}

// HostSSLOnly makes pg_hba.conf hold hostssl lines only; it implies WithTLS.
func HostSSLOnly() Option {
	return func(c *clusterConfig) {
		c.HostSSLOnly = true
		if !c.tls {
			WithTLS()(c)
		}
	}
}

// WithSetting sets a parameter in postgresql.conf, for example "log_statement"
// to "all". ALTER SYSTEM overrides it, as in life.
func WithSetting(name, value string) Option {
	return func(c *clusterConfig) { c.Settings[name] = value }
}

// Durable keeps fsync on (A7).
func Durable() Option {
	return func(c *clusterConfig) { c.Durable = true }
}

// Cluster is a Postgres server and its data.
type Cluster struct {
	server *server.Postgres
	config clusterConfig
	pki    *pki // nil without TLS
}

// Postgres starts a cluster for this test alone: one that it may stop, kill
// and reconfigure.
func Postgres(tb testing.TB, options ...Option) *Cluster {
	tb.Helper()
	cluster, err := newCluster(options)
	check(tb, err)
	closeAfter(tb, cluster.server)
	check(tb, cluster.initAndStart(tb.Context()))
	return cluster
}

// SharedPostgres is the cluster that the tests of this binary share. It is
// started when it is first asked for, and must not be stopped. Isolate tests
// with NewDatabase and CreateAdmin.
func SharedPostgres(tb testing.TB) *Cluster {
	tb.Helper()
	kit.mu.Lock()
	running, start := kit.main, kit.cluster
	kit.mu.Unlock()
	if !running {
		tb.Fatal("SharedPostgres needs: func TestMain(m *testing.M) { testkit.Main(m) }")
	}
	cluster, err := start()
	check(tb, err)
	return cluster
}

// SharedDurablePostgres is another shared cluster, which is as durable as one
// in life ([Durable]).
func SharedDurablePostgres(tb testing.TB) *Cluster {
	tb.Helper()
	kit.mu.Lock()
	running, start := kit.main, kit.durable
	kit.mu.Unlock()
	if !running {
		tb.Fatal("SharedDurablePostgres needs: func TestMain(m *testing.M) { testkit.Main(m) }")
	}
	cluster, err := start()
	check(tb, err)
	return cluster
}

func startShared(options ...Option) (*Cluster, error) {
	cluster, err := newCluster(options)
	if err != nil {
		return nil, err
	}
	remember(cluster.server)
	// Lives longer than any one test; Start has a deadline of its own.
	ctx := context.Background()
	if err := cluster.initAndStart(ctx); err != nil {
		return nil, errors.Join(err, closeOne(ctx, cluster.server))
	}
	return cluster, nil
}

// newCluster makes a cluster and starts nothing.
func newCluster(options []Option) (*Cluster, error) {
	programs, err := finder().Postgres(context.Background()) // has its own deadlines
	if err != nil {
		return nil, err
	}
	config := clusterConfig{PostgresConfig: server.PostgresConfig{
		Programs: programs,
		Environ:  os.Environ(),
		Password: rand.Text(),
		Settings: map[string]string{"max_connections": "300"},
	}}
	for _, option := range options {
		option(&config)
	}
	c := &Cluster{config: config}
	if config.tls {
		if c.pki, err = newPKI(config.hosts); err != nil {
			return nil, err
		}
		config.Certificate, config.Key = c.pki.certificate, c.pki.key
	}
	if c.server, err = server.NewPostgres(config.PostgresConfig); err != nil {
		return nil, err
	}
	if c.pki != nil {
		if err := c.pki.write(c.server.Dir()); err != nil {
			return nil, errors.Join(err, c.server.Close(context.Background()))
		}
	}
	return c, nil
}

func (c *Cluster) initAndStart(ctx context.Context) error {
	if err := c.server.Init(ctx); err != nil {
		return err
	}
	return c.server.Start(ctx)
}

// lasting is a context for acts that have deadlines of their own: a test may
// want them in its clean-up, when its context has ended.
func lasting(tb testing.TB) context.Context {
	tb.Helper()
	return context.WithoutCancel(tb.Context())
}

// Start starts a stopped server on the same port and data.
func (c *Cluster) Start(tb testing.TB) {
	tb.Helper()
	check(tb, c.server.Start(lasting(tb)))
}

// Stop stops the server and returns when it has ended.
func (c *Cluster) Stop(tb testing.TB, mode StopMode) {
	tb.Helper()
	check(tb, c.server.Stop(lasting(tb), mode))
}

// Kill ends the server and its children with SIGKILL and returns when none of
// them exists.
func (c *Cluster) Kill(tb testing.TB) {
	tb.Helper()
	check(tb, c.server.Kill(lasting(tb)))
}

// Running reports whether the server's process exists.
func (c *Cluster) Running() bool { return c.server.Running() }

// Pid is the process id of the postmaster, 0 when it does not run.
func (c *Cluster) Pid() int { return c.server.Pid() }

// Contained reports whether the server lives in a container: pids that it tells
// (pg_backend_pid) are then not those of this machine, and Pid is the docker
// client's.
func (c *Cluster) Contained() bool { return c.server.Contained() }

// Dir is the server's folder; its data is in the folder data below it.
func (c *Cluster) Dir() string { return c.server.Dir() }

// Host is the server's address without the port.
func (c *Cluster) Host() string { return "127.0.0.1" }

// Port is the server's port.
func (c *Cluster) Port() int { return c.server.Port() }

// Superuser and Password log in as the cluster's superuser.
func (c *Cluster) Superuser() string { return server.Superuser }

// Password is the superuser's password.
func (c *Cluster) Password() string { return c.server.Password() }

// Log is everything that the server has logged, across restarts.
func (c *Cluster) Log(tb testing.TB) string {
	tb.Helper()
	log, err := c.server.Log()
	check(tb, err)
	return string(log)
}

// CAFile is a PEM file of the authority that signed the server's certificate;
// it needs WithTLS.
func (c *Cluster) CAFile() string { return filepath.Join(c.server.Dir(), caFile) }

// OtherCAFile is a PEM file of an authority with the same name that did not
// sign it; it needs WithTLS.
func (c *Cluster) OtherCAFile() string { return filepath.Join(c.server.Dir(), otherCAFile) }

// URL is a connection string. TLS is verified in full where the server has it,
// and switched off where it has not; params, such as "sslmode=require", add to
// that or override it.
func (c *Cluster) URL(user, password, database string, params ...string) string {
	query := url.Values{}
	if c.pki != nil {
		query.Set("sslmode", "verify-full")
		query.Set("sslrootcert", c.CAFile())
	} else {
		query.Set("sslmode", "disable")
	}
	for _, param := range params {
		name, value, _ := strings.Cut(param, "=")
		query.Set(name, value)
	}
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(user, password),
		Host:     c.Host() + ":" + strconv.Itoa(c.Port()),
		Path:     "/" + database,
		RawQuery: query.Encode(),
	}
	return u.String()
}

// AdminURL is the superuser's connection string to a database ("postgres"
// always exists).
func (c *Cluster) AdminURL(database string, params ...string) string {
	return c.URL(c.Superuser(), c.Password(), database, params...)
}

// NewDatabase makes an empty database with a name of its own, owned by the
// superuser, and drops it after the test.
func (c *Cluster) NewDatabase(tb testing.TB) string {
	tb.Helper()
	return c.newDatabase(tb, c.Superuser())
}

func (c *Cluster) newDatabase(tb testing.TB, owner string) string {
	tb.Helper()
	name := unique("db")
	c.Exec(tb, "postgres", "CREATE DATABASE "+name+" OWNER "+pgx.Identifier{owner}.Sanitize())
	tb.Cleanup(func() {
		if !c.Running() {
			return // gone with the cluster
		}
		ctx, cancel := context.WithTimeout(context.Background(), closeHangs)
		defer cancel()
		if err := c.exec(ctx, "postgres", "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			tb.Error(err)
		}
	})
	return name
}

// Exec runs statements as the superuser, each of them in a transaction of its
// own only if there is but one.
func (c *Cluster) Exec(tb testing.TB, database, sql string, args ...any) {
	tb.Helper()
	check(tb, c.exec(tb.Context(), database, sql, args...))
}

func (c *Cluster) exec(ctx context.Context, database, sql string, args ...any) error {
	conn, err := pgx.Connect(ctx, c.AdminURL(database))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql, args...)
	return errors.Join(err, conn.Close(ctx))
}

// Connect opens a connection and closes it after the test.
func Connect(tb testing.TB, url string) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), url)
	check(tb, err)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeHangs)
		defer cancel()
		_ = conn.Close(ctx) // the test may have ended it, or the server
	})
	return conn
}

// unique is a name that no other test has: lower-case, and needs no quotes.
func unique(prefix string) string {
	return prefix + "_" + strings.ToLower(rand.Text()[:12])
}
