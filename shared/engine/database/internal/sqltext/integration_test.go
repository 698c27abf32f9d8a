//go:build integration

package sqltext_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/engine/database/internal/sqltext"
	"github.com/curfew-project/curfew/shared/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func connect(t *testing.T) *pgx.Conn {
	t.Helper()
	cluster := testkit.SharedPostgres(t)
	return testkit.Connect(t, cluster.AdminURL(cluster.NewDatabase(t)))
}

// query runs one message of the simple protocol, as the engine does, and
// returns the only row.
func query(ctx context.Context, conn *pgx.Conn, sql string) (names, values []string, err error) {
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, nil, err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return nil, nil, fmt.Errorf("%d results", len(results))
	}
	for i, field := range results[0].FieldDescriptions {
		names = append(names, field.Name)
		values = append(values, string(results[0].Rows[0][i]))
	}
	return names, values, nil
}

func value() *rapid.Generator[string] {
	nasty := rapid.SampledFrom([]string{
		"'", `"`, `\`, `\'`, "$", "$$", "$t$", "--", "/*", "*/", ";", "\n", "\r", "\t", " ", "E'", "U&'", `\0041`, "{{name}}", "ü", "日本", "\U0001F511", "a",
	})
	return rapid.OneOf(
		rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(nasty, 1, 10).Draw(t, "parts"), "")
		}),
		rapid.StringOfN(rapid.Rune().Filter(func(r rune) bool { return r != 0 && utf8.ValidRune(r) }), 1, 20, -1),
	)
}

// The server sees exactly the value, in every kind of quotes (B4).
func TestServerSeesTheValues(t *testing.T) {
	t.Parallel()
	conn := connect(t)
	s := parse(t, sqltext.Creation, create,
		`SELECT '{{password}}' AS "{{name}}", '<{{name}}>', E'{{password}}\n', E'it\'s {{name}}', N'{{password}}', $t${{password}}$t$, $$<{{name}}>$$ -- {{foo}}`)
	seen := 0
	rapid.Check(t, func(rt *rapid.T) {
		name, password := value().Draw(rt, "name"), value().Draw(rt, "password")
		sql, err := s.Statements()[1].Render(sqltext.Vars{Name: name, Password: password})
		var refused *sqltext.Error
		if errors.As(err, &refused) {
			return
		}
		names, values, err := query(t.Context(), conn, sql)
		if err != nil {
			rt.Fatalf("%s: %v", sql, err)
		}
		want := []string{password, "<" + name + ">", password + "\n", "it's " + name, password, password, "<" + name + ">"}
		if names[0] != name || !slices.Equal(values, want) {
			rt.Fatalf("%s:\n got %q as %q\nwant %q as %q", sql, values, names[0], want, name)
		}
		seen++
	})
	if seen == 0 {
		t.Error("no value reached the server")
	}
}

// Literals mean the same under both settings, identifiers always.
func TestServerSeesLiteralsAndIdentifiers(t *testing.T) {
	t.Parallel()
	conn := connect(t)
	for _, setting := range []string{"on", "off"} {
		if _, err := conn.Exec(t.Context(), "SET standard_conforming_strings = "+setting); err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(rt *rapid.T) {
			v := value().Draw(rt, "value")
			sql := "SELECT" + sqltext.Literal(v) + "AS" + sqltext.Ident(v)
			if len(v) > 63 {
				sql = "SELECT" + sqltext.Literal(v) + "AS x"
			}
			names, values, err := query(t.Context(), conn, sql)
			if err != nil || values[0] != v || len(v) <= 63 && names[0] != v {
				rt.Fatalf("%s: %q as %q, %v, want %q", sql, values, names, err, v)
			}
		})
	}
}

// A body of code gets the values too, on all its levels.
func TestServerRunsCodeWithTheValues(t *testing.T) {
	t.Parallel()
	conn := connect(t)
	s := parse(t, sqltext.Revocation, `DO $do$
BEGIN
  PERFORM set_config('app.literal', '{{name}}', false); -- it's {{foo}}
  EXECUTE $q$ SELECT set_config('app.nested', E'{{name}}\n', false) AS "{{name}}" $q$;
END
$do$`)
	rapid.Check(t, func(rt *rapid.T) {
		v := value().Draw(rt, "value")
		sql, err := s.Statements()[0].Render(sqltext.Vars{Name: v})
		var refused *sqltext.Error
		if errors.As(err, &refused) {
			return
		}
		if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
			rt.Fatalf("%s: %v", sql, err)
		}
		_, values, err := query(t.Context(), conn, "SELECT current_setting('app.literal'), current_setting('app.nested')")
		if err != nil || !slices.Equal(values, []string{v, v + "\n"}) {
			rt.Fatalf("%s: %q, %v, want %q", sql, values, err, v)
		}
	})
}

// The articles' statements do on the server what they say.
func TestServerRunsTheArticles(t *testing.T) {
	t.Parallel()
	conn := connect(t)
	creation := parse(t, sqltext.Creation, `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{{name}}"; ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO "{{name}}";`)
	revocation := parse(t, sqltext.Revocation, `DROP OWNED BY "{{name}}"; DROP ROLE IF EXISTS "{{name}}";`)
	v := sqltext.Vars{Name: `v-x'"\$$; --`, Password: "A1a-b", Expiration: "2030-01-02 03:04:05+00"}
	message := strings.Join(append(render(t, creation, v), ""), ";")
	if _, err := conn.PgConn().Exec(t.Context(), message).ReadAll(); err != nil {
		t.Fatal(err)
	}
	const look = "SELECT count(*), bool_and(rolcanlogin), max(rolvaliduntil AT TIME ZONE 'UTC') FROM pg_roles WHERE rolname = "
	_, values, err := query(t.Context(), conn, look+sqltext.Literal(v.Name))
	if err != nil || !slices.Equal(values, []string{"1", "t", "2030-01-02 03:04:05"}) {
		t.Errorf("after creation: %q, %v", values, err)
	}
	message = strings.Join(append(render(t, revocation, sqltext.Vars{Name: v.Name}), ""), ";")
	if _, err := conn.PgConn().Exec(t.Context(), message).ReadAll(); err != nil {
		t.Fatal(err)
	}
	if _, values, err := query(t.Context(), conn, look+sqltext.Literal(v.Name)); err != nil || values[0] != "0" {
		t.Errorf("after revocation: %q, %v", values, err)
	}
}

// What is refused as impossible in a transaction block is so: the rule follows
// the server, not a list from memory.
func TestServerRefusesTheSameInTransactions(t *testing.T) {
	t.Parallel()
	conn := connect(t)
	for _, sql := range []string{
		"VACUUM", "CREATE DATABASE never", "DROP DATABASE never", "ALTER SYSTEM SET work_mem = '4MB'", "DISCARD ALL",
		"CREATE TABLESPACE never LOCATION '/never'", "DROP TABLESPACE never", "REINDEX SYSTEM never", "CLUSTER",
		"CREATE INDEX CONCURRENTLY never ON pg_class (oid)", "DROP INDEX CONCURRENTLY never",
		"CREATE SUBSCRIPTION never CONNECTION 'host=127.0.0.1' PUBLICATION never",
	} {
		if _, err := sqltext.Parse(sqltext.Revocation, sql); err == nil || !strings.Contains(err.Error(), "cannot run inside a transaction block") {
			t.Errorf("%s: %v", sql, err)
		}
		_, err := conn.PgConn().Exec(t.Context(), "BEGIN; "+sql).ReadAll()
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != "25001" {
			t.Errorf("%s: the server says %v", sql, err)
		}
		if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
	}
}
