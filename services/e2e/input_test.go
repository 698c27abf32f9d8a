//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/testkit"
)

// hidden is in what the table sends where a secret would be, and must be in no
// answer.
const hidden = "hunter2-8f1d"

// bad is a request that is refused.
type bad struct {
	name, method, path, body string
	status                   int
	says                     string
	token                    string // another one than root's; "-" for none
}

func jsonOf(pairs ...string) string {
	fields := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		fields[pairs[i]] = pairs[i+1]
	}
	return plain(fields)
}

// role is the body of a role with these creation statements after the usual
// one, and more fields.
func roleBody(statements string, more ...string) string {
	return jsonOf(append([]string{"db_name", "db", "creation_statements", `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}'; ` + statements}, more...)...)
}

func refusedStatements() []bad {
	const put, path = http.MethodPut, "/v1/database/roles/bad"
	return []bad{
		{"transaction control", put, path, roleBody("COMMIT; SELECT '" + hidden + "'"), 400, "statement 2", ""},
		{"rollback in disguise", put, path, roleBody("/* a */ RollBack /* b */; SELECT '" + hidden + "'"), 400, "statement 2", ""},
		{"savepoint", put, path, roleBody("SELECT 1; SAVEPOINT s"), 400, "statement 3", ""},
		{"copy", put, path, roleBody("COPY items TO PROGRAM 'mail " + hidden + "'"), 400, "statement 2", ""},
		{"listen", put, path, roleBody("LISTEN " + strings.ReplaceAll(hidden, "-", "_")), 400, "statement 2", ""},
		{"not in a transaction", put, path, roleBody("CREATE DATABASE d"), 400, "statement 2", ""},
		{"setting relied on", put, path, roleBody("SET standard_conforming_strings = off"), 400, "statement 2", ""},
		{"another account", put, path, roleBody("CREATE ROLE other LOGIN PASSWORD '" + hidden + "'"), 400, "statement 2", ""},
		{"open quote", put, path, roleBody("SELECT '" + hidden), 400, "statement 2", ""},
		{"open dollar quote", put, path, roleBody("DO $x$ " + hidden), 400, "statement 2", ""},
		{"open comment", put, path, roleBody("SELECT 1 /* " + hidden), 400, "statement 2", ""},
		{"password for more than PASSWORD", put, path, roleBody(`COMMENT ON ROLE "{{name}}" IS '{{password}}'`), 400, "statement 2", ""},
		{"variable outside quotes", put, path, jsonOf("db_name", "db", "creation_statements", "CREATE ROLE {{name}}"), 400, "statement 1", ""},
		{"no account", put, path, jsonOf("db_name", "db", "creation_statements", "SELECT 1"), 400, "CREATE ROLE", ""},
		{"no statement", put, path, jsonOf("db_name", "db"), 400, "creation_statements", ""},
		{"revocation", put, path, roleBody("SELECT 1", "revocation_statements", "SELECT 1; BEGIN"), 400, "revocation_statements: statement 2", ""},
		{"renewal with a password", put, path, roleBody("SELECT 1", "renew_statements", `ALTER ROLE "{{name}}" PASSWORD '`+hidden+`'`), 400, "renew_statements: statement 1", ""},
	}
}

