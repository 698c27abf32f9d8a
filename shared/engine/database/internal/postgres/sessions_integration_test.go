//go:build integration

package postgres_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/testkit"
)

// alive counts the sessions of an account, seen by the superuser.
func (w *world) alive(oid uint32) int {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.admin.Cluster().AdminURL("postgres"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close(w.t.Context())
	return value[int](w.t, conn, `SELECT count(*) FROM pg_stat_activity WHERE usesysid = $1`, oid)
}

func oidOf(tb testing.TB, a account) uint32 {
	tb.Helper()
	h, err := postgres.DecodeHandle(a.lease.Handle)
	if err != nil || h.RoleOID == 0 || h.SystemID == "" || h.Timeline == 0 {
		tb.Fatalf("handle %+v: %v", h, err)
	}
	return h.RoleOID
}

// A session that did SET ROLE still counts as the one who logged in (C2).
func TestSessionAfterSetRoleEnds(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		group := "readers_" + w.admin.User
		run(t, w.super(), `CREATE ROLE `+group)
		run(t, w.super(), `GRANT SELECT ON items TO `+group)
		run(t, w.super(), `GRANT `+group+` TO `+w.admin.User+` WITH ADMIN OPTION`)
		a := w.issue(1, plan(createLogin, `GRANT `+group+` TO "{{name}}"`))[0]
		conn := w.login(a)
		run(t, conn, `SET ROLE `+group)
		if n := value[int](t, conn, `SELECT count(*) FROM items`); n != 2 {
			t.Fatalf("%d rows", n)
		}
		o := w.Disable(t.Context(), []lease.Lease{a.lease})[0]
		if o.Err != nil || !o.Disabled || !o.SessionsEnded {
			t.Fatalf("%+v", o)
		}
		if n := w.alive(oidOf(t, a)); n != 0 {
			t.Fatalf("%d sessions are left", n)
		}
		if _, err := conn.Exec(t.Context(), `SELECT count(*) FROM items`); err == nil {
			t.Fatal("the session reads on")
		}
		w.removed(a)
	})
}

// Clients that log in again and again are shut out, all of them, once Disable
// has returned.
func TestReconnectLoopIsShutOut(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		a := w.issue(1, s1())[0]
		ctx, stop := context.WithCancel(t.Context())
		var loops sync.WaitGroup
		started := make(chan bool, 4)
		for range 4 {
			loops.Go(func() {
				for first := true; ctx.Err() == nil; {
					conn, err := pgx.Connect(ctx, w.url(a, w.admin.Database))
					if err != nil {
						continue
					}
					if first {
						first = false
						started <- true
					}
					_, _ = conn.Exec(ctx, `SELECT pg_sleep(0.01)`)
					_ = conn.Close(context.WithoutCancel(ctx))
				}
			})
		}
		for range 4 {
			<-started
		}
		o := w.Disable(t.Context(), []lease.Lease{a.lease})[0]
		left := w.alive(oidOf(t, a))
		stop()
		loops.Wait()
		if o.Err != nil || !o.SessionsEnded || left != 0 {
			t.Fatalf("%+v, %d sessions are left", o, left)
		}
		w.removed(a)
	})
}

// A client with post_auth_delay has passed the check for NOLOGIN and shows in
// no view of sessions. It once outlived terminate and DROP (C2).
func TestHiddenSessionEnds(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t) // others end what starts slowly, too
	for _, kind := range testkit.AdminKinds() {
		t.Run(string(kind), func(t *testing.T) {
			w := settle(t, cluster.CreateAdmin(t, kind), func(s *postgres.Settings) { s.Limits.Hidden = 100 * time.Millisecond })
			a := w.issue(1, s1())[0]
			type login struct {
				conn *pgx.Conn
				err  error
			}
			done := make(chan login, 1)
			go func() {
				conn, err := pgx.Connect(context.Background(), w.url(a, w.admin.Database, "options=-c post_auth_delay=5"))
				done <- login{conn, err}
			}()
			watcher := w.super()
			eventually(t, "the client is starting", func() bool {
				return value[bool](t, watcher, `SELECT EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'virtualxid' AND l.pid <> pg_backend_pid()
 AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = l.pid AND (a.usesysid IS NOT NULL OR a.datid IS NOT NULL)))`)
			})
			w.removed(a)
			l := <-done
			if l.err == nil {
				defer l.conn.Close(context.Background())
				if _, err := l.conn.Exec(t.Context(), `SELECT 1`); err == nil {
					t.Fatal("the hidden session lives on after the account is gone")
				}
			}
		})
	}
}

// Without pg_signal_backend the admin joins the account to end its sessions
// (C4).
func TestAdminWithoutSignalBackend(t *testing.T) {
	t.Parallel()
	cluster := testkit.SharedPostgres(t)
	w := settle(t, cluster.CreateAdmin(t, testkit.CreateRoleAdmin))
	cluster.Exec(t, "postgres", `REVOKE pg_signal_backend FROM `+w.admin.User)
	report, err := w.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !finds(report, "pg_signal_backend") {
		t.Fatalf("not found: %+v", report.Findings)
	}
	a := w.issue(1, s1())[0]
	conn := w.login(a)
	w.removed(a)
	eventually(t, "the session ends", func() bool { return conn.Ping(t.Context()) != nil })
}

