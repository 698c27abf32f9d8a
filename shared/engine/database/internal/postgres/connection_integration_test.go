//go:build integration

package postgres_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/testkit"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		r, err := w.Verify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := value[string](t, w.super(), `SELECT system_identifier::text FROM pg_control_system()`)
		if r.SystemID != want || r.Timeline != 1 || r.Version < 150000 {
			t.Fatalf("%+v", r)
		}
		if finds(r, "createrole") || finds(r, "pg_signal_backend") || r.Refusal() != nil {
			t.Fatalf("%+v", r.Findings)
		}
		if got := finds(r, "log_min_error_statement"); got != (w.admin.Kind == testkit.CreateRoleAdmin) {
			t.Fatalf("%+v", r.Findings)
		}
		if id, err := w.Identify(t.Context()); err != nil || id != r.Identity {
			t.Fatalf("%+v: %v", id, err)
		}
		s, err := w.Clock(t.Context())
		if err != nil || s.Offset.Abs() > s.Uncertainty+s.Uncertainty+1e9 || s.Uncertainty <= 0 {
			t.Fatalf("the same machine's clock is off by %+v: %v", s, err)
		}
	})
}

func TestPowerlessAdmin(t *testing.T) {
	t.Parallel()
	cluster := testkit.SharedPostgres(t)
	w := settle(t, cluster.CreateAdmin(t, testkit.CreateRoleAdmin))
	cluster.Exec(t, "postgres", `ALTER ROLE `+w.admin.User+` NOCREATEROLE`)
	r, err := w.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kind(t, r.Refusal(), engine.Refused, `ALTER ROLE "`+w.admin.User+`" CREATEROLE`)
	c := w.Create(t.Context(), creationsOf(t, 1, s1()))[0]
	kind(t, c.Err, engine.Refused, "42501", "statement 1", `ALTER ROLE "`+w.admin.User+`" CREATEROLE`)
}

// A missing privilege is named with the GRANT that gives it (C4).
func TestMissingGrantIsSpelledOut(t *testing.T) {
	t.Parallel()
	w := settle(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	admin := `"` + w.admin.User + `"`
	run(t, w.super(), `CREATE TABLE vault (n int)`)
	run(t, w.super(), `CREATE ROLE group_`+w.admin.User+` SUPERUSER`)
	tests := []struct {
		name, statement, state, want string
	}{
		{"table", `GRANT SELECT, INSERT ON vault TO "{{name}}"`, "42501", `GRANT SELECT, INSERT ON TABLE "vault" TO ` + admin + ` WITH GRANT OPTION`},
		{"all tables", grantAll, "42501", `GRANT SELECT ON TABLE "vault" TO ` + admin + ` WITH GRANT OPTION`},
		{"superuser's group", `GRANT group_` + w.admin.User + ` TO "{{name}}"`, "42501", ""},
		{"attribute", `ALTER ROLE "{{name}}" SUPERUSER`, "42501", "superuser"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := w.Create(t.Context(), creationsOf(t, 1, plan(createLogin, tt.statement)))[0]
			kind(t, c.Err, engine.Refused, tt.state, "statement 2", tt.want)
		})
	}
	// With the privilege but without the right to hand it on, the server only
	// warns, and would leave an account that can do nothing.
	run(t, w.super(), `GRANT SELECT, INSERT ON vault TO `+w.admin.User)
	batch := creationsOf(t, 1, plan(createLogin, `GRANT SELECT ON vault TO "{{name}}"`))
	c := w.Create(t.Context(), batch)[0]
	kind(t, c.Err, engine.Refused, "01007", "statement 2", `GRANT SELECT ON TABLE "vault" TO `+admin+` WITH GRANT OPTION`)
	l := batch[0].Lease
	l.CreateDeadline = l.CreateDeadline.Add(-2 * hangs)
	if o := w.Remove(t.Context(), []lease.Lease{l})[0]; o.Err != nil || !o.Gone {
		t.Fatalf("%+v", o)
	}
	run(t, w.super(), `GRANT SELECT ON vault TO `+w.admin.User+` WITH GRANT OPTION`)
	w.removed(w.issue(1, plan(createLogin, `GRANT SELECT ON vault TO "{{name}}"`))...)
}

