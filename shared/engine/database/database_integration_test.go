//go:build integration || fault

package database

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// The suite runs over real servers.
func TestConforms(t *testing.T) {
	t.Parallel()
	cluster := testkit.SharedPostgres(t)
	for _, kind := range testkit.AdminKinds() { // (C4)
		for name, shared := range map[string]bool{string(kind): false, string(kind) + " with shared grants": true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				enginetest.Run(t, func(tb testing.TB) enginetest.Harness {
					tb.Helper()
					s := newSite(tb, cluster.CreateAdmin(tb, kind))
					s.must(engine.Write, "roles/good", map[string]any{"shared_grants": shared})
					return s.harness()
				})
			})
		}
	}
}

// site is an engine with one connection to a real server, by way of a proxy.
type site struct {
	*bench
	admin *testkit.Admin
	proxy *proxy
}

func newSite(tb testing.TB, admin *testkit.Admin) *site {
	tb.Helper()
	c := admin.Cluster()
	s := &site{bench: newBench(tb), admin: admin, proxy: newProxy(tb, fmt.Sprintf("%s:%d", c.Host(), c.Port()))}
	s.must(engine.Write, "config/db", s.config())
	s.must(engine.Write, "roles/good", roleOf("db", "creation_statements",
		creation+`GRANT USAGE ON SCHEMA public TO "{{name}}"; GRANT SELECT ON items TO "{{name}}";`))
	s.must(engine.Write, "roles/bad", roleOf("db", "creation_statements", creation+`GRANT no_such_group TO "{{name}}";`))
	return s
}

// config is the connection through the proxy.
func (s *site) config(more ...string) map[string]any {
	d := map[string]any{
		"plugin_name":    plugin,
		"connection_url": "postgresql://{{username}}:{{password}}@" + s.proxy.addr() + "/" + s.admin.Database + "?sslmode=disable",
		"username":       s.admin.User, "password": s.admin.Password, "allowed_roles": "*",
	}
	for n := 0; n+1 < len(more); n += 2 {
		d[more[n]] = more[n+1]
	}
	return d
}

func (s *site) harness() enginetest.Harness {
	return enginetest.Harness{
		Engine: s.Engine, MountID: mountID, Mount: mount, Path: "creds/good", BadPath: "creds/bad", Target: s,
	}
}

// super runs one query as the superuser.
func (s *site) super(ctx context.Context, sql string, args []any, to ...any) error {
	conn, err := pgx.Connect(ctx, s.admin.Cluster().AdminURL("postgres"))
	if err != nil {
		return err
	}
	return errors.Join(conn.QueryRow(ctx, sql, args...).Scan(to...), conn.Close(ctx))
}

// Now implements [enginetest.Target].
func (s *site) Now(ctx context.Context) (now time.Time, err error) {
	return now, s.super(ctx, `SELECT clock_timestamp()`, nil, &now)
}

func (s *site) connect(ctx context.Context, name, password string) (*pgx.Conn, error) {
	u, err := url.Parse(s.admin.URL())
	if err != nil {
		return nil, err
	}
	u.User = url.UserPassword(name, password)
	return pgx.Connect(ctx, u.String())
}

// Login implements [enginetest.Target]: the account must be able to work, too.
func (s *site) Login(ctx context.Context, name, password string) error {
	conn, err := s.connect(ctx, name, password)
	if err != nil {
		return err
	}
	var n int
	err = conn.QueryRow(ctx, `SELECT count(*) FROM items`).Scan(&n)
	return errors.Join(err, conn.Close(ctx))
}

type session struct{ conn *pgx.Conn }

// Session implements [enginetest.Target].
func (s *site) Session(ctx context.Context, name, password string) (enginetest.Session, error) {
	conn, err := s.connect(ctx, name, password)
	if err != nil {
		return nil, err
	}
	return &session{conn}, nil
}

// Alive implements [enginetest.Session].
func (s *session) Alive(ctx context.Context) bool {
	var one int
	return s.conn.QueryRow(ctx, `SELECT 1`).Scan(&one) == nil
}

// Close implements [enginetest.Session].
func (s *session) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	_ = s.conn.Close(ctx) // the server may have ended it
}

// Exists implements [enginetest.Target].
func (s *site) Exists(ctx context.Context, name string) (there bool, err error) {
	return there, s.super(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`, []any{name}, &there)
}

// Expiry implements [enginetest.Target].
func (s *site) Expiry(ctx context.Context, name string) (time.Time, error) {
	var at *time.Time
	err := s.super(ctx, `SELECT rolvaliduntil FROM pg_roles WHERE rolname = $1`, []any{name}, &at)
	if err != nil || at == nil {
		return time.Time{}, err
	}
	return *at, nil
}

// Foreign implements [enginetest.Target]: a name as Vault makes it.
func (s *site) Foreign(ctx context.Context) (string, error) {
	name := fmt.Sprintf("v-root-readonly-LhJZR3NG1OHXbQHqNGTV-%d", time.Now().UnixNano()%1e10)
	conn, err := pgx.Connect(ctx, s.admin.Cluster().AdminURL("postgres"))
	if err != nil {
		return "", err
	}
	_, err = conn.Exec(ctx, `CREATE ROLE "`+name+`"`)
	return name, errors.Join(err, conn.Close(ctx))
}

// Mark implements [enginetest.Marked]: it looks for the connection "db".
func (s *site) Mark(ctx context.Context) (mark string, err error) {
	c, err := s.mustConnection(ctx, mountID, "db")
	if err != nil {
		return "", err
	}
	return mark, s.super(ctx, `SELECT coalesce((SELECT shobj_description(oid, 'pg_authid') FROM pg_authid WHERE rolname = $1), '')`,
		[]any{postgres.MarkRole(c.entry.ID)}, &mark)
}

// LoseAnswer implements [enginetest.Target].
func (s *site) LoseAnswer() {
	s.proxy.lose.Store(true)
	s.tb.Cleanup(func() {
		if s.proxy.lost.Load() != 1 {
			s.tb.Error("no answer was lost")
		}
	})
}

var (
	_ enginetest.Target = (*site)(nil)
	_ enginetest.Marked = (*site)(nil)
)
