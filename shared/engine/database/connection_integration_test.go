//go:build integration

package database

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/testkit"
)

// A sound admin has nothing to mend; the texts of failures are those of
// recording 02.
func TestVerification(t *testing.T) {
	t.Parallel()
	for _, kind := range testkit.AdminKinds() { // (C4)
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			admin := testkit.SharedPostgres(t).CreateAdmin(t, kind)
			s := newSite(t, admin)
			if s.stored("db").Identity.SystemID == "" {
				t.Error("the verification recorded no system identifier (C6)")
			}
			s.refused(engine.Invalid, engine.Write, "config/badpass", s.config("password", "wrong"),
				"error creating database object: error verifying connection: failed to connect to `user="+admin.User+" database="+admin.Database+"`: ",
				`password authentication failed for user "`+admin.User+`" (SQLSTATE 28P01)`)
			s.refused(engine.NotFound, engine.Read, "config/badpass", nil)
		})
	}
}

// C4: the warning names the GRANT that is missing, and with it there is none.
func TestMissingGrantIsNamed(t *testing.T) {
	t.Parallel()
	cluster := testkit.SharedPostgres(t)
	admin := cluster.CreateAdmin(t, testkit.CreateRoleAdmin)
	s := newSite(t, admin)
	cluster.Exec(t, "postgres", `REVOKE pg_signal_backend FROM "`+admin.User+`"`)
	r := s.must(engine.Write, "config/db", map[string]any{"verify_connection": true})
	grant := findWarning(r, "GRANT pg_signal_backend TO ")
	if grant == "" {
		t.Fatalf("response %+v, want a warning with the GRANT", r)
	}
	cluster.Exec(t, "postgres", grant[strings.Index(grant, "GRANT "):])
	if r := s.must(engine.Write, "config/db", map[string]any{"verify_connection": true}); findWarning(r, "GRANT pg_signal_backend") != "" {
		t.Errorf("granted as it said, still warned: %+v", r)
	}
	cluster.Exec(t, "postgres", `ALTER ROLE "`+admin.User+`" NOCREATEROLE`)
	if r := s.must(engine.Write, "config/db", map[string]any{"verify_connection": true}); findWarning(r, "CREATEROLE") == "" {
		t.Errorf("response %+v, want a warning about CREATEROLE", r)
	}
}

func findWarning(r *engine.Response, text string) string {
	if r == nil {
		return ""
	}
	for _, w := range r.Warnings {
		if strings.Contains(w, text) {
			return w
		}
	}
	return ""
}

// A privilege that a role needs and the admin lacks: number, SQLSTATE and the
// GRANT, and nothing is left.
func TestRefusedStatementNamesNumberStateAndGrant(t *testing.T) {
	t.Parallel()
	cluster := testkit.SharedPostgres(t)
	admin := cluster.CreateAdmin(t, testkit.CreateRoleAdmin)
	s := newSite(t, admin)
	cluster.Exec(t, admin.Database, `CREATE TABLE ledger (id int)`)
	s.must(engine.Write, "roles/r", roleOf("db", "creation_statements", creation+`GRANT SELECT ON ledger TO "{{name}}"`))
	_, err := s.tryIssue("r")
	wantError(t, "create", "r", err, engine.Refused, "statement 2", "SQLSTATE 42501", "GRANT SELECT ON TABLE", "ledger", "WITH GRANT OPTION")
	_, err = s.tryIssue("bad")
	wantError(t, "create", "bad", err, engine.Refused, "1 error occurred:\n\t* ", "statement 2", "SQLSTATE 42704")
}

