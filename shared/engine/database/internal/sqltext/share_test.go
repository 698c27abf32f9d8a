package sqltext

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const login = `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`

func TestShare(t *testing.T) {
	t.Parallel()
	const account, group = "account", "group"
	for _, tc := range []struct {
		sql  string
		want string // the half, or a part of the reason
	}{
		{`ALTER ROLE "{{name}}" SET search_path = app`, account},
		{`ALTER ROLE "{{name}}" IN DATABASE app SET role = 'x'`, account},
		{`ALTER GROUP readers ADD USER "{{name}}"`, account},
		{`COMMENT ON ROLE "{{name}}" IS 'made by Curfew'`, account},
		{`GRANT readers TO "{{name}}"`, account},
		{`grant readers, writers to "{{name}}" with admin option`, account},
		{`GRANT readers TO "{{name}}" WITH INHERIT FALSE`, account},

		{`GRANT SELECT ON items TO "{{name}}"`, group},
		{`grant select (a, b), update on table "x"."y" to "{{ username }}"`, group},
		{`GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{{name}}" WITH GRANT OPTION`, group},
		{`GRANT USAGE ON SCHEMA public TO GROUP "{{name}}"`, group},
		{`GRANT ALL ON FUNCTION f(integer) TO /* whom? */ "{{name}}"`, group},
		{`ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO "{{name}}"`, group},
		{`ALTER DEFAULT PRIVILEGES FOR ROLE app GRANT ALL ON SEQUENCES TO "{{name}}" WITH GRANT OPTION`, group},

		{`GRANT SELECT ON items TO readers`, "alone"},
		{`GRANT SELECT ON items TO "{{name}}", readers`, "alone"},
		{`GRANT SELECT ON items TO readers, "{{name}}"`, "alone"},
		{`GRANT SELECT ON items TO "{{name}}" GRANTED BY app`, "alone"},
		{`GRANT SELECT ON items TO "x{{name}}"`, "alone"},
		{`GRANT USAGE ON SCHEMA "s_{{name}}" TO "{{name}}"`, "alone"},
		{`GRANT USAGE ON SCHEMA "{{name}}" TO "{{name}}"`, "alone"},
		{`GRANT USAGE ON SCHEMA "{{password}}" TO "{{name}}"`, "alone"},
		{`GRANT SELECT ON items TO "{{expiration}}"`, "alone"},
		{`GRANT SELECT ON $${{password}}$$ TO "{{name}}"`, "alone"},
		{`GRANT SELECT ON items TO '{{name}}'`, "alone"},
		{`ALTER DEFAULT PRIVILEGES FOR ROLE "{{name}}" GRANT SELECT ON TABLES TO readers`, "alone"},
		{`ALTER DEFAULT PRIVILEGES FOR ROLE "{{name}}" GRANT SELECT ON TABLES TO "{{name}}"`, "alone"},
		{`ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM "{{name}}"`, "has no place"},
		{`ALTER ROLE "{{name}}" NOINHERIT`, "NOINHERIT"},
		{`ALTER ROLE other LOGIN`, "has no place"},
		{`REVOKE ALL ON SCHEMA public FROM "{{name}}"`, "has no place"},
		{`REVOKE readers FROM "{{name}}"`, "has no place"},
		{`COMMENT ON TABLE items IS 'x'`, "has no place"},
		{`DO $$ BEGIN EXECUTE 'GRANT x TO "{{name}}"'; END $$`, "has no place"},
		{`SELECT prepare('{{name}}')`, "has no place"},
		{`SET ROLE app`, "has no place"},
		{`CREATE SCHEMA AUTHORIZATION "{{name}}"`, "has no place"},
		{`DROP ROLE IF EXISTS "{{name}}"`, "has no place"},
	} {
		s, err := Parse(Creation, login, tc.sql, `GRANT CONNECT ON DATABASE app TO "{{name}}"`)
		if err != nil {
			t.Errorf("%s: %v", tc.sql, err)
			continue
		}
		ours, shared, err := s.Share()
		switch {
		case tc.want == account && (err != nil || !slices.Equal(ours.Numbers(), []int{1, 2}) || !slices.Equal(shared.Numbers(), []int{3})),
			tc.want == group && (err != nil || !slices.Equal(ours.Numbers(), []int{1}) || !slices.Equal(shared.Numbers(), []int{2, 3})):
			t.Errorf("%s: %v and %v, %v; want the %s's", tc.sql, ours.Numbers(), shared.Numbers(), err, tc.want)
		case tc.want != account && tc.want != group:
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Statement != 2 || e.Kind.String() != "creation_statements" || !strings.Contains(e.Reason, tc.want) {
				t.Errorf("%s: %v, want statement 2 refused because %q", tc.sql, err, tc.want)
			}
		}
	}
}

