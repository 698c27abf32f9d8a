//go:build integration

package database

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/testkit"
)

// finding is one of an answer, as a client reads it.
type finding struct {
	severity, code, kind, state, message, remedy string
	statement                                    int
}

func (s *site) check(role string) (ok bool, all []finding) {
	s.tb.Helper()
	data := s.must(engine.Read, "roles/"+role+"/check", nil).Data
	for _, f := range data["findings"].([]map[string]any) {
		all = append(all, finding{
			f["severity"].(string), f["code"].(string), f["statements"].(string), f["sqlstate"].(string),
			f["message"].(string), f["remedy"].(string), f["statement"].(int),
		})
	}
	return data["ok"].(bool), all
}

// one returns the finding of a code, or fails.
func one(tb testing.TB, all []finding, code, kind string) finding {
	tb.Helper()
	for _, f := range all {
		if f.code == code && (kind == "" || f.kind == kind) {
			return f
		}
	}
	tb.Fatalf("no finding %s about %q in %+v", code, kind, all)
	return finding{}
}

// everything is what a check could leave behind: what the catalogue holds of the
// admin's database and of all roles that bear a mark or were made by its tests.
func (s *site) everything() map[string]string {
	s.tb.Helper()
	conn := testkit.Connect(s.tb, s.admin.Cluster().AdminURL(s.admin.Database))
	out := map[string]string{}
	for what, sql := range map[string]string{
		"members": `SELECT coalesce(string_agg(m::text, ',' ORDER BY m::text), '') FROM pg_auth_members m WHERE m.grantor = $1::text::regrole OR m.member = $1::text::regrole`,
		"acl":     `SELECT coalesce(string_agg(relname || relacl::text, ',' ORDER BY relname), '') FROM pg_class WHERE relnamespace = 'public'::regnamespace AND $1::text <> ''`,
		"schemas": `SELECT string_agg(nspname, ',' ORDER BY nspname) FROM pg_namespace WHERE nspname NOT LIKE 'pg_%' AND $1::text <> ''`,
		"owned":   `SELECT count(*)::text FROM pg_shdepend WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND $1::text <> ''`,
		"rows":    `SELECT count(*)::text || coalesce(max(name), '') FROM items WHERE $1::text <> ''`,
	} {
		var text string
		if err := conn.QueryRow(s.tb.Context(), sql, s.admin.User).Scan(&text); err != nil {
			s.tb.Fatalf("%s: %v", what, err)
		}
		out[what] = text
	}
	for _, a := range s.accounts(s.tb.Context(), s.id()) {
		out["account "+a.Name] = a.Name
	}
	revision := s.stored("db").entry.Revision
	out["entry"], out["events"] = fmt.Sprint(revision), fmt.Sprint(len(s.events()))
	return out
}

// A check says what a creation, a renewal and a revocation would meet, and
// leaves nothing behind.
func TestCheckOfARole(t *testing.T) {
	t.Parallel()
	for _, kind := range testkit.AdminKinds() { // (C4)
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			cluster := testkit.SharedPostgres(t)
			s := newSite(t, cluster.CreateAdmin(t, kind))
			group := strings.Replace(s.admin.User, "admin", "readers", 1)
			cluster.Exec(t, "postgres", `CREATE ROLE "`+group+`" NOLOGIN`)
			cluster.Exec(t, "postgres", `GRANT "`+group+`" TO "`+s.admin.User+`" WITH ADMIN OPTION`)
			member := creation + `GRANT "` + group + `" TO "{{name}}";`

			s.must(engine.Write, "roles/sound", roleOf("db", "creation_statements", member,
				"renew_statements", `COMMENT ON ROLE "{{name}}" IS 'until {{expiration}}'`,
				"revocation_statements", `REVOKE "`+group+`" FROM "{{name}}"; DROP ROLE IF EXISTS "{{name}}"`))
			s.must(engine.Write, "roles/refused", roleOf("db", "creation_statements", creation+`GRANT no_such_group TO "{{name}}"`))
			s.must(engine.Write, "roles/ending", roleOf("db", "creation_statements", member,
				"renew_statements", `COMMENT ON ROLE "{{name}}" IS '{{name}}'; REVOKE no_such_group FROM "{{name}}"`,
				"revocation_statements", `REVOKE "`+group+`" FROM "{{name}}"; REVOKE no_such_group FROM "{{name}}"`,
				"rollback_statements", `REVOKE SELECT ON no_such_table FROM "{{name}}"`))
			s.must(engine.Write, "roles/nologin", roleOf("db", "creation_statements", `CREATE ROLE "{{name}}" PASSWORD '{{password}}'`))
			s.must(engine.Write, "roles/owner", roleOf("db", "creation_statements", creation+
				`GRANT SELECT ON items TO "{{name}}"; GRANT "{{name}}" TO CURRENT_USER; CREATE SCHEMA "{{name}}" AUTHORIZATION "{{name}}"; `+
				`INSERT INTO items SELECT 99, 'left behind'`))
			before := s.everything()

			if ok, all := s.check("sound"); !ok || slicesOfErrors(all) != 0 {
				t.Errorf("a sound role: %t, %+v", ok, all)
			}
			ok, all := s.check("refused")
			if f := one(t, all, "refused", "creation_statements"); ok || f.statement != 2 || f.state != "42704" || f.severity != "error" {
				t.Errorf("%t, %+v", ok, f)
			}
			ok, all = s.check("ending")
			if f := one(t, all, "refused", "renew_statements"); ok || f.statement != 2 || f.severity != "error" {
				t.Errorf("%t, %+v", ok, f)
			}
			for kind, n := range map[string]int{"revocation_statements": 2, "rollback_statements": 1} {
				if f := one(t, all, "refused", kind); f.statement != n || f.severity != "warning" || !strings.Contains(f.message, "is taken away without it") {
					t.Errorf("%+v", f)
				}
			}
			ok, all = s.check("nologin")
			if f := one(t, all, "login", ""); ok || f.severity != "error" {
				t.Errorf("%t, %+v", ok, f)
			}
			ok, all = s.check("owner")
			if f := one(t, all, "owned-objects", ""); !ok || !strings.Contains(f.message, s.admin.User) {
				t.Errorf("%t, %+v", ok, all)
			}
			if f := one(t, all, "per-user-grants", ""); f.statement != 2 {
				t.Errorf("%+v", f)
			}
			if f := one(t, all, "alone", ""); f.statement != 4 || f.kind != "creation_statements" {
				t.Errorf("%+v", f)
			}
			if after := s.everything(); !reflect.DeepEqual(before, after) {
				t.Errorf("before\n%v\nafter\n%v", before, after)
			}
			// What it says of the sound role is true.
			i := s.issue("sound")
			s.remove(i.Lease)
		})
	}
}