// B6: how long the statements of a lease may take is the connection's to say. A
// write is in force at once, and a role that fails has left nothing behind.
func TestStatementTimeoutOfAConnection(t *testing.T) {
	t.Parallel()
	admin := testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin)
	s := newSite(t, admin)
	s.must(engine.Write, "roles/slow", roleOf("db", "creation_statements", creation+`SELECT pg_sleep(2)`))
	s.must(engine.Write, "config/db", map[string]any{"statement_timeout": "1s", "lock_timeout": "500ms"})
	_, err := s.tryIssue("slow")
	wantError(t, "create", "slow", err, engine.Conflict, "the target ended them after 1s")
	s.must(engine.Write, "config/db", map[string]any{"statement_timeout": 20})
	if _, err := s.tryIssue("slow"); err != nil {
		t.Errorf("with twenty seconds: %v", err)
	}
	shown := s.must(engine.Read, "config/db", nil).Data["connection_details"]
	if details, ok := shown.(map[string]any); !ok || details["statement_timeout"] != "20s" || details["lock_timeout"] != "500ms" {
		t.Errorf("it shows %v", shown)
	}
	s.must(engine.Write, "config/db", map[string]any{"statement_timeout": "", "lock_timeout": ""})
	if c := s.stored("db"); c.StatementTimeout != 0 || c.LockTimeout != 0 {
		t.Errorf("taken back, they are %v and %v", c.StatementTimeout, c.LockTimeout)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t, testkit.WithTLS("127.0.0.1"), testkit.HostSSLOnly())
	admin := cluster.CreateAdmin(t, testkit.CreateRoleAdmin)
	b := newBench(t)
	config := func(host, mode, caFile string) map[string]any {
		u := &url.URL{Host: net.JoinHostPort(host, strconv.Itoa(cluster.Port())), Path: admin.Database, RawQuery: "sslmode=" + mode}
		d := map[string]any{
			"connection_url": "postgresql://{{username}}:{{password}}@" + strings.TrimPrefix(u.String(), "//"),
			"username":       admin.User, "password": admin.Password, "allowed_roles": "*",
		}
		if caFile != "" {
			pem, err := os.ReadFile(caFile)
			if err != nil {
				t.Fatal(err)
			}
			d["tls_ca"] = string(pem)
		}
		return d
	}
	b.must(engine.Write, "config/ok", config("127.0.0.1", "verify-full", cluster.CAFile()))
	for name, data := range map[string]map[string]any{
		"wrong CA":                config("127.0.0.1", "verify-full", cluster.OtherCAFile()),
		"wrong host":              config("localhost", "verify-full", cluster.CAFile()),
		"no CA":                   config("127.0.0.1", "verify-full", ""),
		"plaintext to hostssl":    config("127.0.0.1", "disable", ""),
		"wrong CA, host unlooked": config("127.0.0.1", "verify-ca", cluster.OtherCAFile()),
	} {
		t.Log(name)
		b.refused(engine.Invalid, engine.Write, "config/x", data, "error creating database object: ", "TLS")
	}
}

// C6: a connection that is pointed elsewhere proves nothing about the leases it
// had; pointed back, it does.
func TestMovedTarget(t *testing.T) {
	t.Parallel()
	s := newSite(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	confirmed := s.issue("good")
	unconfirmed, err := s.intend("good")
	if err != nil {
		t.Fatal(err)
	}
	old, elsewhere := s.config(), testkit.Postgres(t).CreateAdmin(t, testkit.CreateRoleAdmin)
	s.must(engine.Write, "config/db", map[string]any{
		"connection_url": elsewhere.URL(), "username": elsewhere.User, "password": elsewhere.Password,
	})
	unconfirmed.CreateDeadline = time.Now().Add(-time.Minute)
	for name, l := range map[string]lease.Lease{"confirmed": confirmed.Lease, "unconfirmed": unconfirmed.Lease} {
		for _, out := range append(s.Disable(t.Context(), l.Target, []lease.Lease{l}), s.Remove(t.Context(), l.Target, []lease.Lease{l})...) {
			wantError(t, "revoke", name, out.Err, engine.Refused, "target moved")
			if out.Gone || out.Disabled {
				t.Errorf("%s: %+v on another system", name, out)
			}
		}
	}
	// New leases live on the new system, in one batch with the old.
	s.must(engine.Write, "roles/fresh", roleOf("db"))
	fresh := s.issue("fresh")
	mixed := s.Remove(t.Context(), fresh.Target, []lease.Lease{confirmed.Lease, fresh.Lease})
	if mixed[0].Gone || !mixed[1].Gone || mixed[1].Err != nil {
		t.Errorf("mixed batch: %+v", mixed)
	}
	s.must(engine.Write, "config/db", old)
	s.remove(confirmed.Lease)
}

// Without verification the system is found out at the first use.
func TestUnverifiedConnectionIsIdentifiedAtFirstUse(t *testing.T) {
	t.Parallel()
	s := newSite(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	s.must(engine.Write, "config/lazy", s.config("verify_connection", "false"))
	if id := s.stored("lazy").Identity; id.SystemID != "" {
		t.Fatalf("identified as %s without a connection", id.SystemID)
	}
	s.must(engine.Write, "roles/lazy", roleOf("lazy"))
	i := s.issue("lazy")
	if s.stored("lazy").Identity.SystemID != s.stored("db").Identity.SystemID {
		t.Error("the first use recorded another system, or none")
	}
	s.remove(i.Lease)
}

// A2: what a deleted connection's leases need is there until the last ended.
func TestDeletedConnectionStillRevokes(t *testing.T) {
	t.Parallel()
	for _, kind := range testkit.AdminKinds() { // (C4)
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			admin := testkit.SharedPostgres(t).CreateAdmin(t, kind)
			s := newSite(t, admin)
			i, j := s.issue("good"), s.issue("good")
			id := s.stored("db").entry.ID
			s.must(engine.Delete, "config/db", nil)
			s.must(engine.Delete, "roles/good", nil)
			if err := s.Login(t.Context(), i.Account, i.password.Reveal()); err != nil {
				t.Errorf("a live lease was changed: %v", err)
			}
			fromScratch := &site{bench: &bench{Engine: s.another(), tb: t, fake: s.fake, sealer: s.sealer, logs: s.logs}, admin: admin, proxy: s.proxy}
			fromScratch.remove(i.Lease)
			if n, err := s.Tidy(t.Context()); n != 0 || err != nil {
				t.Errorf("%d forgotten, %v, with a lease left", n, err)
			}
			s.remove(j.Lease)
			if n, err := s.Tidy(t.Context()); n != 1 || err != nil {
				t.Errorf("%d forgotten, %v, after the last lease", n, err)
			}
			_, err := s.connectionByID(t.Context(), id)
			wantError(t, "use", id, err, engine.NotFound)
		})
	}
}

