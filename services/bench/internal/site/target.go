package site

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/secret"
)

// Names in the target.
const (
	Admin   = "bench_admin"
	Readers = "bench_readers"
	Schema  = "bench"
	Tables  = 20
)

// Target is a Postgres and a user of it that may make roles, tables and
// databases.
type Target struct {
	Host     string
	Port     int
	Database string
	User     string
	Password secret.Value
	Options  string // of the URL: sslmode=…

	admin secret.Value
}

// ParseTarget reads postgres://user:password@host:port/database?options.
func ParseTarget(text string) (Target, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User == nil {
		return Target{}, fmt.Errorf("the target is not of the form postgres://user:password@host:port/database") // not shown: it holds a password
	}
	port := 5432
	if u.Port() != "" {
		if port, err = strconv.Atoi(u.Port()); err != nil {
			return Target{}, fmt.Errorf("the target's port is no number")
		}
	}
	password, _ := u.User.Password()
	return Target{
		Host: u.Hostname(), Port: port, Database: u.Path[min(1, len(u.Path)):],
		User: u.User.Username(), Password: secret.New(password), Options: u.RawQuery,
	}, nil
}

// Connect opens a session of the user that may do everything.
func (t Target) Connect(ctx context.Context) (*pgx.Conn, error) {
	return t.connect(ctx, t.User, t.Password)
}

// ConnectAdmin opens a session of the user that the server is given.
func (t Target) ConnectAdmin(ctx context.Context) (*pgx.Conn, error) {
	return t.connect(ctx, Admin, t.admin)
}

func (t Target) connect(ctx context.Context, user string, password secret.Value) (*pgx.Conn, error) {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password.Reveal()), Host: t.address(), Path: "/" + t.Database, RawQuery: t.Options}
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		return nil, fmt.Errorf("log in to the target as %s: %w", user, err)
	}
	return conn, nil
}

func (t Target) address() string { return net.JoinHostPort(t.Host, strconv.Itoa(t.Port)) }

// Connection is the connection_url that the server is given for an address that
// leads to the target, and a database of it; empty: its own.
func (t Target) Connection(address, database string) string {
	return "postgresql://{{username}}:{{password}}@" + cmp.Or(address, t.address()) + "/" + cmp.Or(database, t.Database) + "?" + t.Options
}

// CreateDatabase adds a database, which is not taken away: the target has to be
// our own.
func (s *Site) CreateDatabase(ctx context.Context, name string) error {
	if s.postgres == nil {
		return errNotOurs
	}
	conn, err := s.Target.Connect(ctx)
	if err != nil {
		return err
	}
	defer disconnect(ctx, conn)
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		return fmt.Errorf("make a database: %w", err)
	}
	return nil
}

// AdminPassword is that of the user that the server is given.
func (t Target) AdminPassword() secret.Value { return t.admin }

// prepare makes what an administrator of the target makes once.
func (t *Target) prepare(ctx context.Context, conn *pgx.Conn) error {
	t.admin = secret.New(rand.Text())
	statements := []string{
		"CREATE SCHEMA " + Schema,
		"CREATE ROLE " + Readers,
		"CREATE ROLE " + Admin + " LOGIN CREATEROLE PASSWORD '" + t.admin.Reveal() + "'", // letters and digits
		"GRANT pg_signal_backend TO " + Admin,
		"GRANT " + Readers + " TO " + Admin + " WITH ADMIN OPTION",
		"GRANT USAGE ON SCHEMA " + Schema + " TO " + Admin + " WITH GRANT OPTION",
	}
	for i := range Tables {
		name := fmt.Sprintf("%s.t%02d", Schema, i)
		statements = append(statements, "CREATE TABLE "+name+" (id integer)",
			"GRANT SELECT ON "+name+" TO "+Readers, "GRANT SELECT ON "+name+" TO "+Admin+" WITH GRANT OPTION")
	}
	for i, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("prepare the target: statement %d: %w", i+1, err)
		}
	}
	return nil
}

// Prepare makes what the benchmark needs in the target, after a look that no
// earlier run has left anything.
func (s *Site) Prepare(ctx context.Context) error {
	conn, err := s.Target.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := drop(ctx, conn); err != nil {
		return err
	}
	return s.Target.prepare(ctx, conn)
}

// Restore removes from the target what Prepare made.
func (s *Site) Restore(ctx context.Context) error {
	conn, err := s.Target.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return drop(ctx, conn)
}

// drop removes what prepare made, where it is there.
func drop(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+Schema+" CASCADE"); err != nil {
		return fmt.Errorf("clear the target: %w", err)
	}
	for _, role := range []string{Readers, Admin} {
		var there bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role).Scan(&there); err != nil {
			return fmt.Errorf("clear the target: %w", err)
		}
		if !there {
			continue
		}
		for _, sql := range []string{"DROP OWNED BY " + role, "DROP ROLE " + role} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return fmt.Errorf("clear the target: %w", err)
			}
		}
	}
	return nil
}
