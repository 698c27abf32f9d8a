package sqltext_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/engine/database/internal/sqltext"
)

func TestKinds(t *testing.T) {
	t.Parallel()
	const accepted = ""
	for _, tc := range []struct {
		kind sqltext.Kind
		sql  string
		want string
	}{
		{sqltext.Creation, ``, "at least one statement"},
		{sqltext.Creation, `; -- nothing`, "at least one statement"},
		{sqltext.Creation, `GRANT x TO "{{name}}"`, "no statement creates the account"},
		{sqltext.Creation, `CREATE ROLE '{{name}}'`, "other than"},
		{sqltext.Creation, `CREATE ROLE "{{name}}"`, accepted},
		{sqltext.Creation, `create user "{{ username }}" /* x */ password '{{ password }}'`, accepted},
		{sqltext.Creation, `CREATE GROUP "{{name}}"`, accepted},
		{sqltext.Creation, `SELECT make_account('{{name}}', '{{password}}')`, accepted},
		{sqltext.Creation, `CALL make_account('{{name}}')`, accepted},
		{sqltext.Creation, `SELECT 1`, "no statement creates the account"},
		{sqltext.Creation, `DO $$ BEGIN EXECUTE format('CREATE ROLE %I', '{{name}}'); END $$`, accepted},
		{sqltext.Creation, `DO $$ BEGIN END $$`, "no statement creates the account"},
		{sqltext.Creation, `DROP ROLE IF EXISTS "{{name}}"; CREATE ROLE "{{name}}"`, accepted},
		{sqltext.Creation, `CREATE USER MAPPING FOR "{{name}}" SERVER s`, "no statement creates the account"},

		{sqltext.Renew, ``, accepted},
		{sqltext.Renew, `ALTER ROLE "{{name}}" VALID UNTIL '{{expiration}}'`, accepted},
		{sqltext.Renew, `ALTER ROLE "{{name}}" LOGIN VALID UNTIL '{{expiration}}'`, "LOGIN and PASSWORD"},
		{sqltext.Renew, `ALTER ROLE "{{name}}" password 'x'`, "LOGIN and PASSWORD"},
		{sqltext.Renew, `ALTER ROLE "{{name}}" /* LOGIN */ VALID UNTIL '{{expiration}}'`, accepted},
		{sqltext.Renew, `COMMENT ON ROLE "{{name}}" IS 'LOGIN PASSWORD'`, accepted},
		{sqltext.Renew, `ALTER ROLE "{{name}}" NOLOGIN`, accepted},
		{sqltext.Renew, `DO $$ BEGIN ALTER ROLE "{{name}}" Login; END $$`, "LOGIN and PASSWORD"},
		{sqltext.Renew, `DO $$ BEGIN EXECUTE format('ALTER ROLE %I LOGIN', '{{name}}'); END $$`, "LOGIN and PASSWORD"},
		{sqltext.Renew, `DO 'BEGIN ALTER ROLE x LOGIN; END'`, "LOGIN and PASSWORD"},
		{sqltext.Renew, `CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ ALTER ROLE x LOGIN $$`, "LOGIN and PASSWORD"},
		{sqltext.Renew, `CREATE OR REPLACE PROCEDURE f() LANGUAGE sql AS $$ ALTER ROLE x LOGIN $$`, "LOGIN and PASSWORD"},
		{sqltext.Renew, `SELECT '{{password}}'`, "{{password}} has no value in renew_statements"},
		{sqltext.Renew, `DROP ROLE "{{name}}"`, "belongs to revocation_statements"},
		{sqltext.Renew, `DROP OWNED BY "{{name}}"`, "belongs to revocation_statements"},
		{sqltext.Renew, `CREATE ROLE "{{name}}"`, "belongs to creation_statements"},

		{sqltext.Revocation, ``, accepted},
		{sqltext.Revocation, `REASSIGN OWNED BY "{{name}}" TO app; DROP OWNED BY "{{name}}"; DROP USER IF EXISTS "{{name}}"`, accepted},
		{sqltext.Revocation, `ALTER ROLE "{{name}}" NOLOGIN`, accepted},
		{sqltext.Revocation, `ALTER ROLE "{{name}}" PASSWORD NULL`, accepted},
		{sqltext.Revocation, `ALTER ROLE "{{name}}" LOGIN`, "LOGIN would open"},
		{sqltext.Revocation, `CREATE USER "{{name}}"`, "belongs to creation_statements"},
		{sqltext.Revocation, `SELECT '{{password}}'`, "{{password}} has no value in revocation_statements"},
		{sqltext.Revocation, `SELECT '{{expiration}}'`, "{{expiration}} has no value in revocation_statements"},
		{sqltext.Rollback, `DROP ROLE IF EXISTS "{{name}}"`, accepted},
		{sqltext.Rollback, `DO $$ BEGIN ALTER ROLE "{{name}}" LOGIN; END $$`, "LOGIN would open"},
		{sqltext.Rollback, `SELECT '{{password}}'`, "{{password}} has no value in rollback_statements"},

		{sqltext.RotateRoot, ``, accepted},
		{sqltext.RotateRoot, `ALTER ROLE "{{username}}" WITH LOGIN PASSWORD '{{password}}'`, accepted},
		{sqltext.RotateRoot, `ALTER ROLE "{{username}}" VALID UNTIL 'infinity'`, "no statement sets {{password}}"},
		{sqltext.RotateRoot, `SELECT '{{expiration}}', '{{password}}'`, "{{expiration}} has no value in root_rotation_statements"},
		{sqltext.RotateRoot, `DROP ROLE "{{name}}"; SELECT '{{password}}'`, "belongs to revocation_statements"},

		{sqltext.Rotation, ``, accepted},
		{sqltext.Rotation, `ALTER USER "{{username}}" WITH PASSWORD '{{password}}'; COMMENT ON ROLE "{{name}}" IS 'rotated'`, accepted},
		{sqltext.Rotation, `SELECT set_password('{{name}}', '{{password}}')`, accepted},
		{sqltext.Rotation, `ALTER ROLE "{{name}}" NOLOGIN`, "no statement sets {{password}}"},
		{sqltext.Rotation, `ALTER ROLE "{{name}}" PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`, "{{expiration}} has no value in rotation_statements"},
		{sqltext.Rotation, `DROP ROLE "{{name}}"; SELECT '{{password}}'`, "belongs to revocation_statements"},
		{sqltext.Rotation, `CREATE ROLE "{{name}}" PASSWORD '{{password}}'`, "belongs to creation_statements"},
		{sqltext.Rotation, `ALTER ROLE "{{name}}" RENAME TO x; SELECT '{{password}}'`, "renaming"},
	} {
		_, err := sqltext.Parse(tc.kind, tc.sql)
		if tc.want == accepted {
			if err != nil {
				t.Errorf("%v %q: %v", tc.kind, tc.sql, err)
			}
			continue
		}
		var e *sqltext.Error
		if !errors.As(err, &e) || !strings.Contains(e.Reason, tc.want) || !strings.HasPrefix(err.Error(), tc.kind.String()+": ") {
			t.Errorf("%v %q: error %v, want one with %q", tc.kind, tc.sql, err, tc.want)
		}
	}
}