// No intent is made while the target is away, and what was asked for works when
// it is back.
func TestTargetAway(t *testing.T) {
	t.Parallel()
	s := newSite(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	i := s.issue("good")
	s.proxy.down.Store(true)
	s.proxy.cut()
	s.reopen(t.Context(), i.Target) // or a sample of the clock would do
	_, err := s.plan("good", lease.NewID(mount+"creds/good"))
	wantError(t, "plan", "good", err, engine.Unreachable, "1 error occurred:\n\t* error verifying connection: ")
	revoking := apply(t, s.bench, lease.Change{ID: i.ID, Version: i.Version, Key: "r", Do: lease.Revoke{}})
	for _, out := range append(s.Disable(t.Context(), i.Target, []lease.Lease{revoking}), s.Remove(t.Context(), i.Target, []lease.Lease{revoking})...) {
		wantError(t, "revoke", "away", out.Err, engine.Unreachable)
	}
	// Who may use it can be changed all the same.
	s.must(engine.Write, "config/db", map[string]any{"allowed_roles": "good"})
	s.proxy.down.Store(false)
	if out := s.Remove(t.Context(), i.Target, []lease.Lease{revoking}); !out[0].Gone {
		t.Errorf("the target is back: %+v", out[0])
	}
}

// Sessions bear the program's name, and a target that nobody uses has none.
func TestSessionsAreNamedAndClosedWhenIdle(t *testing.T) {
	t.Parallel()
	s := newSite(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	s.remove(s.issue("good").Lease)
	count := func() (n int) {
		err := s.super(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND application_name = 'curfew/test'`,
			[]any{s.admin.User}, &n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if count() == 0 {
		t.Error("no session bears the name curfew/test")
	}
	s.cfg.Idle = -1 // everything is idle
	if _, err := s.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(soon)
	for count() != 0 {
		if time.Now().After(deadline) {
			t.Fatal("sessions of an idle target stay")
		}
	}
	s.remove(s.issue("good").Lease) // opens it again
}

// A process that only used a connection ends its sessions when another one has
// deleted it, or led it elsewhere, however short ago it was used.
func TestSessionsEndWithTheirConnection(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*site){
		"deleted": func(s *site) { s.must(engine.Delete, "config/db", nil) },
		"changed": func(s *site) { s.must(engine.Write, "config/db", s.config("max_open_connections", "3")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
			other, err := New(Deps{Store: s.fake, Sealer: s.sealer, Clock: clock.System{}, Log: zerolog.New(s.logs)}, Config{Program: "other"})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = other.Close(t.Context()) }()
			l := apply(t, s.bench, lease.Change{ID: s.issue("good").ID, Version: lease.AnyVersion, Key: "r", Do: lease.Revoke{}})
			if out := other.Remove(t.Context(), l.Target, []lease.Lease{l}); out[0].Err != nil || !out[0].Gone {
				t.Fatalf("remove: %+v", out[0])
			}
			apply(t, s.bench, lease.Change{ID: l.ID, Version: lease.AnyVersion, Key: "f", Do: lease.Finish{To: lease.Revoked}})
			sessions := func() (n int) {
				err := s.super(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND application_name = 'curfew/other'`,
					[]any{s.admin.User}, &n)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
			tidy := func() {
				if _, err := other.Tidy(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			tidy()
			if sessions() == 0 {
				t.Fatal("there is no session to be ended")
			}
			change(s)
			tidy()
			for deadline := time.Now().Add(soon); sessions() != 0; {
				if time.Now().After(deadline) {
					t.Fatal("sessions stay behind their connection")
				}
			}
		})
	}
}

// The admin of the documentation is enough for the role of the documentation.
func TestDocumentedAdmin(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t)
	database := cluster.NewDatabase(t)
	doc, err := os.ReadFile("../../../docs/postgres.md")
	if err != nil {
		t.Fatal(err)
	}
	cluster.Exec(t, database, `CREATE TABLE items (id int); INSERT INTO items VALUES (1)`)
	cluster.Exec(t, database, block(t, string(doc), "sql admin"))
	cluster.Exec(t, database, strings.ReplaceAll(block(t, string(doc), "sql group"), "DATABASE app", "DATABASE "+database))
	b := newBench(t)
	r := b.must(engine.Write, "config/db", map[string]any{
		"connection_url": fmt.Sprintf("postgresql://{{username}}:{{password}}@%s:%d/%s?sslmode=disable", cluster.Host(), cluster.Port(), database),
		"username":       "curfew_admin", "password": "change-me", "allowed_roles": "*",
	})
	for _, w := range []string{"CREATEROLE", "pg_signal_backend"} {
		if findWarning(r, w) != "" {
			t.Errorf("the documented admin lacks a right: %+v", r)
		}
	}
	b.must(engine.Write, "rotate-root/db", nil)
	statements := between(t, string(doc), `creation_statements="`, "\"\n")
	if r := b.must(engine.Write, "roles/app-read", roleOf("db", "creation_statements", strings.ReplaceAll(statements, `\"`, `"`))); r != nil {
		t.Errorf("the documented role is warned about: %+v", r)
	}
	s := &site{bench: b, admin: &testkit.Admin{}}
	i := s.issue("app-read")
	conn := testkit.Connect(t, cluster.URL(i.Account, i.password.Reveal(), database))
	var n int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM items`).Scan(&n); err != nil || n != 1 {
		t.Errorf("the account reads %d rows, %v", n, err)
	}
	l := apply(t, b, lease.Change{ID: i.ID, Version: lease.AnyVersion, Key: "r", Do: lease.Revoke{}})
	if out := b.Remove(t.Context(), l.Target, []lease.Lease{l}); out[0].Err != nil || !out[0].Gone {
		t.Errorf("remove: %+v", out[0])
	}
	if err := conn.QueryRow(t.Context(), `SELECT 1`).Scan(&n); err == nil {
		t.Error("the session of the removed account lives on")
	}
}

// The grants of the documentation are enough for its role with shared grants, also
// for a table that is made later.
func TestDocumentedSharedGrants(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t)
	database := cluster.NewDatabase(t)
	doc, err := os.ReadFile("../../../docs/postgres.md")
	if err != nil {
		t.Fatal(err)
	}
	table := func(name string) {
		cluster.Exec(t, database, `SET ROLE app_owner; CREATE TABLE `+name+` (id int); INSERT INTO `+name+` VALUES (1)`)
	}
	cluster.Exec(t, database, `CREATE ROLE app_owner; GRANT CREATE ON SCHEMA public TO app_owner`)
	table("items")
	cluster.Exec(t, database, block(t, string(doc), "sql admin"))
	cluster.Exec(t, database, block(t, string(doc), "sql shared"))
	b := newBench(t)
	b.must(engine.Write, "config/db", map[string]any{
		"connection_url": fmt.Sprintf("postgresql://{{username}}:{{password}}@%s:%d/%s?sslmode=disable", cluster.Host(), cluster.Port(), database),
		"username":       "curfew_admin", "password": "change-me", "allowed_roles": "*",
	})
	section := between(t, string(doc), "## Shared grants", "## What Curfew warns about")
	statements := strings.NewReplacer(`\"`, `"`, "\\\n", "\n").Replace(between(t, section, `creation_statements="`, "\"\n"))
	write := func() {
		if r := b.must(engine.Write, "roles/app-read", roleOf("db", "creation_statements", statements, "shared_grants", "true")); r != nil {
			t.Errorf("the documented role is warned about: %+v", r)
		}
	}
	write()
	i := (&site{bench: b, admin: &testkit.Admin{}}).issue("app-read")
	table("later")
	write()
	conn := testkit.Connect(t, cluster.URL(i.Account, i.password.Reveal(), database))
	var n int
	if err := conn.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM items) + (SELECT count(*) FROM later)`).Scan(&n); err != nil || n != 2 {
		t.Errorf("the account reads %d rows, %v", n, err)
	}
}

// block is the fenced block of a language in a text.
func block(tb testing.TB, doc, language string) string {
	tb.Helper()
	return between(tb, doc, "```"+language+"\n", "```")
}

func between(tb testing.TB, text, from, to string) string {
	tb.Helper()
	_, rest, ok := strings.Cut(text, from)
	out, _, found := strings.Cut(rest, to)
	if !ok || !found {
		tb.Fatalf("no %q … %q in the documentation", from, to)
	}
	return out
}
