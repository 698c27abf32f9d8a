package testkit

import (
	"crypto/rand"
	"testing"

	"github.com/jackc/pgx/v5"
)

// AdminKind is what an administrator of a target may do.
type AdminKind string

// The kinds with which every test of an engine runs (C4).
const (
	// SuperuserAdmin may do everything.
	SuperuserAdmin AdminKind = "superuser"
	// CreateRoleAdmin has CREATEROLE and pg_signal_backend, which is all that
	// Curfew asks for, and owns what it grants.
	CreateRoleAdmin AdminKind = "createrole"
)

// AdminKinds lists the kinds, for a loop of subtests.
func AdminKinds() []AdminKind { return []AdminKind{SuperuserAdmin, CreateRoleAdmin} }

// Admin is the login that an engine is configured with, and a database that it
// owns. In it the admin also owns the table items (id integer primary key, name
// text), with rows 1 "lamp" and 2 "rope": it can grant on it and on the schema
// public to others.
type Admin struct {
	Kind           AdminKind
	User, Password string
	Database       string

	cluster *Cluster
}

// CreateAdmin makes an administrator with a name and a database of its own.
// The database is dropped after the test; the role stays until the cluster ends,
// because others may depend on it.
func (c *Cluster) CreateAdmin(tb testing.TB, kind AdminKind) *Admin {
	tb.Helper()
	a := &Admin{Kind: kind, User: unique("admin"), Password: rand.Text(), cluster: c}
	switch kind {
	case SuperuserAdmin:
		c.Exec(tb, "postgres", "CREATE ROLE "+a.User+" SUPERUSER LOGIN PASSWORD '"+a.Password+"'")
	case CreateRoleAdmin:
		c.Exec(tb, "postgres", "CREATE ROLE "+a.User+" CREATEROLE LOGIN PASSWORD '"+a.Password+"'")
		c.Exec(tb, "postgres", "GRANT pg_signal_backend TO "+a.User)
	default:
		tb.Fatalf("no such kind of admin: %q", kind)
	}
	a.Database = a.NewDatabase(tb)
	return a
}

// NewDatabase makes another database like the admin's first.
func (a *Admin) NewDatabase(tb testing.TB) string {
	tb.Helper()
	name := a.cluster.newDatabase(tb, a.User)
	conn := Connect(tb, a.URLTo(name))
	_, err := conn.Exec(tb.Context(), `
		CREATE TABLE items (id integer PRIMARY KEY, name text NOT NULL);
		INSERT INTO items VALUES (1, 'lamp'), (2, 'rope')`)
	check(tb, err)
	check(tb, conn.Close(tb.Context()))
	return name
}

// Cluster is the target that the admin belongs to.
func (a *Admin) Cluster() *Cluster { return a.cluster }

// URL is the admin's connection string to its own database.
func (a *Admin) URL(params ...string) string { return a.URLTo(a.Database, params...) }

// URLTo is the admin's connection string to any database.
func (a *Admin) URLTo(database string, params ...string) string {
	return a.cluster.URL(a.User, a.Password, database, params...)
}

// Connect logs in to the admin's own database, until the test ends.
func (a *Admin) Connect(tb testing.TB) *pgx.Conn {
	tb.Helper()
	return Connect(tb, a.URL())
}
