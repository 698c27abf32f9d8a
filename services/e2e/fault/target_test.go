//go:build e2e

package fault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	vault "github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/curfew-project/curfew/shared/testkit"
)

// creation is a role's with membership only: the cheapest account.
const creation = `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; GRANT readers TO "{{name}}";`

// Times to live of the roles.
const (
	longTTL  = "12h" // longer than any run
	briefTTL = "3s"
	// longIncrement is longTTL in seconds, as a renewal asks for it.
	longIncrement = 12 * 60 * 60
)

// billing is an account that people made, with a static role of its name.
const billing = "billing"

// target is a cluster in which one installation alone makes accounts.
type target struct {
	*testkit.Cluster
	admin   *testkit.Admin
	super   *pgx.Conn // of the harness
	mount   string    // of the engine that works on it
	address string    // of what stands before it; empty: nothing does
}

func newTarget(tb testing.TB, options ...testkit.Option) *target {
	tb.Helper()
	c := testkit.Postgres(tb, options...)
	g := &target{Cluster: c, admin: c.CreateAdmin(tb, testkit.CreateRoleAdmin), mount: "database"}
	for _, sql := range []string{
		"CREATE ROLE readers; GRANT SELECT ON items TO readers; GRANT readers TO " + g.admin.User + " WITH ADMIN OPTION",
		"CREATE ROLE " + billing + " LOGIN PASSWORD 'of-the-people'; GRANT readers TO " + billing + "; GRANT " + billing + " TO " + g.admin.User + " WITH ADMIN OPTION",
	} {
		c.Exec(tb, g.admin.Database, sql)
	}
	g.super = testkit.Connect(tb, c.AdminURL(g.admin.Database))
	return g
}

// template is the connection_url.
func (g *target) template(tb testing.TB) string {
	tb.Helper()
	u, err := url.Parse(g.URL("u", "p", g.admin.Database))
	must(tb, err, "parse the URL")
	return "postgresql://{{username}}:{{password}}@" + cmp.Or(g.address, u.Host) + u.Path + "?" + u.RawQuery
}

// connection is the configuration of a connection of an admin.
func (g *target) connection(tb testing.TB, user, password string) map[string]any {
	tb.Helper()
	return map[string]any{
		"plugin_name": "postgresql-database-plugin", "allowed_roles": "*",
		"connection_url": g.template(tb), "username": user, "password": password,
	}
}

func role(ttl string) map[string]any {
	return map[string]any{
		"db_name": "db", "creation_statements": creation, "scram_iterations": 1, "default_ttl": ttl, "max_ttl": "24h",
	}
}

// setUp enables the engine with the connection "db" and its roles.
func (g *target) setUp(tb testing.TB, c *vault.Client) {
	tb.Helper()
	must(tb, c.Sys().Mount(g.mount, &vault.MountInput{Type: "database"}), "enable the engine")
	own := role(longTTL) // statements that run alone, and do not all that is needed
	own["revocation_statements"] = `SELECT 1; REVOKE readers FROM "{{name}}";`
	own["creation_statements"] = `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}'; SELECT 1; GRANT readers TO "{{name}}";`
	type write struct {
		path string
		data map[string]any
	}
	writes := []write{
		{"config/db", g.connection(tb, g.admin.User, g.admin.Password)},
		{"roles/app", role(longTTL)},
		{"roles/batch", role(longTTL)},
		{"roles/forced", role(longTTL)},
		{"roles/brief", role(briefTTL)},
		{"roles/stuck", role(longTTL)},
		{"roles/own", own},
	}
	if g.mount == "database" {
		writes = append(writes, write{"static-roles/" + billing, map[string]any{"db_name": "db", "username": billing, "rotation_period": "5s"}})
	}
	for _, w := range writes {
		_, err := c.Logical().Write(g.mount+"/"+w.path, w.data)
		must(tb, err, "write "+w.path)
	}
}

// marked is how every account of Curfew begins (B2).
const marked = "v-"

// accounts are all with our mark, and whether each may log in.
func (g *target) accounts(tb testing.TB) map[string]bool {
	tb.Helper()
	rows, err := g.super.Query(tb.Context(), "SELECT rolname, rolcanlogin FROM pg_roles WHERE starts_with(rolname, $1)", marked)
	must(tb, err, "list accounts")
	out := map[string]bool{}
	var name string
	var login bool
	_, err = pgx.ForEachRow(rows, []any{&name, &login}, func() error { out[name] = login; return nil })
	must(tb, err, "list accounts")
	return out
}

// login reports why a credential does not log in and read the table.
func (g *target) login(ctx context.Context, user, password string) error {
	ctx, cancel := context.WithTimeout(ctx, hang)
	defer cancel()
	conn, err := pgx.Connect(ctx, g.URL(user, password, g.admin.Database))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // it may have been cut off
	var n int
	return conn.QueryRow(ctx, "SELECT count(*) FROM items").Scan(&n)
}

// refused reports whether the target refused a login, and did not merely not
// answer.
func refused(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && strings.HasPrefix(pg.Code, "28")
}

// exec runs a statement as the superuser, where it can.
func (g *target) exec(tb testing.TB, format string, args ...any) error {
	tb.Helper()
	_, err := g.super.Exec(tb.Context(), fmt.Sprintf(format, args...))
	return err
}
