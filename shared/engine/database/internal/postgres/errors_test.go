package postgres

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/scram"
	"github.com/curfew-project/curfew/shared/secret"
)

// No message holds a password, a verifier, or a part of one that a syntax
// error quotes.
func TestScrub(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		password := rapid.StringMatching(`[A-Za-z0-9-]{16,40}`).Draw(t, "password")
		salt := rapid.SliceOfN(rapid.Byte(), scram.SaltLen, scram.SaltLen).Draw(t, "salt")
		verifier, err := scram.Verifier(password, salt, 1)
		if err != nil {
			t.Fatal(err)
		}
		parts := append(strings.FieldsFunc(verifier, func(r rune) bool { return r == '$' || r == ':' }), verifier, password)
		quoted := rapid.SampledFrom(parts).Draw(t, "quoted")
		f := &fault{
			pg:   &pgconn.PgError{Severity: "ERROR", Code: "42601", Message: `syntax error at or near "` + quoted + `"`},
			what: "creation_statements", statement: 1, secrets: []secret.Value{secret.New(password), secret.New(verifier)},
		}
		text := f.Error()
		if len(quoted) >= 16 && strings.Contains(text, quoted) {
			t.Fatalf("%q is left", quoted)
		}
	})
}

func TestFaultOfAStatement(t *testing.T) {
	t.Parallel()
	f := &fault{
		what: "creation_statements", statement: 2,
		pg: &pgconn.PgError{
			Code: codePrivilege, Message: "permission denied for table items", Detail: "a secret", Hint: "a secret",
			Where: "a secret", InternalQuery: "a secret",
		},
		source: `GRANT SELECT, INSERT ON items TO "{{name}}"`,
	}
	target := &Target{main: &dialer{config: &pgconn.Config{}}}
	target.main.config.User = "admin"
	e := engine.AsError(target.person(f))
	want := `creation_statements: statement 2: ERROR: permission denied for table items (SQLSTATE 42501); ` +
		`the admin user lacks a privilege: GRANT SELECT, INSERT ON TABLE "items" TO "admin" WITH GRANT OPTION`
	if e.Kind != engine.Refused || e.Message != want {
		t.Fatalf("%s: %s", e.Kind, e.Message)
	}
	f = &fault{what: "drop the account", pg: &pgconn.PgError{
		Code: codeDependent, Message: "role cannot be dropped", Detail: "privileges for table a\nowner of table b",
	}}
	if got := f.Error(); !strings.HasSuffix(got, "(SQLSTATE 2BP01): privileges for table a; owner of table b") {
		t.Fatal(got)
	}
}

// The fate of an error follows from its SQLSTATE.
func TestKindOfAnError(t *testing.T) {
	t.Parallel()
	target := &Target{main: &dialer{config: &pgconn.Config{}}}
	for _, tt := range []struct {
		err  error
		want engine.Kind
	}{
		{&pgconn.PgError{Code: "40P01"}, engine.Conflict},
		{&pgconn.PgError{Code: "55P03"}, engine.Conflict},
		{&pgconn.PgError{Code: "XX000", Message: "tuple concurrently updated"}, engine.Conflict},
		{&pgconn.PgError{Code: "XX000", Message: "cache lookup failed"}, engine.Refused},
		{&pgconn.PgError{Code: "23505", SchemaName: "pg_catalog"}, engine.Conflict},
		{&pgconn.PgError{Code: "23505", SchemaName: "public"}, engine.Refused},
		{&pgconn.PgError{Code: "57014"}, engine.Conflict},
		{&pgconn.PgError{Code: "57P01", SeverityUnlocalized: "FATAL"}, engine.Unreachable},
		{&pgconn.PgError{Code: "53100"}, engine.Unreachable},
		{&pgconn.PgError{Code: "25006"}, engine.Unreachable},
		{&pgconn.PgError{Code: "42601"}, engine.Refused},
		{errors.New("EOF"), engine.Unreachable},
		{busy("x"), engine.Busy},
	} {
		if got := engine.AsError(target.person(tt.err)).Kind; got != tt.want {
			t.Errorf("%v: %s, want %s", tt.err, got, tt.want)
		}
	}
	if target.person(nil) != nil {
		t.Error("an error of nothing")
	}
}

func TestMissingPrivilege(t *testing.T) {
	t.Parallel()
	target := &Target{main: &dialer{config: &pgconn.Config{}}}
	target.main.config.User = "admin"
	for _, tt := range []struct{ message, detail, source, want string }{
		{"permission denied to create role", "", "", `ALTER ROLE "admin" CREATEROLE`},
		{"must be a member of the role whose process is being terminated or member of pg_signal_backend", "", "", `GRANT pg_signal_backend TO "admin"`},
		{"permission denied to terminate process", "", "", `GRANT pg_signal_backend TO "admin"`},
		{"must be a superuser to terminate superuser process", "", "", "only a superuser may end"},
		{`must have admin option on role "readers"`, "", "", `GRANT "readers" TO "admin" WITH ADMIN OPTION`},
		{`permission denied to grant role "readers"`, `Only roles with the ADMIN option on role "readers" may grant this role.`, "", `GRANT "readers" TO "admin" WITH ADMIN OPTION`},
		{`permission denied to alter role`, `Only roles with the SUPERUSER attribute may change the SUPERUSER attribute.`, "", "only a superuser"},
		{`must be member of role "owner"`, "", "", `GRANT "owner" TO "admin"`},
		{`permission denied for schema public`, "", `GRANT USAGE ON SCHEMA public TO "{{name}}"`, `GRANT USAGE ON SCHEMA "public" TO "admin" WITH GRANT OPTION`},
		{`no privileges were granted for "items"`, "", `GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{{name}}"`, `GRANT SELECT ON TABLE "items" TO "admin" WITH GRANT OPTION`},
		{`permission denied for sequence s`, "", `SELECT 1`, `a privilege on sequence "s"`},
		{`must be owner of table items`, "", "", `ownership of table "items"`},
		{`Keine Berechtigung`, "", "", ""},
	} {
		got := target.missing(&fault{source: tt.source}, &pgconn.PgError{Message: tt.message, Detail: tt.detail})
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.message, got, tt.want)
		}
	}
}
