//go:build e2e

package fleet

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/testkit"
)

// creation is a role's with membership only: the cheapest account.
const creation = `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; GRANT readers TO "{{name}}";`

// marked is how every account of Curfew begins (B2).
const marked = "v-"

// target is a cluster in which one fleet alone makes accounts.
type target struct {
	*testkit.Cluster
	admin *testkit.Admin
}

func newTarget(tb testing.TB) *target {
	tb.Helper()
	c := testkit.Postgres(tb)
	a := c.CreateAdmin(tb, testkit.CreateRoleAdmin)
	c.Exec(tb, a.Database, "CREATE ROLE readers")
	c.Exec(tb, a.Database, "GRANT SELECT ON items TO readers; GRANT readers TO "+a.User+" WITH ADMIN OPTION")
	return &target{c, a}
}

// setUp enables the engine with the connection "db", the role "app" whose leases
// are long, and "brief" whose leases are short.
func (g *target) setUp(tb testing.TB, c *vault.Client) {
	tb.Helper()
	must(tb, c.Sys().Mount("database", &vault.MountInput{Type: "database"}), "enable the engine")
	u, err := url.Parse(g.URL("u", "p", g.admin.Database))
	must(tb, err, "parse the URL")
	_, err = c.Logical().Write("database/config/db", map[string]any{
		"plugin_name": "postgresql-database-plugin", "allowed_roles": "*",
		"connection_url": "postgresql://{{username}}:{{password}}@" + u.Host + u.Path + "?" + u.RawQuery,
		"username":       g.admin.User, "password": g.admin.Password,
	})
	must(tb, err, "configure the connection")
	must(tb, g.role(c, "app", time.Hour), "write role app")
	must(tb, g.role(c, "brief", briefTTL), "write role brief")
}

// briefTTL is how long the leases of the role "brief" live.
const briefTTL = 3 * time.Second

// role writes a role whose leases live as long as ttl says, or are renewed. more
// are further statements of a creation.
func (g *target) role(c *vault.Client, name string, ttl time.Duration, more ...string) error {
	_, err := c.Logical().Write("database/roles/"+name, map[string]any{
		"db_name": "db", "creation_statements": creation + strings.Join(more, " "), "scram_iterations": 1,
		"default_ttl": fmt.Sprintf("%ds", int(ttl.Seconds())), "max_ttl": "24h",
	})
	return err
}

// accounts are all with our mark.
func (g *target) accounts(tb testing.TB) map[string]bool {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), g.AdminURL("postgres"))
	must(tb, err, "log in as the superuser")
	defer closeConn(tb, conn)
	rows, err := conn.Query(tb.Context(), "SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1)", marked)
	must(tb, err, "list accounts")
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(tb, err, "list accounts")
	out := make(map[string]bool, len(names))
	for _, name := range names {
		out[name] = true
	}
	return out
}

// login reports why a credential does not log in and read the table.
func (g *target) login(tb testing.TB, c credential) error {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), hang)
	defer cancel()
	conn, err := pgx.Connect(ctx, g.URL(c.user, c.password, g.admin.Database))
	if err != nil {
		return err
	}
	defer closeConn(tb, conn)
	var n int
	return conn.QueryRow(ctx, "SELECT count(*) FROM items").Scan(&n)
}

// logins fails for each credential that does not work.
func (g *target) logins(tb testing.TB, all []credential) {
	tb.Helper()
	work := make(chan credential)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for c := range work {
				if err := g.login(tb, c); err != nil {
					tb.Errorf("%s does not work, though a client holds it: %v", c.user, err)
				}
			}
		})
	}
	for _, c := range all {
		work <- c
	}
	close(work)
	clients.Wait()
}

func closeConn(tb testing.TB, conn *pgx.Conn) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), hang)
	defer cancel()
	_ = conn.Close(ctx) // it may have been cut off
}

// gone waits until none of the accounts is in the target.
func (f *fleet) gone(tb testing.TB, creds []credential) time.Duration {
	tb.Helper()
	return eventually(tb, "accounts go", func() error {
		there := f.target.accounts(tb)
		for _, cred := range creds {
			if there[cred.user] {
				return fmt.Errorf("%s is still there", cred.user)
			}
		}
		return nil
	})
}