func TestAccountThatCannotLogIn(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		c := w.Create(t.Context(), creationsOf(t, 1, plan(`CREATE ROLE "{{name}}" PASSWORD '{{password}}'`)))[0]
		kind(t, c.Err, engine.Refused, "LOGIN")
	})
}

// The server's log never holds a password, and where the admin may say so no
// verifier of a failed statement either (B5, B10).
func TestSecretsStayOutOfTheServerLog(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t, testkit.WithSetting("log_statement", "none"), testkit.WithSetting("log_min_error_statement", "error"))
	for _, kindOf := range testkit.AdminKinds() {
		t.Run(string(kindOf), func(t *testing.T) {
			admin := cluster.CreateAdmin(t, kindOf)
			if kindOf == testkit.CreateRoleAdmin && serverVersion(t, cluster) >= 150000 {
				cluster.Exec(t, "postgres", `GRANT SET ON PARAMETER log_min_error_statement TO `+admin.User)
			}
			w := settle(t, admin)
			good, bad := s1(), plan(createLogin, `GRANT SELECT ON nowhere TO "{{name}}"`)
			worse := plan(`CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' PASSWORD '{{password}}'`)
			w.removed(w.issue(1, good)...)
			var secrets []string
			for _, p := range []postgres.Plan{good, bad, worse} {
				batch := creationsOf(t, 3, p)
				for i, c := range w.Create(t.Context(), batch) {
					secrets = append(secrets, batch[i].Secret.Reveal())
					if text := fmt.Sprintf("%v %+v", c.Err, c.Err); strings.Contains(text, batch[i].Secret.Reveal()) || strings.Contains(text, "SCRAM-SHA-256$") {
						t.Fatalf("an error holds a secret: %s", text)
					}
				}
			}
			log := cluster.Log(t)
			for _, s := range secrets {
				if strings.Contains(log, s) {
					t.Fatal("a password is in the server's log")
				}
			}
			if strings.Contains(log, "SCRAM-SHA-256$") {
				t.Fatal("a verifier is in the server's log")
			}
			if !strings.Contains(log, "nowhere") {
				t.Fatal("the server logs nothing: the test is void")
			}
		})
	}
}

func serverVersion(tb testing.TB, c *testkit.Cluster) int {
	tb.Helper()
	return value[int](tb, testkit.Connect(tb, c.AdminURL("postgres")), `SELECT current_setting('server_version_num')::int`)
}

// With password_authentication=password the server gets the password itself.
func TestPasswordAuthentication(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		p := s1()
		p.Authentication = postgres.Password
		a := w.issue(1, p)[0]
		w.login(a)
		w.removed(a)
	})
}

// The password moves from current to pending and on, whatever step the
// rotation is at (B11).
func TestRotation(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		old, _ := w.creds.get()
		next := "next-" + lease.RandomBase62(20)
		w.creds.set(old, next) // (1)
		if err := w.SetPassword(t.Context(), secretOf(next)); err != nil {
			t.Fatal(err) // (2)
		}
		if err := w.TryLogin(t.Context(), secretOf(next)); err != nil {
			t.Fatal(err) // (3)
		}
		kind(t, w.TryLogin(t.Context(), secretOf(old)), engine.Refused, "28P01")

		other := settle(t, w.admin) // a process that knows nothing of it yet
		other.creds.set(old, next)
		if _, err := other.Verify(t.Context()); err != nil {
			t.Fatal(err)
		}
		if current, pending := other.creds.get(); current != next || pending != "" {
			t.Fatal("the pending password was not promoted")
		}
		// Another rotation that was prepared and never carried out.
		other = settle(t, w.admin)
		other.creds.set(next, "never-"+next)
		if _, err := other.Verify(t.Context()); err != nil {
			t.Fatal(err)
		}
		if current, _ := other.creds.get(); current != next {
			t.Fatal("a password that does not work was promoted")
		}
		// Neither works.
		other = settle(t, w.admin)
		other.creds.set(old, "never-"+next)
		_, err := other.Verify(t.Context())
		kind(t, err, engine.Refused, "28P01", "password authentication failed")
		if text := fmt.Sprintf("%+v", err); strings.Contains(text, old) || strings.Contains(text, next) {
			t.Fatal("the error holds a password")
		}
	})
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t)
	w := settle(t, cluster.CreateAdmin(t, testkit.CreateRoleAdmin))
	a := w.issue(2, s1())
	cluster.Kill(t)
	c := w.Create(t.Context(), creationsOf(t, 1, s1()))[0]
	kind(t, c.Err, engine.Unreachable)
	c = w.Create(t.Context(), creationsOf(t, 1, s1()))[0]
	kind(t, c.Err, engine.Unreachable, "error verifying connection: failed to connect to", w.admin.User)
	o := w.Remove(t.Context(), []lease.Lease{a[0].lease})[0]
	kind(t, o.Err, engine.Unreachable)
	if o.Disabled || o.Gone {
		t.Fatalf("%+v", o)
	}
	kind(t, w.Renew(t.Context(), []engine.Renewal{{Lease: a[0].lease, Remaining: 1e9}})[0].Err, engine.Unreachable)
	cluster.Start(t)
	w.removed(a...)
}