func badRequests(target *target) []bad {
	const get, put, post, del = http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete
	config := func(more ...string) string {
		return jsonOf(append([]string{
			"plugin_name", "postgresql-database-plugin", "connection_url", target.template(), "username", target.admin, "password", hidden,
		}, more...)...)
	}
	return []bad{
		{"no token", get, "/v1/database/creds/app", "", 403, "permission denied", "-"},
		{"bad token", get, "/v1/database/creds/app", "", 403, "permission denied", "hvs." + hidden},
		{"bad token for a write", put, "/v1/database/config/db", config(), 403, "permission denied", hidden},
		{"bad token for the record", get, "/v1/audit/entries", "", 403, "permission denied", hidden},

		{"unknown mount", get, "/v1/nosuch/creds/app", "", 404, "no handler for route", ""},
		{"unknown mount, write", put, "/v1/nosuch/roles/x", "{}", 404, "no handler for route", ""},
		{"unknown role", get, "/v1/database/creds/nosuch", "", 400, "unknown role: nosuch", ""},
		{"unknown connection", put, "/v1/database/rotate-root/nosuch", "{}", 400, "nosuch", ""},
		{"unknown path", get, "/v1/database/nonsense/x", "", 404, "unsupported path", ""},
		{"unknown path of the system", get, "/v1/sys/nonsense", "", 404, "unsupported path", ""},
		{"unsupported operation", del, "/v1/database/creds/app", "", 405, "unsupported operation", ""},
		{"unknown engine", post, "/v1/sys/mounts/x", jsonOf("type", "nosuch"), 400, "plugin not found in the catalog", ""},
		{"no engine", post, "/v1/sys/mounts/x", "{}", 400, "type", ""},
		{"unknown plugin", put, "/v1/database/config/x", config("plugin_name", "mysql-database-plugin"), 400, "mysql-database-plugin", ""},
		{"mount inside a mount", post, "/v1/sys/mounts/database/x", jsonOf("type", "database"), 400, "path is already in use at database/", ""},
		{"mount over sys", post, "/v1/sys/mounts/sys", jsonOf("type", "database"), 400, "path is already in use", ""},
		{"tune an unknown mount", post, "/v1/sys/mounts/nosuch/tune", jsonOf("max_lease_ttl", "1h"), 400, "nosuch", ""},

		{"malformed JSON", put, "/v1/database/roles/bad", `{"db_name":`, 400, "failed to decode JSON input", ""},
		{"malformed JSON, no object", put, "/v1/database/roles/bad", `[1]`, 400, "failed to decode JSON input", ""},
		{"malformed JSON, more after it", put, "/v1/database/config/db", `{"allowed_roles":"x"} {"allowed_roles":"y"}`, 400, "failed to decode JSON input", ""},
		{"malformed JSON, with a secret", put, "/v1/database/config/db", `{"password":"` + hidden + `"`, 400, "failed to decode JSON input", ""},
		{"wrong type of a field", put, "/v1/database/roles/bad", `{"db_name":{"a":1}}`, 400, "db_name", ""},
		{"oversized body", put, "/v1/database/roles/bad", roleBody("SELECT '" + strings.Repeat("x", 2<<20) + "'"), 413, "too large", ""},

		{"default_ttl above max_ttl", put, "/v1/database/roles/bad", roleBody("SELECT 1", "default_ttl", "2h", "max_ttl", "1h"), 400, "lease TTL too large", ""},
		{"default above maximum of a mount", post, "/v1/sys/mounts/x", `{"type":"database","config":{"default_lease_ttl":"2h","max_lease_ttl":"1h"}}`, 400, "lease TTL too large", ""},
		{"default above maximum in tuning", post, "/v1/sys/mounts/database/tune", jsonOf("default_lease_ttl", "2h", "max_lease_ttl", "1h"), 400, "lease TTL too large", ""},
		{"invalid duration", put, "/v1/database/roles/bad", roleBody("SELECT 1", "default_ttl", "banana"), 400, "default_ttl", ""},
		{"negative duration", put, "/v1/database/roles/bad", roleBody("SELECT 1", "max_ttl", "-1h"), 400, "max_ttl", ""},

		{"no URL", put, "/v1/database/config/x", jsonOf("plugin_name", "postgresql-database-plugin", "username", "u"), 400, "connection_url", ""},
		{"URL that cannot be read", put, "/v1/database/config/x", config("connection_url", "postgresql://u:"+hidden+"@h:port/d"), 400, "connection_url", ""},
		{"wrong password", put, "/v1/database/config/x", config(), 400, "28P01", ""},
		{"template of user names", put, "/v1/database/config/x", config("username_template", "{{.RoleName}}"), 400, "invalid username template: it has no {{.Mark}}", ""},
		{"name that is none", put, "/v1/database/roles/a%20b", roleBody("SELECT 1"), 404, "", ""},

		{"no lease id", put, "/v1/sys/leases/lookup", "{}", 400, "lease_id must be specified", ""},
		{"unknown lease, look-up", put, "/v1/sys/leases/lookup", jsonOf("lease_id", "database/creds/app/none"), 400, "invalid lease", ""},
		{"unknown lease, renewal", put, "/v1/sys/leases/renew", jsonOf("lease_id", "database/creds/app/none"), 400, "lease not found", ""},
		{"increment that is none", put, "/v1/sys/leases/renew", jsonOf("lease_id", "database/creds/app/none", "increment", "banana"), 400, "increment", ""},
		{"revoke without a prefix", put, "/v1/sys/leases/revoke-prefix/", "{}", 404, "", ""},
		{"sync that is neither", put, "/v1/sys/leases/revoke-prefix/database", jsonOf("sync", "perhaps"), 400, "sync", ""},

		{"type of token", post, "/v1/auth/token/create", jsonOf("type", "batch"), 400, "batch", ""},
		{"time to live of a token", post, "/v1/auth/token/create", jsonOf("ttl", "banana"), 400, "ttl", ""},
		{"unknown token", put, "/v1/auth/token/lookup", jsonOf("token", hidden), 403, "bad token", ""},

		{"place in the record", get, "/v1/audit/entries?after=banana", "", 400, "after", ""},
		{"limit of the record", get, "/v1/audit/entries?limit=0", "", 400, "limit", ""},
		{"initialise again", put, "/v1/sys/init", `{"secret_shares":1,"secret_threshold":1}`, 400, "initialized", ""},
	}
}

