package sqltext_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/engine/database/internal/sqltext"
)

const create = `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`

func vars() sqltext.Vars {
	return sqltext.Vars{Name: "v-root-readonly-abc-1", Password: "A1a-xyz", Expiration: "2026-11-22 01:00:00+00"}
}

func parse(tb testing.TB, kind sqltext.Kind, texts ...string) sqltext.Script {
	tb.Helper()
	s, err := sqltext.Parse(kind, texts...)
	if err != nil {
		tb.Fatalf("parse %q: %v", texts, err)
	}
	return s
}

func render(tb testing.TB, s sqltext.Script, v sqltext.Vars) []string {
	tb.Helper()
	out, err := s.Render(v)
	if err != nil {
		tb.Fatalf("render: %v", err)
	}
	return out
}

// The statements of both articles (S1.1, S2.1), as they are written there.
func TestStatementsOfTheArticles(t *testing.T) {
	t.Parallel()
	s1 := parse(t, sqltext.Creation, `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{{name}}";`)
	want := []string{
		`CREATE ROLE "v-root-readonly-abc-1" WITH LOGIN PASSWORD 'A1a-xyz' VALID UNTIL '2026-11-22 01:00:00+00'`,
		`GRANT SELECT ON ALL TABLES IN SCHEMA public TO "v-root-readonly-abc-1"`,
	}
	if got := render(t, s1, vars()); !slices.Equal(got, want) {
		t.Errorf("S1.1:\n got %q\nwant %q", got, want)
	}
	s2 := parse(t, sqltext.Creation, `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{{name}}"; ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO "{{name}}";`)
	if got := render(t, s2, vars()); len(got) != 3 || got[2] != `ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO "v-root-readonly-abc-1"` {
		t.Errorf("S2.1 creation: %q", got)
	}
	revoke := parse(t, sqltext.Revocation, `REVOKE ALL PRIVILEGES ON ALL TABLES IN SCHEMA public FROM "{{name}}"; DROP ROLE IF EXISTS "{{name}}";`)
	if got := render(t, revoke, sqltext.Vars{Name: "x"}); !slices.Equal(got, []string{`REVOKE ALL PRIVILEGES ON ALL TABLES IN SCHEMA public FROM "x"`, `DROP ROLE IF EXISTS "x"`}) {
		t.Errorf("S2.1 revocation: %q", got)
	}
	for name, s := range map[string]sqltext.Script{"S1.1": s1, "S2.1 creation": s2, "S2.1 revocation": revoke} {
		if !s.Batchable() || !s.Conflicting() || s.PasswordOnlyAsPassword() != nil {
			t.Errorf("%s: batchable %v, conflicting %v, password %v", name, s.Batchable(), s.Conflicting(), s.PasswordOnlyAsPassword())
		}
	}
	if !s1.PerUserGrant() || !s2.PerUserGrant() || revoke.PerUserGrant() {
		t.Error("grants to the account itself are not told from revocations")
	}
}

