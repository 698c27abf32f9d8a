//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/curfew-project/curfew/shared/testkit"
)

// The statements of the articles' roles (S1.1, S2.1).
const (
	s1Creation   = `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{{name}}";`
	s2Creation   = s1Creation + ` ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO "{{name}}";`
	s2Revocation = `REVOKE ALL PRIVILEGES ON ALL TABLES IN SCHEMA public FROM "{{name}}"; DROP ROLE IF EXISTS "{{name}}";`
)

// target is a database in which credentials are issued.
type target struct {
	*testkit.Cluster
	admin, password, database string
}

// newTarget is a database of its own on the shared cluster.
func newTarget(tb testing.TB, kind testkit.AdminKind) *target {
	tb.Helper()
	return targetOf(tb, testkit.SharedPostgres(tb), kind)
}

func targetOf(tb testing.TB, cluster *testkit.Cluster, kind testkit.AdminKind) *target {
	tb.Helper()
	a := cluster.CreateAdmin(tb, kind)
	return &target{cluster, a.User, a.Password, a.Database}
}

// articleTarget is a cluster as the articles and the recordings have it: the
// user vault_admin, and a table of two rows in the database postgres.
func articleTarget(tb testing.TB, kind testkit.AdminKind, options ...testkit.Option) *target {
	tb.Helper()
	t := &target{testkit.Postgres(tb, options...), "vault_admin", "s3cr3t", "postgres"}
	attribute := "SUPERUSER"
	if kind == testkit.CreateRoleAdmin {
		attribute = "CREATEROLE"
	}
	t.Exec(tb, "postgres", "CREATE ROLE vault_admin LOGIN "+attribute+" PASSWORD 's3cr3t'")
	if kind == testkit.CreateRoleAdmin {
		t.Exec(tb, "postgres", "GRANT pg_signal_backend TO vault_admin")
	}
	t.Exec(tb, "postgres", "GRANT CREATE, USAGE ON SCHEMA public TO vault_admin WITH GRANT OPTION")
	conn := testkit.Connect(tb, t.URL("vault_admin", "s3cr3t", "postgres"))
	_, err := conn.Exec(tb.Context(), `CREATE TABLE items (id integer PRIMARY KEY, name text);
		INSERT INTO items VALUES (1, 'lamp'), (2, 'rope')`)
	must(tb, err, "make the table")
	return t
}

// template is the connection_url of the target.
func (t *target) template() string {
	u, err := url.Parse(t.URL("u", "p", t.database))
	if err != nil {
		return ""
	}
	return "postgresql://{{username}}:{{password}}@" + u.Host + u.Path + "?" + u.RawQuery
}

// setUp enables an engine at mount with the connection "db" and a role "app"
// that has these times to live.
func (t *target) setUp(tb testing.TB, c client, mount, defaultTTL, maxTTL string) {
	tb.Helper()
	must(tb, c.mount(mount, "database"), "enable the engine")
	_, err := c.write(mount+"/config/db", map[string]any{
		"plugin_name": "postgresql-database-plugin", "allowed_roles": "*",
		"connection_url": t.template(), "username": t.admin, "password": t.password,
	})
	must(tb, err, "configure the connection")
	t.role(tb, c, mount, "app", s1Creation, defaultTTL, maxTTL)
}

// role writes a role of the connection "db".
func (t *target) role(tb testing.TB, c client, mount, name, creation, defaultTTL, maxTTL string) {
	tb.Helper()
	_, err := c.write(mount+"/roles/"+name, map[string]any{
		"db_name": "db", "creation_statements": creation, "default_ttl": defaultTTL, "max_ttl": maxTTL,
	})
	must(tb, err, "write role "+name)
}

// credential is what a client was given.
type credential struct {
	lease, user, password string
	duration              time.Duration
}

func credentialOf(a *answer) credential {
	return credential{a.LeaseID, a.text("username"), a.text("password"), time.Duration(a.Duration) * time.Second}
}

// issue reads a credential.
func issue(tb testing.TB, c client, path string) credential {
	tb.Helper()
	a, err := c.read(path)
	must(tb, err, "read "+path)
	if a == nil {
		tb.Fatalf("read %s: no value", path)
	}
	return credentialOf(a)
}

// login opens a session as the leased user. The session is closed after the
// test if it is still there.
func (t *target) login(tb testing.TB, cred credential) *pgx.Conn {
	tb.Helper()
	conn, err := t.tryLogin(tb.Context(), cred)
	must(tb, err, "log in as "+cred.user)
	tb.Cleanup(func() { closeConn(conn) })
	return conn
}

func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	_ = conn.Close(ctx) // it may have been cut off
}

// tryLogin is a login that may be refused.
func (t *target) tryLogin(ctx context.Context, cred credential) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, hang)
	defer cancel()
	return pgx.Connect(ctx, t.URL(cred.user, cred.password, t.database))
}

// works reports whether a credential logs in and reads the table.
func (t *target) works(tb testing.TB, cred credential) bool {
	tb.Helper()
	conn, err := t.tryLogin(tb.Context(), cred)
	if err != nil {
		if code := sqlState(err); code != "28000" && code != "28P01" {
			tb.Fatalf("log in as %s: %v", cred.user, err)
		}
		return false
	}
	defer closeConn(conn)
	var n int
	must(tb, conn.QueryRow(tb.Context(), "SELECT count(*) FROM items").Scan(&n), "read the table")
	return n == 2
}

func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// exists reports whether an account is in the target.
func (t *target) exists(tb testing.TB, user string) bool {
	tb.Helper()
	return t.count(tb, "SELECT count(*) FROM pg_roles WHERE rolname = $1", user) > 0
}

// accounts lists the accounts whose name begins with prefix.
func (t *target) accounts(tb testing.TB, prefix string) []string {
	tb.Helper()
	conn := t.super(tb, t.database)
	defer closeConn(conn)
	rows, err := conn.Query(tb.Context(),
		`SELECT rolname FROM pg_roles WHERE rolname LIKE replace($1, '_', '\_') || '%' ORDER BY 1`, prefix)
	must(tb, err, "list accounts")
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(tb, err, "list accounts")
	return names
}

// sessions is how many sessions an account has.
func (t *target) sessions(tb testing.TB, user string) int {
	tb.Helper()
	return t.count(tb, "SELECT count(*) FROM pg_stat_activity WHERE usename = $1", user)
}

func (t *target) count(tb testing.TB, query string, args ...any) (n int) {
	tb.Helper()
	conn := t.super(tb, t.database)
	defer closeConn(conn)
	must(tb, conn.QueryRow(tb.Context(), query, args...).Scan(&n), query)
	return n
}

// super is a session of the superuser.
func (t *target) super(tb testing.TB, database string) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), t.AdminURL(database))
	must(tb, err, "log in as the superuser")
	return conn
}

// gone waits until an account is not there any more.
func (t *target) gone(tb testing.TB, users ...string) {
	tb.Helper()
	eventually(tb, hang, func() error {
		for _, user := range users {
			if t.exists(tb, user) {
				return fmt.Errorf("account %s is still there", user)
			}
		}
		return nil
	})
}

// pem reads a file of certificates.
func pem(tb testing.TB, path string) string {
	tb.Helper()
	text, err := os.ReadFile(path)
	must(tb, err, "read certificates")
	return strings.TrimSpace(string(text))
}