func finds(r postgres.Report, code string) bool {
	for _, f := range r.Findings {
		if f.Code == code {
			return true
		}
	}
	return false
}

// Sessions whose account was dropped by hand are found by the sweep (C2).
func TestGhostsEnd(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		a, b := w.issue(1, plan(createLogin))[0], w.issue(1, plan(createLogin))[0]
		ghost, other := w.login(a), w.login(b)
		run(t, w.super(), `DROP ROLE "`+a.user+`"`)
		eventually(t, "the ghost is ended", func() bool {
			_, err := w.EndGhosts(t.Context()) // other tests' sweeps may take it first
			if err != nil {
				t.Fatal(err)
			}
			return ghost.Ping(t.Context()) != nil
		})
		if err := other.Ping(t.Context()); err != nil {
			t.Fatalf("a session with an account was ended: %v", err)
		}
		w.removed(a, b)
	})
}

// Disable does not wait behind a creation that hangs, nor behind a drop (B7).
func TestDisableIsNotBehindWork(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		a := w.issue(1, s1())[0]
		blocker := w.super()
		run(t, blocker, `BEGIN`)
		run(t, blocker, `LOCK TABLE items IN ACCESS EXCLUSIVE MODE`)
		slow := plan(createLogin, `SELECT count(*) FROM items`)
		l := intent(t, slow)
		created := make(chan engine.Created, 1)
		go func() {
			created <- w.Create(context.Background(), []engine.Creation{{Lease: l, Secret: secretOf("abcdefgh")}})[0]
		}()
		eventually(t, "the creation waits for the lock", func() bool {
			return value[bool](t, blocker, `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'items'::regclass)`)
		})
		o := w.Disable(t.Context(), []lease.Lease{a.lease})[0]
		if o.Err != nil || !o.SessionsEnded {
			t.Fatalf("%+v", o)
		}
		select {
		case c := <-created:
			t.Fatalf("the creation ended first: %+v", c.Err)
		default:
		}
		run(t, blocker, `COMMIT`)
		c := <-created
		if c.Err != nil {
			t.Fatal(c.Err)
		}
		w.removed(a, account{lease: confirmed(l, c), user: l.Account})
	}, func(s *postgres.Settings) { s.Limits.Lock = hangs; s.Limits.Turn = hangs; s.Limits.Call = 2 * hangs })
}

// Sessions on a standby are ended too, after it has replayed the NOLOGIN (C3).
func TestSessionsOnAStandbyEnd(t *testing.T) {
	t.Parallel()
	primary := testkit.Postgres(t)
	standby := primary.Standby(t)
	for _, kind := range testkit.AdminKinds() {
		t.Run(string(kind), func(t *testing.T) {
			admin := primary.CreateAdmin(t, kind)
			unnamed := settle(t, admin)
			report, err := unnamed.Verify(t.Context())
			if err != nil || !finds(report, "replicas") {
				t.Fatalf("%+v: %v", report, err)
			}
			w := settle(t, admin, func(s *postgres.Settings) {
				s.Replicas = []string{standby.URL("{{username}}", "x", admin.Database)}
				s.Replicas[0] = replace(s.Replicas[0], "%7B%7Busername%7D%7D:x", "{{username}}:{{password}}")
			})
			a := w.issue(1, s1())[0]
			standby.WaitReplay(t, primary)
			conn := testkit.Connect(t, standby.URL(a.user, a.password, admin.Database))

			o := unnamed.Disable(t.Context(), []lease.Lease{a.lease})[0]
			if o.Err != nil || o.SessionsNote != "primary only" {
				t.Fatalf("%+v", o)
			}
			if err := conn.Ping(t.Context()); err != nil {
				t.Fatalf("the test is void: %v", err)
			}
			o = w.Disable(t.Context(), []lease.Lease{a.lease})[0]
			if o.Err != nil || !o.SessionsEnded || o.SessionsNote != "" {
				t.Fatalf("%+v", o)
			}
			eventually(t, "the session on the standby ends", func() bool { return conn.Ping(t.Context()) != nil })
			w.removed(a)
		})
	}
	// A standby that is away keeps stage (b) open.
	admin := primary.CreateAdmin(t, testkit.SuperuserAdmin)
	w := settle(t, admin, func(s *postgres.Settings) {
		s.Replicas = []string{replace(standby.URL("U", "x", admin.Database), "U:x", "{{username}}:{{password}}")}
	})
	a := w.issue(1, s1())[0]
	standby.Kill(t)
	o := w.Disable(t.Context(), []lease.Lease{a.lease})[0]
	if !o.Disabled || o.SessionsEnded {
		t.Fatalf("%+v", o)
	}
	kind(t, o.Err, engine.Unreachable, "replica 127.0.0.1")
	standby.Start(t)
	standby.WaitReplay(t, primary)
	w.removed(a)
}