// Which statements share a transaction (B4), which are serialised (B6).
func TestClasses(t *testing.T) {
	t.Parallel()
	const (
		batchable = 1 << iota
		conflicting
		perUser
	)
	for _, tc := range []struct {
		kind sqltext.Kind
		sql  string
		want int
	}{
		{sqltext.Creation, `CREATE ROLE "{{name}}" IN ROLE readers`, batchable},
		{sqltext.Creation, `CREATE USER "{{name}}"`, batchable},
		{sqltext.Creation, `ALTER ROLE "{{name}}" SET search_path = app`, batchable},
		{sqltext.Creation, `ALTER USER "{{name}}" IN DATABASE d RESET ALL`, batchable},
		{sqltext.Creation, `ALTER ROLE ALL SET work_mem = '1GB'`, conflicting},
		{sqltext.Creation, `ALTER ROLE CURRENT_USER SET work_mem = '1GB'`, conflicting},
		{sqltext.Creation, `ALTER ROLE SESSION_USER SUPERUSER`, conflicting},
		{sqltext.Creation, `ALTER ROLE app NOLOGIN`, conflicting},
		{sqltext.Creation, `ALTER ROLE "{{name}}x" NOLOGIN`, conflicting},
		{sqltext.Creation, `ALTER ROLE "{{expiration}}" NOLOGIN`, conflicting},
		{sqltext.Creation, `ALTER USER MAPPING FOR "{{name}}" SERVER s OPTIONS (user 'x')`, conflicting},
		{sqltext.Creation, `ALTER GROUP readers ADD USER "{{name}}"`, batchable},
		{sqltext.Creation, `ALTER GROUP readers DROP USER "{{name}}", app`, conflicting},
		{sqltext.Creation, `GRANT readers, writers TO "{{name}}" WITH ADMIN OPTION`, batchable},
		{sqltext.Creation, `REVOKE readers FROM "{{name}}"`, batchable},
		{sqltext.Creation, `GRANT SELECT (a, b) ON t TO "{{name}}"`, batchable | conflicting | perUser},
		{sqltext.Creation, `GRANT USAGE ON SCHEMA s TO readers`, batchable | conflicting},
		{sqltext.Creation, `grant select on all tables in schema public to "{{ username }}"`, batchable | conflicting | perUser},
		{sqltext.Creation, `REVOKE ALL ON t FROM "{{name}}"`, batchable | conflicting},
		{sqltext.Creation, `ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO readers`, batchable | conflicting},
		{sqltext.Creation, `ALTER DEFAULT PRIVILEGES FOR ROLE app GRANT SELECT ON TABLES TO "{{name}}"`, batchable | conflicting | perUser},
		{sqltext.Creation, `COMMENT ON ROLE "{{name}}" IS 'for {{name}}'`, batchable},
		{sqltext.Creation, `COMMENT ON TABLE t IS 'x'`, batchable | conflicting},
		{sqltext.Creation, `DROP ROLE IF EXISTS "{{name}}"`, 0},
		{sqltext.Creation, `SET ROLE app`, 0},
		{sqltext.Creation, `SET SESSION AUTHORIZATION app`, 0},
		{sqltext.Creation, `SET LOCAL search_path = app`, 0},
		{sqltext.Creation, `RESET ROLE`, 0},
		{sqltext.Creation, `DO $$ BEGIN END $$`, conflicting},
		{sqltext.Creation, `CALL p()`, conflicting},
		{sqltext.Creation, `SELECT f()`, conflicting},
		{sqltext.Creation, `WITH x AS (SELECT 1) SELECT * FROM x`, conflicting},
		{sqltext.Creation, `INSERT INTO accounts VALUES ('{{name}}')`, conflicting},
		{sqltext.Creation, `CREATE SCHEMA AUTHORIZATION "{{name}}"`, conflicting},
		{sqltext.Creation, `CREATE USER MAPPING FOR "{{name}}" SERVER s`, conflicting},
		{sqltext.Creation, `REFRESH MATERIALIZED VIEW CONCURRENTLY v`, conflicting},
		{sqltext.Revocation, `DROP ROLE "{{name}}"`, batchable},
		{sqltext.Revocation, `DROP USER IF EXISTS "{{name}}", "{{username}}"`, batchable},
		{sqltext.Revocation, `DROP ROLE "{{name}}", app`, conflicting},
		{sqltext.Revocation, `DROP ROLE IF EXISTS app`, conflicting},
		{sqltext.Revocation, `DROP USER MAPPING FOR "{{name}}" SERVER s`, conflicting},
		{sqltext.Revocation, `DROP OWNED BY "{{name}}"`, conflicting},
		{sqltext.Revocation, `REASSIGN OWNED BY "{{name}}" TO app`, conflicting},
		{sqltext.Rollback, `DROP GROUP "{{name}}"`, batchable},
		{sqltext.RotateRoot, `ALTER ROLE "{{name}}" PASSWORD '{{password}}'`, 0},
	} {
		texts := []string{tc.sql}
		if tc.kind == sqltext.Creation {
			texts = append(texts, create)
		}
		st := parse(t, tc.kind, texts...).Statements()[0]
		got := 0
		for bit, set := range map[int]bool{batchable: st.Batchable(), conflicting: st.Conflicting(), perUser: st.PerUserGrant()} {
			if set {
				got |= bit
			}
		}
		if got != tc.want {
			t.Errorf("%v %q: %03b, want %03b (per user, conflicting, batchable)", tc.kind, tc.sql, got, tc.want)
		}
	}
}