func TestSplitting(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		texts []string
		want  []string
	}{
		"empty statements":      {[]string{";; SELECT 1;; ;", "", " -- nothing\n", "SELECT 2"}, []string{"SELECT 1", "SELECT 2"}},
		"no semicolon":          {[]string{"SELECT 1"}, []string{"SELECT 1"}},
		"literal":               {[]string{"SELECT ';', 'it''s; fine'; SELECT 2"}, []string{"SELECT ';', 'it''s; fine'", "SELECT 2"}},
		"backslash in literal":  {[]string{`SELECT 'a\'; SELECT 'b\'`}, []string{`SELECT 'a\'`, `SELECT 'b\'`}},
		"escape string":         {[]string{`SELECT E'a\'; SELECT ''', e'\\'; SELECT 2`}, []string{`SELECT E'a\'; SELECT ''', e'\\'`, "SELECT 2"}},
		"unicode string":        {[]string{`SELECT U&'a\'; SELECT u&"b;""c"`}, []string{`SELECT U&'a\'`, `SELECT u&"b;""c"`}},
		"bit strings":           {[]string{`SELECT B'10', X'1f', N';'; SELECT 2`}, []string{`SELECT B'10', X'1f', N';'`, "SELECT 2"}},
		"identifier":            {[]string{`SELECT "a;""b;"; SELECT 2`}, []string{`SELECT "a;""b;"`, "SELECT 2"}},
		"dollar quote":          {[]string{"SELECT $$;'$$, $a$;$$;$b$;$a$; SELECT 2"}, []string{"SELECT $$;'$$, $a$;$$;$b$;$a$", "SELECT 2"}},
		"dollar in a word":      {[]string{"SELECT a$b$ ; SELECT $b$;$b$"}, []string{"SELECT a$b$", "SELECT $b$;$b$"}},
		"nested dollar":         {[]string{"DO $a$ BEGIN EXECUTE $b$ SELECT 1; $b$; END; $a$; SELECT 2"}, []string{"DO $a$ BEGIN EXECUTE $b$ SELECT 1; $b$; END; $a$", "SELECT 2"}},
		"line comment":          {[]string{"SELECT 1 -- ; '\n; SELECT 2 -- \" end"}, []string{"SELECT 1", "SELECT 2"}},
		"comment ends at CR":    {[]string{"SELECT 1 -- ; \r+ 2; SELECT 3"}, []string{"SELECT 1  \r+ 2", "SELECT 3"}},
		"block comment":         {[]string{"SELECT /* ; /* ' */ ; */ 1; SELECT 2"}, []string{"SELECT   1", "SELECT 2"}},
		"comment inside words":  {[]string{"SELECT/**/1/***/+/*/**/*/2"}, []string{"SELECT 1 + 2"}},
		"comment in operator":   {[]string{"SELECT 2*/*;*/3, 5---2\n+1"}, []string{"SELECT 2* 3, 5 \n+1"}},
		"no comment in quotes":  {[]string{"SELECT '--', \"/*\", $$--$$; SELECT '*/'"}, []string{"SELECT '--', \"/*\", $$--$$", "SELECT '*/'"}},
		"prefix is a word":      {[]string{`SELECT name'a\', be'b\'; SELECT 2`}, []string{`SELECT name'a\', be'b\'`, "SELECT 2"}},
		"numbers":               {[]string{"SELECT 1.5e-3, .5, 1., 2e10, a[1:2]; SELECT 2"}, []string{"SELECT 1.5e-3, .5, 1., 2e10, a[1:2]", "SELECT 2"}},
		"array literal":         {[]string{"SELECT '{{1,2},{3,4}}'::int[]; SELECT 2"}, []string{"SELECT '{{1,2},{3,4}}'::int[]", "SELECT 2"}},
		"letters beyond ASCII":  {[]string{"SELECT größe, 'ß;', \"日本\"; SELECT 2"}, []string{"SELECT größe, 'ß;', \"日本\"", "SELECT 2"}},
		"parentheses":           {[]string{"(SELECT 1); ((SELECT 2))"}, []string{"(SELECT 1)", "((SELECT 2))"}},
		"case of keywords":      {[]string{"sElEcT 1; do $$ begin end $$"}, []string{"sElEcT 1", "do $$ begin end $$"}},
		"variable in a comment": {[]string{"SELECT 1 /* {{foo}} */; SELECT 2 -- {{password}}"}, []string{"SELECT 1", "SELECT 2"}},
	} {
		s := parse(t, sqltext.Revocation, tc.texts...)
		if got := s.Sources(); !slices.Equal(got, tc.want) {
			t.Errorf("%s:\n got %q\nwant %q", name, got, tc.want)
		}
		if got := render(t, s, sqltext.Vars{}); !slices.Equal(got, tc.want) {
			t.Errorf("%s rendered:\n got %q\nwant %q", name, got, tc.want)
		}
		for i, st := range s.Statements() {
			if st.Number() != i+1 {
				t.Errorf("%s: statement %d has number %d", name, i+1, st.Number())
			}
		}
	}
}

