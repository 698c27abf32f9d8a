//go:build integration

package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/testkit"
)

// people makes an account that is not Curfew's, and lets the admin change it.
func (w *world) people(name, password string) {
	w.t.Helper()
	run(w.t, w.super(), fmt.Sprintf(`CREATE ROLE %q LOGIN PASSWORD '%s'`, name, password))
	run(w.t, w.super(), fmt.Sprintf(`GRANT %q TO %q WITH ADMIN OPTION`, name, w.admin.User))
}

// hba lets an account in as the line says, and all others by their password.
func (w *world) hba(account, method string) {
	w.t.Helper()
	conn := w.super()
	file := value[string](w.t, conn, `SELECT current_setting('hba_file')`)
	run(w.t, conn, fmt.Sprintf(`COPY (SELECT unnest(ARRAY['host all "%s" all %s', 'host all all all scram-sha-256', 'local all all scram-sha-256'])) TO '%s'`,
		account, method, file))
	run(w.t, conn, `SELECT pg_reload_conf()`)
}

// verdict asks about a password.
func (w *world) verdict(account, password string) postgres.Verdict {
	w.t.Helper()
	v, err := w.TryAccount(w.t.Context(), account, secretOf(password))
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// B11: a verdict is the server's own word on the password.
func TestTryAccount(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t)
	w := settle(t, cluster.CreateAdmin(t, testkit.CreateRoleAdmin))
	w.people("app", "right")
	check := func(when string, right, wrong postgres.Verdict) {
		t.Helper()
		eventually(t, when, func() bool { return w.verdict("app", "right") == right && w.verdict("app", "wrong") == wrong })
	}
	check("by password", postgres.Accepted, postgres.WrongPassword)
	// What comes after the password changes nothing.
	run(t, w.super(), `ALTER ROLE app NOLOGIN`)
	check("NOLOGIN", postgres.Accepted, postgres.WrongPassword)
	run(t, w.super(), `ALTER ROLE app LOGIN CONNECTION LIMIT 0`)
	check("no connection left", postgres.Accepted, postgres.WrongPassword)
	run(t, w.super(), fmt.Sprintf(`ALTER ROLE app CONNECTION LIMIT -1; REVOKE CONNECT ON DATABASE %q FROM PUBLIC`, w.admin.Database))
	check("no CONNECT", postgres.Accepted, postgres.WrongPassword)
	run(t, w.super(), `ALTER ROLE app VALID UNTIL '2020-01-01'`)
	check("expired", postgres.WrongPassword, postgres.WrongPassword)
	if s, err := w.Standing(t.Context(), "app"); err != nil || s != (postgres.Standing{Exists: true, Login: true, Expired: true}) {
		t.Errorf("standing %+v, %v", s, err)
	}
	run(t, w.super(), `ALTER ROLE app VALID UNTIL 'infinity'`)
	for _, method := range []string{"trust", "reject"} {
		w.hba("app", method)
		check(method, postgres.Unproved, postgres.Unproved)
	}
	cluster.Kill(t)
	_, err := w.TryAccount(t.Context(), "app", secretOf("right"))
	kind(t, err, engine.Unreachable, "error verifying connection")
	if s, err := w.Standing(t.Context(), "app"); err == nil {
		t.Errorf("standing %+v of a server that is away", s)
	}
}

// A standby that lags says nothing about a password, wherever the URL names it.
func TestTryAccountBesideAStandby(t *testing.T) {
	t.Parallel()
	primary := testkit.Postgres(t)
	admin := primary.CreateAdmin(t, testkit.CreateRoleAdmin)
	w := settle(t, admin)
	w.people("app", "before")
	standby := primary.Standby(t)
	standby.WaitReplay(t, primary)
	both := settle(t, admin, func(s *postgres.Settings) {
		s.URL = fmt.Sprintf("postgres://{{username}}:{{password}}@127.0.0.1:%d,127.0.0.1:%d/%s?sslmode=disable",
			standby.Port(), primary.Port(), admin.Database)
	})
	standby.Exec(t, "postgres", `SELECT pg_wal_replay_pause()`)
	change := postgres.NewPassword{Account: "app", Password: secretOf("after"), Until: time.Now().Add(10 * time.Second)}
	if err := both.ChangePassword(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	if before, after := both.verdict("app", "before"), both.verdict("app", "after"); before != postgres.WrongPassword || after != postgres.Accepted {
		t.Errorf("the verdicts are %v and %v", before, after)
	}
	primary.Kill(t)
	for _, password := range []string{"before", "after"} {
		_, err := both.TryAccount(t.Context(), "app", secretOf(password))
		kind(t, err, engine.Unreachable)
	}
}

// The server refuses a change after its end (B1), and what it was is no secret in
// the error.
func TestChangePasswordIsFenced(t *testing.T) {
	t.Parallel()
	w := settle(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	account := "app-" + w.admin.User
	w.people(account, "before")
	change := postgres.NewPassword{
		Account: account, Password: secretOf("after"), Until: time.Now().Add(300 * time.Millisecond),
		Statements: []string{`ALTER ROLE "{{name}}" PASSWORD '{{password}}'; DO $$ BEGIN PERFORM pg_sleep(0.25); END $$; DO $$ BEGIN PERFORM pg_sleep(0.25); END $$`},
	}
	if err := w.ChangePassword(t.Context(), change); err == nil {
		t.Fatal("a change was carried out after its end")
	}
	if v := w.verdict(account, "before"); v != postgres.Accepted {
		t.Errorf("the old password has the verdict %v", v)
	}
}
