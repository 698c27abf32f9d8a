package database

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/secret"
)

// The shapes are those of recording 02.
func TestConnectionIsReadBackWithoutPassword(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if r := b.must(engine.Write, "config/my-postgres", unverified()); r != nil {
		t.Errorf("write says %+v, want nothing", r)
	}
	got := b.must(engine.Read, "config/my-postgres", nil).Data
	want := map[string]any{
		"allowed_roles": []string{"readonly", "short"},
		"connection_details": map[string]any{
			"connection_url": "postgresql://{{username}}:{{password}}@127.0.0.1:1/postgres?sslmode=disable",
			"username":       "vault_admin",
		},
		"password_policy": "", "plugin_name": "postgresql-database-plugin", "plugin_version": "",
		"root_credentials_rotate_statements": []string{},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read\n%v, want\n%v", got, want)
	}
}

func TestConnectionURLWithPassword(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := unverified("connection_url", "postgresql://root:"+adminPassword+"@127.0.0.1:1/postgres?sslmode=disable")
	delete(d, "username")
	delete(d, "password")
	b.must(engine.Write, "config/a", d)
	got, err := json.Marshal(b.must(engine.Read, "config/a", nil).Data)
	if err != nil || strings.Contains(string(got), adminPassword) || !strings.Contains(string(got), `"username":"root"`) {
		t.Errorf("read %s, %v", got, err)
	}
	s, err := b.connectionByName(t.Context(), mountID, "a")
	if err != nil {
		t.Fatal(err)
	}
	if current, _, err := b.passwords(&s.connection); err != nil || current.Reveal() != adminPassword {
		t.Errorf("the password of the URL was not kept: %v", err)
	}
	b.refused(engine.Invalid, engine.Write, "config/b",
		unverified("connection_url", "postgresql://root:x@127.0.0.1:1/postgres"), "different users")
	b.refused(engine.Invalid, engine.Write, "config/b",
		unverified("connection_url", "postgresql://vault_admin:other@127.0.0.1:1/postgres"), "different passwords")
	if _, err := b.ask(engine.Read, "config/b", nil); engine.AsError(err).Kind != engine.NotFound {
		t.Errorf("a refused write changed something: %v", err)
	}
}

// Recording 08: a later write of allowed_roles alone keeps the rest, and needs
// no server.
func TestConnectionPartialUpdate(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must(engine.Write, "config/a", unverified("margin", "7s", "replicas", "postgres://h:2/x"))
	before, err := b.connectionByName(t.Context(), mountID, "a")
	if err != nil {
		t.Fatal(err)
	}
	b.must(engine.Write, "config/a", map[string]any{"allowed_roles": []any{"x", "y*"}})
	after, err := b.connectionByName(t.Context(), mountID, "a")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(after.AllowedRoles, []string{"x", "y*"}) {
		t.Errorf("allowed roles %q", after.AllowedRoles)
	}
	if after.entry.ID != before.entry.ID || after.entry.Revision != before.entry.Revision+1 {
		t.Errorf("an edit made %s.%d of %s.%d", after.entry.ID, after.entry.Revision, before.entry.ID, before.entry.Revision)
	}
	after.AllowedRoles, after.entry = before.AllowedRoles, before.entry
	if !reflect.DeepEqual(after, before) {
		t.Errorf("the rest changed:\n%+v\n%+v", before.connection, after.connection)
	}
	for role, want := range map[string]bool{"x": true, "y": true, "yes": true, "xy": false, "": false} {
		c := connection{AllowedRoles: []string{"x", "y*"}}
		if c.allows(role) != want {
			t.Errorf("%q allowed: %t", role, !want)
		}
	}
}

func TestConnectionRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, c := range []struct {
		data  map[string]any
		texts []string
	}{
		{unverified("plugin_name", "mysql-database-plugin"), []string{"mysql-database-plugin", "postgresql-database-plugin"}},
		{unverified("username_template", "x-{{random 8}}"), []string{"invalid username template: ", "{{.Mark}}"}},
		{unverified("plugin_version", "1"), []string{"plugin_version"}},
		{unverified("connection_url", "nonsense"), []string{"connection_url"}},
		{unverified("password_authentication", "md5"), []string{"password_authentication"}},
		{unverified("owned_objects", "burn"), []string{"owned_objects"}},
		{unverified("scram_iterations", "many"), []string{"scram_iterations"}},
		{unverified("verify_connection", "maybe"), []string{"verify_connection"}},
		{unverified("margin", "banana"), []string{`field "margin"`}},
		{unverified("margin", "48h"), []string{"margin"}},
		{unverified("statement_timeout", "10ms"), []string{"statement_timeout", "1s to 1h"}},
		{unverified("statement_timeout", "2h"), []string{"statement_timeout", "1s to 1h"}},
		{unverified("statement_timeout", "-1s"), []string{"statement_timeout"}},
		{unverified("lock_timeout", "1ms"), []string{"lock_timeout", "100ms to 1m"}},
		{unverified("lock_timeout", "soon"), []string{`field "lock_timeout"`}},
		{unverified("replicas", "postgres://u:p@h/db"), []string{"replicas: number 1"}},
		{unverified("root_rotation_statements", "ALTER USER x PASSWORD '{{password}}'"), []string{"root_rotation_statements are refused"}},
		{unverified("tls_ca", "no PEM", "connection_url", "postgres://h/db?sslmode=verify-full"), []string{"tls_ca"}},
		{map[string]any{"plugin_name": plugin}, []string{"connection_url is missing"}},
		{map[string]any{"connection_url": "postgres://h/db"}, []string{"username is missing"}},
		// Verified, and nobody listens there.
		{unverified("verify_connection", "true"), []string{"error creating database object: error verifying connection: ", "127.0.0.1"}},
	} {
		b.refused(engine.Invalid, engine.Write, "config/a", c.data, c.texts...)
	}
	if _, err := b.ask(engine.List, "config", nil); engine.AsError(err).Kind != engine.NotFound {
		t.Errorf("refused writes left something: %v", err)
	}
}

func TestUnknownFieldsAreIgnoredWithAWarning(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.must(engine.Write, "config/a", unverified("frobnicate", "1"))
	if r == nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "frobnicate") {
		t.Errorf("response %+v, want a warning", r)
	}
}

// The shapes are those of recording 02.
func TestRoleIsReadBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if r := b.must(engine.Write, "roles/readonly", roleOf("my-postgres")); r != nil {
		t.Errorf("write says %+v, want nothing", r)
	}
	want := map[string]any{
		"creation_statements": []string{creation}, "credential_type": "password", "db_name": "my-postgres",
		"default_ttl": int64(3600), "max_ttl": int64(86400),
		"renew_statements": []string{}, "revocation_statements": []string{}, "rollback_statements": []string{},
	}
	if got := b.must(engine.Read, "roles/readonly", nil).Data; !reflect.DeepEqual(got, want) {
		t.Errorf("read\n%v, want\n%v", got, want)
	}
	b.must(engine.Write, "roles/readonly", map[string]any{"max_ttl": 7200})
	want["max_ttl"] = int64(7200)
	if got := b.must(engine.Read, "roles/readonly", nil).Data; !reflect.DeepEqual(got, want) {
		t.Errorf("after a partial write\n%v, want\n%v", got, want)
	}
	b.must(engine.Delete, "roles/readonly", nil)
	b.must(engine.Delete, "roles/readonly", nil)
	b.refused(engine.NotFound, engine.Read, "roles/readonly", nil)
}

func TestRoleRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must(engine.Write, "config/plain", unverified("password_authentication", "password"))
	for _, c := range []struct {
		data  map[string]any
		texts []string
	}{
		{roleOf("db", "creation_statements", "x"), []string{"creation_statements: statement 1"}},
		{roleOf("db", "creation_statements", `CREATE ROLL "{{name}}"`), []string{"creation_statements"}},
		{roleOf("db", "creation_statements", `CREATE ROLE x`), []string{"creation_statements: statement 1"}},
		{roleOf("db", "creation_statements", ""), []string{"creation_statements"}},
		{roleOf("db", "creation_statements", creation+"COMMIT"), []string{"creation_statements: statement 2", "transaction"}},
		{roleOf("db", "creation_statements", creation+"SELECT f('{{password}}')"), []string{"{{password}}", "password_authentication"}},
		{roleOf("db", "revocation_statements", `DROP ROLE {{name}}`), []string{"revocation_statements: statement 1"}},
		{roleOf("db", "renew_statements", `ALTER ROLE "{{name}}" LOGIN`), []string{"renew_statements: statement 1"}},
		{roleOf("db", "rollback_statements", `ROLLBACK`), []string{"rollback_statements: statement 1"}},
		{roleOf("db", "default_ttl", "banana"), []string{`error converting input for field "default_ttl": time: invalid duration "banana"`}},
		{roleOf("db", "default_ttl", "48h"), []string{"lease TTL too large", "48h", "24h"}},
		{roleOf("db", "credential_type", "rsa_private_key"), []string{"credential_type"}},
		{roleOf("db", "owned_objects", "burn"), []string{"owned_objects"}},
		{roleOf(""), []string{"db_name is missing"}},
	} {
		b.refused(engine.Invalid, engine.Write, "roles/a", c.data, c.texts...)
	}
	b.refused(engine.NotFound, engine.List, "roles", nil)
	// With the password itself the statement may have it.
	b.must(engine.Write, "roles/a", roleOf("plain", "creation_statements", creation+"SELECT f('{{password}}')"))
}