// What B4 refuses, as the second of three statements: the number must be 2.
func TestRefusedStatements(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ sql, want string }{
		{"BEGIN", "transaction control"},
		{"begin work", "transaction control"},
		{"START TRANSACTION READ ONLY", "transaction control"},
		{"COMMIT", "transaction control"},
		{"COMMIT PREPARED 'x'", "transaction control"},
		{"END", "transaction control"},
		{"ROLLBACK", "transaction control"},
		{"ROLLBACK TO SAVEPOINT s", "transaction control"},
		{"ROLLBACK PREPARED 'x'", "transaction control"},
		{"ABORT", "transaction control"},
		{"SAVEPOINT s", "transaction control"},
		{"RELEASE s", "transaction control"},
		{"PREPARE TRANSACTION 'x'", "transaction control"},
		{"/* x */ ROLLBACK -- y", "transaction control"},
		{"SET TRANSACTION READ ONLY", "transaction control"},
		{"SET LOCAL TRANSACTION READ ONLY", "transaction control"},
		{"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "transaction control"},
		{"RESET TRANSACTION ISOLATION LEVEL", "transaction control"},
		{"COPY t FROM STDIN", "COPY takes"},
		{"copy t to program 'sh'", "COPY takes"},
		{"LISTEN x", "LISTEN and NOTIFY"},
		{"NOTIFY x, 'y'", "LISTEN and NOTIFY"},
		{"UNLISTEN *", "LISTEN and NOTIFY"},
		{"LOAD 'x'", "LOAD puts"},
		{"VACUUM t", "cannot run inside"},
		{"CLUSTER", "cannot run inside"},
		{"REINDEX DATABASE x", "cannot run inside"},
		{"DISCARD ALL", "cannot run inside"},
		{"CHECKPOINT", "cannot run inside"},
		{"CREATE DATABASE x", "cannot run inside"},
		{"DROP DATABASE x", "cannot run inside"},
		{"ALTER DATABASE x SET TABLESPACE y", "cannot run inside"},
		{"CREATE TABLESPACE x LOCATION '/x'", "cannot run inside"},
		{"DROP TABLESPACE x", "cannot run inside"},
		{"ALTER SYSTEM SET x = 1", "cannot run inside"},
		{"CREATE SUBSCRIPTION s CONNECTION 'c' PUBLICATION p", "cannot run inside"},
		{"DROP SUBSCRIPTION s", "cannot run inside"},
		{"ALTER SUBSCRIPTION s REFRESH PUBLICATION", "cannot run inside"},
		{"CREATE UNIQUE INDEX CONCURRENTLY i ON t (x)", "cannot run inside"},
		{"DROP INDEX CONCURRENTLY i", "cannot run inside"},
		{"ALTER TABLE t DETACH PARTITION p CONCURRENTLY", "cannot run inside"},
		{"PREPARE p AS SELECT 1", "prepared statements"},
		{"EXECUTE p", "prepared statements"},
		{"DEALLOCATE ALL", "prepared statements"},
		{"DECLARE c CURSOR FOR SELECT 1", "prepared statements"},
		{"FETCH c", "prepared statements"},
		{"SET standard_conforming_strings = off", "STANDARD_CONFORMING_STRINGS"},
		{`SET SESSION "Standard_Conforming_Strings" TO off`, "STANDARD_CONFORMING_STRINGS"},
		{"SET LOCAL client_encoding = 'SJIS'", "CLIENT_ENCODING"},
		{"SET NAMES 'SJIS'", "CLIENT_ENCODING"},
		{"SET synchronous_commit = off", "SYNCHRONOUS_COMMIT"},
		{`SET U&"\0073earch_path" = x`, "names no setting"},
		{"SET", "names no setting"},
		{"RESET ALL", "RESET ALL"},
		{"RESET client_encoding", "CLIENT_ENCODING"},
		{"SELECT set_config('standard_conforming_strings', 'off', false)", "STANDARD_CONFORMING_STRINGS"},
		{"DO $$ BEGIN PERFORM set_config('client_encoding', 'SJIS', false); END $$", "CLIENT_ENCODING"},
		{`\c other`, "psql's commands"},
		{`SELECT 1 \gexec`, "psql's commands"},
		{"x", "no statement that Curfew knows"},
		{"EXPLAIN ANALYZE SELECT 1", "no statement that Curfew knows"},
		{"ıNSERT INTO t VALUES (1)", "no statement that Curfew knows"},
		{"\ufeffSELECT 1", "no statement that Curfew knows"},
		{"'SELECT'", "does not begin with a keyword"},
		{`"BEGIN"`, "does not begin with a keyword"},
		{"(COMMIT)", "does not begin with a keyword"},
		{"CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END", "BEGIN ATOMIC"},
		{"CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2)", "a bracket that is not closed"},
		{"SELECT (1", "a bracket that is not closed"},
		{"SELECT 1)", "a bracket that was not opened"},
		{"SELECT (1]", "a bracket that was not opened"},
		{"SELECT 'a'\n'b'", "string literals in a row"},
		{"SELECT E'a' -- x\n'b\\'", "string literals in a row"},
		{"SELECT B'1''0'", "string literals in a row"},
		{"SELECT 'open", "a quote that is not closed"},
		{"SELECT E'open\\'", "a quote that is not closed"},
		{`SELECT "open`, "a quote that is not closed"},
		{"SELECT $a$open$b$", "a dollar quote that is not closed"},
		{"SELECT /* /* */ open", "a comment that is not closed"},
		{"SELECT $", "a dollar sign outside quotes"},
		{"SELECT $1", "a parameter"},
		{`SELECT ""`, "an identifier of no characters"},
		{"SELECT 1E'x'", "a number that letters follow"},
		{"SELECT 0x1F", "a number that letters follow"},
		{"SELECT 1$$x$$", "a number that letters follow"},
		{"SELECT {1}", "a brace outside quotes"},
		{"SELECT \x01", "a character outside quotes"},
		{"SELECT \v1", "a character outside quotes"},
		{`ALTER ROLE "{{name}}" RENAME TO x`, "renaming the account"},
		{`CREATE ROLE other LOGIN`, "other than"},
		{`CREATE USER "{{name}}_2" LOGIN`, "other than"},
		{`CREATE ROLE U&"x"`, "other than"},
		{`GRANT x TO {{name}}`, "variable {{name}} outside quotes"},
		{`GRANT x TO {{ username }}`, "variable {{name}} outside quotes"},
		{`GRANT {{foo}} TO "x"`, "unknown variable {{foo}}"},
		{`GRANT "{{ foo }}" TO "x"`, "unknown variable {{foo}}"},
		{`GRANT "{{Name}}" TO "x"`, "unknown variable {{Name}}"},
		{`GRANT "{{.DisplayName}}" TO "x"`, "unknown variable {{.DisplayName}}"},
		{`SELECT '{{name | quote}}'`, "}} does not end"},
		{`SELECT '{{a,b},{c,d}}'`, "}} does not end"},
		{`SELECT '{{name}'`, "}} does not end"},
		{`SELECT U&'{{name}}'`, "inside U&"},
		{`SELECT U&"{{name}}"`, "inside U&"},
		{`SELECT B'{{name}}'`, "inside U&"},
		{`SELECT x'{{name}}'`, "inside U&"},
		{`SELECT E'\{{name}}'`, "a backslash stands before"},
		{`SELECT E'\x2{{name}}'`, "an escape of digits"},
		{`SELECT E'\u00{{name}}'`, "an escape of digits"},
		{`SELECT E'\1{{name}}'`, "an escape of digits"},
		{`DO $$ BEGIN GRANT x TO {{name}}; END $$`, "variable {{name}} outside quotes"},
		{`DO $$ BEGIN EXECUTE $x$ GRANT x TO {{name}} $x$; END $$`, "variable {{name}} outside quotes"},
		{`DO $$ BEGIN x := 'open {{name}}; END $$`, "a quote that is not closed"},
		{`DO 'BEGIN PERFORM ''{{name}}''; END'`, "a body in single quotes"},
		{`DO LANGUAGE plpython3u $$ x = '{{name}}' $$`, "language other than"},
		{`DO $$ x = '{{name}}' $$ LANGUAGE 'plperl'`, "language other than"},
		{"SELECT '\xff'", "not UTF-8"},
		{"SELECT '\x00'", "NUL"},
	} {
		_, err := sqltext.Parse(sqltext.Creation, create+";", tc.sql, "SELECT 1")
		var e *sqltext.Error
		if !errors.As(err, &e) || !strings.Contains(e.Reason, tc.want) {
			t.Errorf("%q: error %v, want one with %q", tc.sql, err, tc.want)
			continue
		}
		if e.Statement != 2 {
			t.Errorf("%q: refused as statement %d", tc.sql, e.Statement)
		}
	}
}