func TestShareWithNothingToShare(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{login, login + `; GRANT readers TO "{{name}}"`} {
		s, err := Parse(Creation, sql)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Share(); err == nil || !strings.Contains(err.Error(), "nothing to share") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	s, err := Parse(Creation, strings.Replace(login, "LOGIN", "LOGIN NOINHERIT", 1), `GRANT SELECT ON items TO "{{name}}"`)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Share(); err == nil || !strings.Contains(err.Error(), "statement 1 (CREATE ROLE)") {
		t.Errorf("NOINHERIT: %v", err)
	}
}

// sharedOnce is the law of sharing: every statement is in exactly one half, as it
// was, in order and with its number; the account's half makes the account; what
// the group gets holds no value but its name; and both halves are read again as
// what they are.
func sharedOnce(t fataler, s Script) {
	t.Helper()
	account, group, err := s.Share()
	if err != nil {
		if e, ok := errors.AsType[*Error](err); !ok || account.Len()+group.Len() != 0 || e.Statement > s.Len() {
			t.Fatalf("%v with %d and %d statements", err, account.Len(), group.Len())
		}
		return
	}
	seen := map[int]string{}
	for _, half := range []Script{account, group} {
		numbers := half.Numbers()
		if !slices.IsSorted(numbers) {
			t.Fatalf("numbers %v", numbers)
		}
		for i, n := range numbers {
			if _, twice := seen[n]; twice {
				t.Fatalf("statement %d is in both halves", n)
			}
			seen[n] = half.Sources()[i]
		}
	}
	for i, source := range s.Sources() {
		if seen[i+1] != source || len(seen) != s.Len() {
			t.Fatalf("statement %d of %d: %q became %q", i+1, s.Len(), source, seen[i+1])
		}
	}
	for _, st := range group.statements {
		if !st.Batchable() || !st.PerUserGrant() || st.Uses(Password) || st.Uses(Expiration) || !st.Uses(Name) {
			t.Fatalf("%q is the group's", st.source)
		}
	}
	for _, st := range account.statements {
		if !st.Batchable() || st.Conflicting() || st.PerUserGrant() {
			t.Fatalf("%q is the account's", st.source)
		}
	}
	again, err := Parse(Creation, account.Sources()...)
	if err != nil || !slices.Equal(again.Sources(), account.Sources()) {
		t.Fatalf("the account's half %q: %v", account.Sources(), err)
	}
	again, err = Parse(Shared, group.Sources()...)
	if err != nil || !slices.Equal(again.Sources(), group.Sources()) || group.Kind() != Shared {
		t.Fatalf("the group's half %q: %v", group.Sources(), err)
	}
}

func TestShareLosesNothing(t *testing.T) {
	t.Parallel()
	parts := []string{
		login, `create user "{{username}}"`, `ALTER ROLE "{{name}}" SET x = 'y'`, `GRANT readers TO "{{name}}"`, `ALTER GROUP g ADD USER "{{name}}"`,
		`GRANT SELECT ON items TO "{{name}}"`, `GRANT SELECT ON a, b TO GROUP "{{name}}" WITH GRANT OPTION`,
		`ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO "{{name}}"`, `COMMENT ON ROLE "{{name}}" IS '{{expiration}}'`,
		`GRANT SELECT ON items TO "{{name}}", x`, `SELECT 1`, `REVOKE x FROM "{{name}}"`,
	}
	shared := 0
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOfN(rapid.SampledFrom(parts), 1, 8).Draw(t, "statements")
		if rapid.Bool().Draw(t, "sound") {
			texts = slices.DeleteFunc(texts, func(s string) bool { return slices.Contains(parts[9:], s) })
			texts = slices.Insert(texts, rapid.IntRange(0, len(texts)).Draw(t, "login"), login)
		}
		s, err := Parse(Creation, strings.Join(texts, rapid.SampledFrom([]string{";", "; -- a comment\n", ";/* ; */"}).Draw(t, "between")))
		if err != nil {
			return
		}
		if _, _, err := s.Share(); err == nil {
			shared++
		}
		sharedOnce(t, s)
	})
	if shared == 0 {
		t.Error("nothing was shared")
	}
}