func TestRoleLint(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.must(engine.Write, "roles/a", roleOf("db", "creation_statements", creation+`GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{{name}}"`))
	if r == nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "group role") {
		t.Errorf("response %+v, want the advice to use membership", r)
	}
	if r := b.must(engine.Write, "roles/b", roleOf("db", "creation_statements", creation+`GRANT readers TO "{{name}}"`)); r != nil {
		t.Errorf("membership is warned about: %+v", r)
	}
}

func TestPathsAndOperations(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, path := range []string{"nonsense/x", "nonsense", "config/a/b", "config/-a", "roles/a b", "roles/a.", ""} {
		b.refused(engine.UnsupportedPath, engine.Read, path, nil, "1 error occurred:\n\t* unsupported path\n\n")
	}
	for path, op := range map[string]engine.Operation{
		"config/a": engine.List, "roles/a": engine.List, "config": engine.Read, "roles": engine.Write,
		"rotate-root/a": engine.Read, "reset/a": engine.Delete, "creds/a": engine.Write, "static-roles": engine.Read,
	} {
		b.refused(engine.UnsupportedOperation, op, path, nil, "1 error occurred:\n\t* unsupported operation\n\n")
	}
	for _, path := range []string{"static-roles", "config", "roles/"} {
		if _, err := b.ask(engine.List, path, nil); engine.AsError(err).Kind != engine.NotFound || err.Error() != "" {
			t.Errorf("list %s: %v, want nothing found and no message", path, err)
		}
	}
	for _, path := range []string{"rotate-root/nope", "reset/nope"} {
		b.refused(engine.Invalid, engine.Write, path, nil,
			"1 error occurred:\n\t* failed to find entry for connection with name: \"nope\"\n\n")
	}
}

func TestListsArePaged(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, name := range []string{"c", "a", "b"} {
		b.must(engine.Write, "roles/"+name, roleOf("db"))
	}
	for _, c := range []struct {
		after string
		limit int
		want  []string
	}{{"", 0, []string{"a", "b", "c"}}, {"", 2, []string{"a", "b"}}, {"b", 2, []string{"c"}}, {"a", 0, []string{"b", "c"}}} {
		r, err := b.Handle(t.Context(), &engine.Request{
			Operation: engine.List, MountID: mountID, Path: "roles/", After: c.after, Limit: c.limit,
		})
		if err != nil || !reflect.DeepEqual(r.Data["keys"], c.want) {
			t.Errorf("after %q limit %d: %v, %v; want %q", c.after, c.limit, r, err, c.want)
		}
	}
}

// Each change of configuration is an event that names fields and no values
// (A10).
func TestChangesAreEvents(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must(engine.Write, "config/a", unverified())
	b.must(engine.Write, "roles/r", roleOf("a"))
	b.must(engine.Delete, "roles/r", nil)
	b.must(engine.Delete, "config/a", nil)
	if n, err := b.fake.Backlog(t.Context()); err != nil || n != 4 {
		t.Fatalf("%d events, %v; want 4", n, err)
	}
	for n, e := range b.events() {
		if e.Type != event.ConfigChanged || e.Data.Actor.Name != "accessor" || e.Data.Operation == "" {
			t.Errorf("event %d: %+v", n, e)
		}
	}
}