func slicesOfErrors(all []finding) (n int) {
	for _, f := range all {
		if f.severity == "error" {
			n++
		}
	}
	return n
}

// The missing GRANT is named, and with it the role is sound; so are a missing
// right of the admin (C4) and what the connection lacks.
func TestCheckNamesTheGrant(t *testing.T) {
	t.Parallel()
	cluster := testkit.SharedPostgres(t)
	s := newSite(t, cluster.CreateAdmin(t, testkit.CreateRoleAdmin))
	cluster.Exec(t, s.admin.Database, `CREATE TABLE ledger (id int)`)
	s.must(engine.Write, "roles/r", roleOf("db", "creation_statements", creation+`GRANT SELECT ON ledger TO "{{name}}"`))
	ok, all := s.check("r")
	f := one(t, all, "refused", "creation_statements")
	if ok || f.state != "42501" || f.statement != 2 || !strings.HasPrefix(f.remedy, "GRANT SELECT ON TABLE") {
		t.Fatalf("%t, %+v", ok, f)
	}
	cluster.Exec(t, s.admin.Database, f.remedy)
	if ok, all := s.check("r"); !ok {
		t.Errorf("with the GRANT: %+v", all)
	}
	cluster.Exec(t, "postgres", `REVOKE pg_signal_backend FROM "`+s.admin.User+`"`)
	s.must(engine.Write, "reset/db", nil)
	ok, all = s.check("r")
	if f := one(t, all, "pg_signal_backend", ""); !ok || !strings.HasPrefix(f.remedy, "GRANT pg_signal_backend TO") {
		t.Errorf("%t, %+v", ok, f)
	}
	one(t, all, "log_min_error_statement", "")
	s.must(engine.Write, "config/db", map[string]any{"allowed_roles": "other", "password_policy": "gone"})
	ok, all = s.check("r")
	if f := one(t, all, "allowed-roles", ""); ok || f.severity != "error" {
		t.Errorf("%t, %+v", ok, f)
	}
	if f := one(t, all, "refused", ""); !strings.Contains(f.message, "no password policy found") {
		t.Errorf("%+v", f)
	}
}

// Standbys that nobody named (C3).
func TestCheckSeesStandbys(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t)
	cluster.Standby(t)
	s := newSite(t, cluster.CreateAdmin(t, testkit.CreateRoleAdmin))
	_, all := s.check("good")
	one(t, all, "replicas", "")
}

// Statements that would end the transaction, or do what it cannot undo, are
// tried like the others and leave nothing.
func TestCheckOfCodeThatCommits(t *testing.T) {
	t.Parallel()
	for _, kind := range testkit.AdminKinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, testkit.SharedPostgres(t).CreateAdmin(t, kind))
			conn, err := pgx.Connect(t.Context(), s.admin.URL())
			if err != nil {
				t.Fatal(err)
			}
			_, err = conn.Exec(t.Context(), `CREATE PROCEDURE slip(name text) LANGUAGE plpgsql AS 'BEGIN INSERT INTO items VALUES (7, name); COMMIT; END'`)
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.must(engine.Write, "roles/slip", roleOf("db", "creation_statements", creation+`CALL slip('{{name}}')`))
			s.must(engine.Write, "roles/odd", roleOf("db", "creation_statements", creation+
				`SET search_path = nowhere; SET ROLE "{{name}}"; DO $$ BEGIN PERFORM pg_advisory_lock(77); END $$`))
			before := s.everything()
			ok, all := s.check("slip")
			if f := one(t, all, "refused", "creation_statements"); ok || f.statement != 2 || f.state != "2D000" {
				t.Errorf("%t, %+v", ok, f)
			}
			s.check("odd")
			if after := s.everything(); !reflect.DeepEqual(before, after) {
				t.Errorf("before\n%v\nafter\n%v", before, after)
			}
			for end := time.Now().Add(soon); ; time.Sleep(5 * time.Millisecond) { // the server ends a session in its own time
				var held int
				if err := s.super(t.Context(), `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77
 AND database = (SELECT oid FROM pg_database WHERE datname = $1)`, []any{s.admin.Database}, &held); err != nil {
					t.Fatal(err)
				}
				if held == 0 {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("%d locks are held", held)
				}
			}
		})
	}
}
