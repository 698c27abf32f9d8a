package stage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// Names in the target.
const (
	Database = "shop"
	Admin    = "curfew_admin"
	Readers  = "readers"
	Table    = "orders"
	// AdminPasswordFile is in Stage.Dir, which is where commands run.
	AdminPasswordFile = "admin-password"
)

// Target is the database in which credentials are issued.
type Target struct {
	port             int
	superuser, admin secret.Value
}

// Setup is what a database administrator does once, by hand, before Curfew
// comes; without the password.
func (Target) Setup() []string {
	return []string{
		"CREATE ROLE " + Readers,
		"GRANT SELECT ON " + Table + " TO " + Readers,
		"CREATE ROLE " + Admin + " LOGIN CREATEROLE PASSWORD '…'",
		"GRANT pg_signal_backend TO " + Admin,
		"GRANT " + Readers + " TO " + Admin + " WITH ADMIN OPTION",
	}
}

func (t Target) prepare(ctx context.Context) error {
	if err := t.exec(ctx, "postgres", "CREATE DATABASE "+Database); err != nil {
		return err
	}
	tables := []string{
		"CREATE TABLE " + Table + " (id integer PRIMARY KEY, item text NOT NULL)",
		"INSERT INTO " + Table + " VALUES (1, 'lamp'), (2, 'rope')",
	}
	setup := t.Setup()
	for i := range setup { // the password is letters and digits
		setup[i] = strings.Replace(setup[i], "…", t.admin.Reveal(), 1)
	}
	return t.exec(ctx, Database, append(tables, setup...)...)
}

func (t Target) exec(ctx context.Context, database string, statements ...string) (err error) {
	conn, err := t.connect(ctx, server.Superuser, t.superuser, database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	for i, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("prepare the target: statement %d of database %s: %w", i+1, database, err)
		}
	}
	return nil
}

// Address is the target's host:port.
func (t Target) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(t.port)) }

// Template is the connection_url for Curfew.
func (t Target) Template() string {
	return "postgresql://{{username}}:{{password}}@" + t.Address() + "/" + Database + "?sslmode=disable"
}

// Login opens a session in the database with a leased credential.
func (t Target) Login(ctx context.Context, user string, password secret.Value) (*pgx.Conn, error) {
	return t.connect(ctx, user, password, Database)
}

// Look opens a session that sees every account and session of the target.
func (t Target) Look(ctx context.Context) (*pgx.Conn, error) {
	return t.connect(ctx, server.Superuser, t.superuser, "postgres")
}

func (t Target) connect(ctx context.Context, user string, password secret.Value, database string) (*pgx.Conn, error) {
	u := url.URL{
		Scheme: "postgresql", User: url.UserPassword(user, password.Reveal()), Host: t.Address(), Path: "/" + database,
		RawQuery: "sslmode=disable&application_name=demo&connect_timeout=10",
	}
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		return nil, fmt.Errorf("log in to the target as %s: %w", user, err)
	}
	return conn, nil
}