// The * of stock servers: any text, also none, as often as it stands. The
// reference is a regular expression.
func TestAllowedRoles(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab*]{0,6}`).Draw(t, "pattern")
		name := rapid.StringMatching(`[ab]{0,8}`).Draw(t, "name")
		reference := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$")
		c := connection{AllowedRoles: []string{"other", pattern}}
		if got, want := c.allows(name), reference.MatchString(name); got != want {
			t.Fatalf("%q allows %q: %t", pattern, name, got)
		}
	})
	for _, c := range []struct {
		list []string
		role string
		want bool
	}{
		{nil, "r", false},
		{[]string{"*"}, "r", true},
		{[]string{"app-*"}, "app-", true},
		{[]string{"*-ro"}, "app-ro", true},
		{[]string{"a?p"}, "app", false},
		{[]string{"[a]pp"}, "app", false},
		{[]string{`a\*`}, "a*", false},
	} {
		if got := (&connection{AllowedRoles: c.list}).allows(c.role); got != c.want {
			t.Errorf("%q allows %q: %t", c.list, c.role, got)
		}
	}
}

func TestPoolSettings(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must(engine.Write, "config/a", unverified("max_open_connections", "100", "max_idle_connections", "-1", "max_connection_lifetime", "90s"))
	got := b.must(engine.Read, "config/a", nil).Data["connection_details"].(map[string]any)
	for name, want := range map[string]any{"max_open_connections": 100, "max_idle_connections": -1, "max_connection_lifetime": "90s"} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	s, err := b.connectionByName(t.Context(), mountID, "a")
	if err != nil {
		t.Fatal(err)
	}
	if p := s.settings("test", secret.Value{}); p.MaxOpen != 100 || p.MaxIdle != -1 || p.MaxLifetime != 90*time.Second {
		t.Errorf("settings %+v", p)
	}
	b.must(engine.Write, "config/a", unverified("max_open_connections", "-1", "max_connection_lifetime", "5"))
	b.refused(engine.Invalid, engine.Write, "config/a", unverified("max_connection_lifetime", "long"), "invalid max_connection_lifetime: ")
	b.refused(engine.Invalid, engine.Write, "config/a", unverified("max_connection_lifetime", "-1s"), "max_connection_lifetime")
}

// B2: stock texts are told what to add; a template that is accepted is used, read
// back, kept by later writes, and taken away by an empty one.
func TestUsernameTemplate(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const stock = `{{ printf "v-%s-%s-%s-%s" (.DisplayName | truncate 8) (.RoleName | truncate 8) (random 20) (unix_time) | truncate 63 }}`
	b.refused(engine.Invalid, engine.Write, "config/a", unverified("username_template", stock), "Write {{.Mark}} where a random part stands")
	b.refused(engine.Invalid, engine.Write, "config/a", unverified("username_template", `{{.DisplayName}}-{{.Mark}}`), "truncate 8")
	template := strings.Replace(stock, "(random 20)", ".Mark", 1)
	b.must(engine.Write, "config/a", unverified("username_template", template))
	b.must(engine.Write, "config/a", map[string]any{"allowed_roles": "*"})
	name := func() string {
		t.Helper()
		s, err := b.connectionByName(t.Context(), mountID, "a")
		if err != nil {
			t.Fatal(err)
		}
		name, err := b.account(t.Context(), &s.connection, "Token-App", "readonly", "database/creds/readonly/x")
		if err != nil {
			t.Fatal(err)
		}
		n, err := b.namer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := n.Recognise(name); !ok {
			t.Errorf("%s is not recognised", name)
		}
		return name
	}
	details := func() map[string]any {
		return b.must(engine.Read, "config/a", nil).Data["connection_details"].(map[string]any)
	}
	if got := details()["username_template"]; got != template {
		t.Errorf("read back %v", got)
	}
	if got := name(); !strings.HasPrefix(got, "v-token-ap-readonly-") || len(strings.Split(got, "-")) != 6 {
		t.Errorf("name %s", got)
	}
	b.must(engine.Write, "config/a", map[string]any{"username_template": ""})
	if got, there := details()["username_template"]; there {
		t.Errorf("an empty one leaves %v", got)
	}
	name()
}

func TestCheckPaths(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must(engine.Write, "roles/nodb", roleOf("nope"))
	b.refused(engine.NotFound, engine.Read, "roles/none/check", nil)
	b.refused(engine.Invalid, engine.Write, "roles/nodb/check", nil, `failed to find entry for connection with name: "nope"`)
	b.refused(engine.UnsupportedOperation, engine.Delete, "roles/nodb/check", nil)
	b.refused(engine.UnsupportedPath, engine.Read, "config/nodb/check", nil)
	b.must(engine.Write, "config/nope", unverified())
	b.refused(engine.Unreachable, engine.Read, "roles/nodb/check", nil, "error verifying connection")
}
