package sqltext_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/engine/database/internal/sqltext"
)

func TestValuesAreEscapedForWhereTheyStand(t *testing.T) {
	t.Parallel()
	const hostile = `a'b"c\d$e--/*;`
	for _, tc := range []struct{ sql, want string }{
		{`GRANT x TO "{{name}}"`, `GRANT x TO "a'b""c\d$e--/*;"`},
		{`GRANT x TO "<{{ username }}>"`, `GRANT x TO "<a'b""c\d$e--/*;>"`},
		{`SELECT '{{name}}'`, `SELECT 'a''b"c\d$e--/*;'`},
		{`SELECT '{{name}}{{name}}'`, `SELECT 'a''b"c\d$e--/*;a''b"c\d$e--/*;'`},
		{`SELECT '{{{name}}}'`, `SELECT '{a''b"c\d$e--/*;}'`},
		{`SELECT N'{{name}}'`, `SELECT N'a''b"c\d$e--/*;'`},
		{`SELECT E'{{name}}'`, `SELECT E'a''b"c\\d$e--/*;'`},
		{`SELECT $$<{{name}}>$$`, `SELECT $$<a'b"c\d$e--/*;>$$`},
		{`SELECT $e$<{{name}}>$e$`, `SELECT $e$<a'b"c\d$e--/*;>$e$`},
		{`DO $$ BEGIN PERFORM f('{{name}}'); END $$`, `DO $$ BEGIN PERFORM f('a''b"c\d$e--/*;'); END $$`},
		{`DO $$ BEGIN PERFORM f(E'{{name}}', $1); END $$`, `DO $$ BEGIN PERFORM f(E'a''b"c\\d$e--/*;', $1); END $$`},
		{`DO $$ BEGIN GRANT x TO "{{name}}"; /* {{name}} */ END $$`, `DO $$ BEGIN GRANT x TO "a'b""c\d$e--/*;"; /* {{name}} */ END $$`},
		{
			`DO $a$ BEGIN EXECUTE $b$ GRANT x TO "{{name}}" -- it's {{foo}}` + "\n" + `$b$; END $a$`,
			`DO $a$ BEGIN EXECUTE $b$ GRANT x TO "a'b""c\d$e--/*;" -- it's {{foo}}` + "\n" + `$b$; END $a$`,
		},
		{
			`CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT '{{name}}'::text $$`,
			`CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'a''b"c\d$e--/*;'::text $$`,
		},
		{`SELECT $$no variable ' " \ {{1}}$$, '{{name}}'`, `SELECT $$no variable ' " \ {{1}}$$, 'a''b"c\d$e--/*;'`},
		{`DO $$ BEGIN FOR i IN 1..3 LOOP PERFORM f('{{name}}'); END LOOP; END $$`, `DO $$ BEGIN FOR i IN 1..3 LOOP PERFORM f('a''b"c\d$e--/*;'); END LOOP; END $$`},
	} {
		got := render(t, parse(t, sqltext.Revocation, tc.sql), sqltext.Vars{Name: hostile})[0]
		if got != tc.want {
			t.Errorf("%s\n got %s\nwant %s", tc.sql, got, tc.want)
		}
	}
}

// What people have: a block that creates the role only where it is missing.
func TestBlockOfCode(t *testing.T) {
	t.Parallel()
	const block = `DO $do$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{{name}}') THEN -- it's new
    EXECUTE format('CREATE ROLE %I LOGIN PASSWORD %L; --', '{{name}}', '{{password}}');
    EXECUTE $q$GRANT readers TO "{{name}}"$q$;
    EXECUTE 'GRANT writers TO "{{name}}"';
  END IF;
END
$do$;
GRANT more TO "{{name}}";`
	got := render(t, parse(t, sqltext.Creation, block), vars())
	want := strings.NewReplacer("{{name}}", vars().Name, "{{password}}", vars().Password).Replace(block)
	if len(got) != 2 || strings.Join(got, ";\n")+";" != want {
		t.Errorf("rendered\n%s", strings.Join(got, "\n----\n"))
	}
}

func TestRenderRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		sql  string
		name string
		want string
	}{
		{`GRANT x TO "{{name}}"`, "", "there is no value for {{name}}"},
		{`GRANT x TO "{{name}}"`, "hunter2\x00", "holds a NUL"},
		{`GRANT x TO "{{name}}"`, "hunter2\xff", "is not UTF-8"},
		{`GRANT x TO "{{name}}"`, strings.Repeat("x", 64), "longer than 63 bytes"},
		{`GRANT x TO "a{{name}}b"`, strings.Repeat("x", 62), "longer than 63 bytes"},
		{`GRANT x TO "a{{name}}b"`, strings.Repeat(`"`, 62), "longer than 63 bytes"},
		{`DO $$ BEGIN GRANT x TO "a""{{name}}"; END $$`, strings.Repeat("ü", 31), "longer than 63 bytes"},
		{`SELECT $$x{{name}}$$`, "hunter2$$", "closes the dollar quote"},
		{`SELECT $$x{{name}}$$`, "hunter2$", "closes the dollar quote"},
		{`SELECT $t$x{{name}}$t$`, "a$t$; hunter2", "closes the dollar quote"},
		{`SELECT $t$x{{name}}$t$`, "$t", "closes the dollar quote"},
		{`SELECT $t$x{{name}}{{name}}$t$`, "t$", "closes the dollar quote"},
		{`DO $t$ BEGIN PERFORM '${{name}}$'; END $t$`, "t", "closes the dollar quote"},
		{`DO $$ BEGIN PERFORM '{{name}}'; END $$`, "hunter2$$;", "closes the dollar quote"},
		{`DO $a$ BEGIN EXECUTE $b$ GRANT x TO "{{name}}" $b$; END $a$`, "$b$", "closes the dollar quote"},
		{`DO $a$ BEGIN EXECUTE $b$ GRANT x TO "{{name}}" $b$; END $a$`, "$a$", "closes the dollar quote"},
		{`DO $$ BEGIN EXECUTE 'GRANT x TO "{{name}}"'; END $$`, `hunter2"`, "second kind of quoting"},
		{`DO $$ BEGIN EXECUTE 'SELECT ''{{name}}'''; END $$`, "hunter2'", "second kind of quoting"},
		{`DO $$ BEGIN EXECUTE 'SELECT $x${{name}}$x$'; END $$`, "hunter2$", "second kind of quoting"},
		{`DO $$ BEGIN EXECUTE E'SELECT \'{{name}}\''; END $$`, `hunter2\`, "second kind of quoting"},
		{`SELECT run($$GRANT x TO "{{name}}"$$)`, `hunter2"`, "second kind of quoting"},
	} {
		s := parse(t, sqltext.Revocation, "SELECT 1", tc.sql)
		out, err := s.Render(sqltext.Vars{Name: tc.name})
		var e *sqltext.Error
		if out != nil || !errors.As(err, &e) || !strings.Contains(e.Reason, tc.want) || e.Statement != 2 {
			t.Errorf("%s with %q: %q, %v, want an error with %q", tc.sql, tc.name, out, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error repeats the value: %v", tc.sql, err)
		}
	}
	fits := sqltext.Vars{Name: strings.Repeat(`"`, 63)}
	if got := render(t, parse(t, sqltext.Revocation, `GRANT x TO "{{name}}"`), fits); len(got[0]) != len(`GRANT x TO ""`)+126 {
		t.Errorf("a name of 63 bytes became %s", got)
	}
}

// A value is not looked at for variables.
func TestValuesAreNotTemplates(t *testing.T) {
	t.Parallel()
	s := parse(t, sqltext.Creation, `CREATE ROLE "{{name}}" PASSWORD '{{password}}'`)
	got := render(t, s, sqltext.Vars{Name: "{{password}}", Password: "{{name}}"})[0]
	if got != `CREATE ROLE "{{password}}" PASSWORD '{{name}}'` {
		t.Error(got)
	}
}

// A lease keeps sources (A2): they must mean the same when read again.
func TestSourcesCanBeReadAgain(t *testing.T) {
	t.Parallel()
	s := parse(t, sqltext.Creation, create+" -- {{foo}}\n; /* ; */ GRANT x /**/ TO \"{{ username }}\" -- end",
		"DO /* {{foo}} */ $$ BEGIN PERFORM '{{name}}'; END $$ -- {{foo}}\nLANGUAGE plpgsql -- end")
	again := parse(t, sqltext.Creation, s.Sources()...)
	if a, b := render(t, s, vars()), render(t, again, vars()); strings.Join(a, "\x00") != strings.Join(b, "\x00") {
		t.Errorf("first %q, again %q", a, b)
	}
	if s.Len() != 3 {
		t.Errorf("%d statements", s.Len())
	}
	for _, out := range render(t, s, vars()) {
		if strings.Contains(out, "--") || strings.Contains(out, "/*") {
			t.Errorf("a comment goes to the server: %s", out)
		}
	}
}

func TestVarsHideThePassword(t *testing.T) {
	t.Parallel()
	v := sqltext.Vars{Name: "n", Password: "hunter2"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, holder := range []any{v, &v, struct{ V sqltext.Vars }{v}} {
			if got := fmt.Sprintf(verb, holder); strings.Contains(got, "hunter2") || strings.Contains(got, "68756e746572") {
				t.Errorf("%s prints %s", verb, got)
			}
		}
	}
	if out, err := json.Marshal(v); err != nil || strings.Contains(string(out), "hunter2") {
		t.Errorf("JSON is %s, %v", out, err)
	}
}

func TestQuoting(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, ident, literal string }{
		{"a", `"a"`, `'a'`},
		{"", `""`, `''`},
		{`a"b'c`, `"a""b'c"`, `'a"b''c'`},
		{`a\'b`, `"a\'b"`, ` E'a\\''b'`},
		{"a\x00b", "\"a\uFFFDb\"", "'a\uFFFDb'"},
		{"$$;--/*", `"$$;--/*"`, `'$$;--/*'`},
	} {
		if got := sqltext.Ident(tc.in); got != tc.ident {
			t.Errorf("identifier %q: %s, want %s", tc.in, got, tc.ident)
		}
		if got := sqltext.Literal(tc.in); got != tc.literal {
			t.Errorf("literal %q: %s, want %s", tc.in, got, tc.literal)
		}
	}
}

func BenchmarkRender(b *testing.B) {
	s := parse(b, sqltext.Creation, create, `GRANT readers TO "{{name}}"`)
	for b.Loop() {
		if _, err := s.Render(vars()); err != nil {
			b.Fatal(err)
		}
	}
}