func TestScriptSumsItsStatementsUp(t *testing.T) {
	t.Parallel()
	quiet := parse(t, sqltext.Creation, create, `GRANT readers TO "{{name}}"`)
	if !quiet.Batchable() || quiet.Conflicting() || quiet.PerUserGrant() || quiet.Len() != 2 || quiet.Kind() != sqltext.Creation {
		t.Error("a script of batchable statements without conflicts is taken for something else")
	}
	loud := parse(t, sqltext.Creation, create, `GRANT SELECT ON t TO "{{name}}"`, `SET ROLE x`)
	if loud.Batchable() || !loud.Conflicting() || !loud.PerUserGrant() {
		t.Error("one statement does not decide for its script")
	}
	if !loud.Uses(sqltext.Expiration) || parse(t, sqltext.Revocation, `DROP ROLE "{{name}}"`).Uses(sqltext.Password) {
		t.Error("variables in use are told wrongly")
	}
	var none sqltext.Script
	if !none.Batchable() || none.Conflicting() || none.Len() != 0 {
		t.Error("the zero script is not an empty one")
	}
}

func TestPasswordOnlyAsPassword(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		sql  string
		want bool
	}{
		{`CREATE ROLE "{{name}}" PASSWORD '{{password}}'`, true},
		{`CREATE ROLE "{{name}}" ENCRYPTED PASSWORD /* x */ '{{ password }}' LOGIN`, true},
		{`CREATE ROLE "{{name}}" PASSWORD E'{{password}}'`, true},
		{`CREATE ROLE "{{name}}" PASSWORD $p${{password}}$p$`, true},
		{`CREATE ROLE "{{name}}"; ALTER USER "{{name}}" PASSWORD '{{password}}'`, true},
		{`CREATE ROLE "{{name}}"`, true},
		{`DO $$ BEGIN CREATE ROLE "{{name}}" PASSWORD '{{password}}'; END $$`, true},
		{`DO $$ BEGIN EXECUTE $x$ CREATE ROLE "{{name}}" PASSWORD '{{password}}' $x$; END $$`, true},
		{`CREATE ROLE "{{name}}" PASSWORD 'x{{password}}'`, false},
		{`CREATE ROLE "{{name}}" PASSWORD '{{password}} '`, false},
		{`CREATE ROLE "{{name}}" PASSWORD N'{{password}}'`, false},
		{`CREATE ROLE "{{name}}" PASSWORD "{{password}}"`, false},
		{`CREATE ROLE "{{name}}"; COMMENT ON ROLE "{{name}}" IS '{{password}}'`, false},
		{`CREATE ROLE "{{name}}"; ALTER ROLE "{{name}}" SET app.secret = '{{password}}'`, false},
		{`CREATE ROLE "{{name}}" PASSWORD '{{password}}'; INSERT INTO t VALUES ('{{password}}')`, false},
		{`CREATE ROLE "{{name}}"; CREATE USER MAPPING FOR "{{name}}" SERVER s OPTIONS (password '{{password}}')`, false},
		{`SELECT make_account('{{name}}', password '{{password}}')`, false},
		{`DO $$ BEGIN EXECUTE format('CREATE ROLE %I PASSWORD %L', '{{name}}', '{{password}}'); END $$`, false},
		{`DO $$ BEGIN CREATE ROLE "{{name}}"; ALTER SERVER s OPTIONS (SET password '{{password}}'); END $$`, false},
		{`DO $$ BEGIN EXECUTE 'CREATE ROLE x PASSWORD ''{{password}}'' -- {{name}}'; END $$`, false},
	} {
		err := parse(t, sqltext.Creation, tc.sql).PasswordOnlyAsPassword()
		if (err == nil) != tc.want {
			t.Errorf("%q: %v", tc.sql, err)
		}
		var e *sqltext.Error
		if err != nil && (!errors.As(err, &e) || e.Statement == 0) {
			t.Errorf("%q: the error %v names no statement", tc.sql, err)
		}
	}
}