func TestAccountsByPage(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t)
	w := settle(t, cluster.CreateAdmin(t, testkit.CreateRoleAdmin))
	made := w.issue(7, s1())
	run(t, w.super(), `CREATE ROLE "vx-other"`)
	seen := map[string]bool{}
	after := ""
	for {
		page, err := w.Accounts(t.Context(), after, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, name := range page {
			if name <= after || seen[name] {
				t.Fatalf("%q comes after %q", name, after)
			}
			seen[name], after = true, name
		}
	}
	if len(seen) != 7 {
		t.Fatalf("%v", seen)
	}
	for _, a := range made {
		if !seen[a.user] {
			t.Fatalf("%s is missing", a.user)
		}
	}
	w.removed(made...)
}

func TestSessionsBearTheProgramsName(t *testing.T) {
	t.Parallel()
	w := settle(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.SuperuserAdmin), func(s *postgres.Settings) { s.Program = "issuer" })
	if _, err := w.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A session that is only just logging in, or ends, is listed without its name.
	watcher := w.super()
	eventually(t, "all sessions bear the name", func() bool {
		return value[bool](t, watcher, `SELECT count(*) > 0 AND coalesce(bool_and(application_name = 'curfew/issuer'), false)
 FROM pg_stat_activity WHERE usename = $1`, w.admin.User)
	})
}

func TestCloseEndsAllSessions(t *testing.T) {
	t.Parallel()
	w := settle(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin), func(s *postgres.Settings) { s.MaxOpen = 3 })
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			for _, c := range w.Create(t.Context(), creationsOf(t, 2, s1())) {
				if c.Err != nil {
					t.Error(c.Err)
				}
			}
		})
	}
	all.Wait()
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	watcher := w.super()
	eventually(t, "no session of the admin is left", func() bool {
		return value[int](t, watcher, `SELECT count(*) FROM pg_stat_activity WHERE usename = $1`, w.admin.User) == 0
	})
	_, err := w.Verify(t.Context())
	kind(t, err, engine.Unreachable, "closed")
}

func TestSettingsThatMeanNothing(t *testing.T) {
	t.Parallel()
	for _, s := range []postgres.Settings{
		{},
		{URL: "postgres://{{username}}@h/d"},
		{URL: "postgres://h/{{password}}", Username: "u"},
		{URL: "postgres://u@h/d?sslmode=nonsense"},
		{URL: "postgres://u@h:notaport/d"},
		{URL: "postgres://u@h/d?service=x"},
		{URL: "postgres://u@h/d?passfile=/etc/shadow"},
		{URL: "postgres://u@h/d?sslmode=disable", TLS: postgres.TLS{CA: "x"}},
		{URL: "postgres://u@h/d", TLS: postgres.TLS{CA: "no PEM"}},
		{URL: "postgres://u@h/d", TLS: postgres.TLS{Certificate: "no PEM"}},
		{URL: "postgres://u@h/d", OwnedObjects: "keep"},
	} {
		_, err := postgres.New(&passwords{}, clock.System{}, postgres.NopNotes{}, s)
		kind(t, err, engine.Invalid)
	}
	_, err := postgres.New(&passwords{}, clock.System{}, postgres.NopNotes{}, postgres.Settings{URL: "postgres://u:s3cr3t@h:x/d"})
	kind(t, err, engine.Invalid)
	if strings.Contains(fmt.Sprintf("%+v", err), "s3cr3t") {
		t.Fatalf("%+v", err)
	}
}