// TestBadInput: what is wrong gets a 4xx in Vault's shape that says what it is,
// repeats no secret, and changes nothing.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := newCurfew(t)
	target := articleTarget(t, testkit.SuperuserAdmin) // all its accounts are looked at
	c := newVault(t, s)
	target.setUp(t, c, "database", "1h", "24h")
	cred := issue(t, c, "database/creds/app")
	for _, b := range slices.Concat(refusedStatements(), badRequests(target)) {
		t.Run(b.name, func(t *testing.T) {
			before := state(t, c, target)
			token := s.root
			if b.token != "" {
				token = strings.TrimPrefix(b.token, "-")
			}
			r, err := s.send(b.method, b.path, token, b.body, nil)
			must(t, err, "send")
			want(t, "status", r.status, b.status)
			want(t, "content type", r.header.Get("Content-Type"), "application/json")
			if texts := r.errors(); texts == nil || !strings.Contains(strings.Join(texts, "\n"), b.says) {
				t.Errorf("the answer does not say %q: %s", b.says, r.body)
			}
			if strings.Contains(string(r.body), hidden) {
				t.Errorf("the answer repeats a secret: %s", r.body)
			}
			if after := state(t, c, target); after != before {
				t.Errorf("a refused request changed something:\n%s\n%s", before, after)
			}
		})
	}
	if !target.works(t, cred) {
		t.Error("a credential ended with all that")
	}
	if strings.Contains(s.output(t), hidden) {
		t.Error("the log repeats a secret")
	}
}

// state is everything that a client can read of the configuration, the leases
// and the accounts.
func state(tb testing.TB, c client, target *target) string {
	tb.Helper()
	var out []string
	read := func(path string) {
		a, err := c.read(path)
		must(tb, err, "read "+path)
		out = append(out, path+": "+plain(a.Data))
	}
	list := func(path string) []string {
		a, err := c.list(path)
		must(tb, err, "list "+path)
		out = append(out, path+": "+plain(a.keys()))
		return a.keys()
	}
	read("sys/mounts")
	read("sys/mounts/database/tune")
	for _, kind := range []string{"config", "roles"} {
		for _, name := range list("database/" + kind) {
			read("database/" + kind + "/" + name)
		}
	}
	for _, id := range list("sys/leases/lookup/database/creds/app") {
		a, err := c.lookup("database/creds/app/" + id)
		must(tb, err, "look up "+id)
		delete(a.Data, "ttl")
		out = append(out, plain(a.Data))
	}
	out = append(out, plain(list("sys/leases/lookup/auth/token/create")), plain(target.accounts(tb, "v-root-app-")))
	return strings.Join(out, "\n")
}

// TestUnknownConfigurationKeys: the server does not start with a key that it
// does not know, and leaves nothing behind.
func TestUnknownConfigurationKeys(t *testing.T) {
	oneMachine(t, "it is about the keys of curfew server; those of the programs are tested where they are read")
	t.Parallel()
	for name, c := range map[string]struct{ line, says string }{
		"top level":      {`data_dri = "x"`, `line 3: unknown key "data_dri"`},
		"block":          {`storage "file" { path = "x" }`, `line 3: unknown key "storage"`},
		"inside a block": {`limits { max_backlogs = 3 }`, `line 3: unknown key "max_backlogs"`},
		"twice":          {`log_level = "info"` + "\n" + `log_level = "warn"`, `"log_level" at 4:1 was already set`},
		"bad value":      {`max_lease_ttl = "banana"`, `line 3: max_lease_ttl: time: invalid duration`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := unstarted(t, c.line)
			out, code := s.run(t, s.form.(*process).args...)
			if code == 0 || !strings.Contains(out, c.says) {
				t.Errorf("the server ended with %d and said:\n%s", code, out)
			}
			if _, err := os.Stat(filepath.Clean(s.dir)); !os.IsNotExist(err) {
				t.Error(fmt.Sprint("the data directory was made: ", err))
			}
		})
	}
}