// B4's own example, in one lease's text.
func TestHostileExample(t *testing.T) {
	t.Parallel()
	_, err := sqltext.Parse(sqltext.Creation, create+"; ROLLBACK; BEGIN; SAVEPOINT s;")
	want := fmt.Sprintf("creation_statements: statement 2 (ROLLBACK), line 1, column %d: transaction control: "+
		"Curfew runs the statements of a lease in transactions of its own", len(create+"; ")+1)
	if err == nil || err.Error() != want {
		t.Errorf("error\n got %v\nwant %s", err, want)
	}
}

func TestErrorTellsThePlace(t *testing.T) {
	t.Parallel()
	_, err := sqltext.Parse(sqltext.Creation, create, "SELECT 1;\n  GRANT größe TO 'x{{foo}}'")
	var e *sqltext.Error
	if !errors.As(err, &e) || e.Statement != 3 || e.Line != 2 || e.Column != 20 || e.Head != "GRANT" {
		t.Errorf("error %+v", e)
	}
}

// Errors go to logs and to people without the right to read the role.
func TestErrorsHoldNoText(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		`CREATE ROLE hunter2 PASSWORD 'hunter2'`, `hunter2`, `hunter2 'x'`, `VACUUM hunter2`, `CREATE hunter2 'open`, `SELECT 'hunter2`, `SELECT $hunter2$ x`,
		`SELECT 'hunter2' 'hunter2'`, `BEGIN; hunter2`, `SET hunter2`, `SET standard_conforming_strings = 'hunter2'`, `SELECT 1hunter2`,
		`ALTER ROLE "{{name}}" RENAME TO hunter2`, `SELECT (hunter2`, `SELECT 'hunter2{{password}}`,
		`DO LANGUAGE hunter2 $$ '{{name}}' $$`,
	} {
		_, err := sqltext.Parse(sqltext.Creation, create, sql)
		if err == nil {
			if sql != `SET hunter2` {
				t.Errorf("%q is accepted", sql)
			}
			continue
		}
		if strings.Contains(strings.ToLower(err.Error()), "hunter2") {
			t.Errorf("the error repeats the text: %v", err)
		}
	}
}

func TestTooMuchText(t *testing.T) {
	t.Parallel()
	half := "SELECT '" + strings.Repeat("x", sqltext.MaxText/2) + "'"
	parse(t, sqltext.Revocation, half)
	if _, err := sqltext.Parse(sqltext.Revocation, half, half); err == nil || !strings.Contains(err.Error(), "more than 131072 bytes") {
		t.Errorf("error %v", err)
	}
}

func TestDeepNesting(t *testing.T) {
	t.Parallel()
	body := `PERFORM '{{name}}';`
	for i := range 8 {
		tag := "$" + strings.Repeat("a", i+1) + "$"
		body = " EXECUTE " + tag + body + tag + "; "
	}
	if _, err := sqltext.Parse(sqltext.Revocation, "DO $$"+body+"$$"); err == nil || !strings.Contains(err.Error(), "nest too deep") {
		t.Errorf("error %v", err)
	}
}
