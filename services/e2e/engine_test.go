//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/testkit"
)

// TestNamesAndPasswords: what an administrator of a stock server sets up around
// a role, by client libraries that we did not write. Accounts that a template
// named (B2) and passwords that a policy drew (B10) live and end like all
// others, also when everything is killed, the template is another one and the
// connection is deleted (A2).
func TestNamesAndPasswords(t *testing.T) {
	t.Parallel()
	kinds := map[string]testkit.AdminKind{"vault": testkit.CreateRoleAdmin, "openbao": testkit.SuperuserAdmin}
	for library, connect := range clients() {
		t.Run(library, func(t *testing.T) {
			t.Parallel()
			s := newCurfew(t)
			target := articleTarget(t, kinds[library])
			root := connect(t, s)
			target.setUp(t, root, "database", "1h", "24h")
			put := func(path string, data map[string]any) {
				t.Helper()
				_, err := root.write(path, data)
				must(t, err, "write "+path)
			}

			put("sys/policies/password/digits", map[string]any{"policy": "length = 16\nrule \"charset\" {\n  charset = \"0123456789\"\n}\n"})
			list, err := root.list("sys/policies/password")
			must(t, err, "list the password policies")
			want(t, "password policies", fmt.Sprint(list.keys()), "[digits]")
			generated, err := root.read("sys/policies/password/digits/generate")
			must(t, err, "generate a password")
			want(t, "a password of 16 digits", sixteenDigits(generated.text("password")), true)

			const stock = `{{ printf "v-%s-%s-%s-%s" (.DisplayName | truncate 8) (.RoleName | truncate 8) (random 20) (unix_time) | truncate 63 }}`
			_, err = root.write("database/config/db", map[string]any{"username_template": stock})
			if statusOf(err) != http.StatusBadRequest || !strings.Contains(err.Error(), "{{.Mark}}") {
				t.Errorf("a template without the mark: %v", err)
			}
			put("database/config/db", map[string]any{
				"username_template": `App.{{.RoleName | uppercase | truncate 10}}@{{.Mark}}`,
				"password_policy":   "digits", "max_open_connections": 4, "max_idle_connections": 1, "max_connection_lifetime": "5m",
			})
			config, err := root.read("database/config/db")
			must(t, err, "read the connection")
			want(t, "password policy of the connection", config.text("password_policy"), "digits")

			tried, err := root.read("database/roles/app/check")
			must(t, err, "try the role out")
			if tried.Data["ok"] != true {
				t.Errorf("the role is said to be unsound: %v", tried.Data)
			}
			target.role(t, root, "database", "broken", s1Creation+` GRANT no_such_group TO "{{name}}"`, "1h", "24h")
			tried, err = root.write("database/roles/broken/check", nil)
			must(t, err, "try the broken role out")
			if tried.Data["ok"] != false || !strings.Contains(fmt.Sprint(tried.Data["findings"]), "42704") {
				t.Errorf("the broken role is said to be sound: %v", tried.Data)
			}
			want(t, "accounts after the trials", len(target.accounts(t, "App.")), 0)

			named := issue(t, root, "database/creds/app")
			want(t, "the name is the template's", strings.HasPrefix(named.user, "App.APP@"), true)
			want(t, "the password is the policy's", sixteenDigits(named.password), true)
			put("database/config/db", map[string]any{"username_template": "", "password_policy": ""})
			_, err = root.write("database/reset/db", nil)
			must(t, err, "reset the connection")
			plain := issue(t, root, "database/creds/app")
			want(t, "the name is of Curfew's own making", strings.HasPrefix(plain.user, "v-"), true)
			for _, cred := range []credential{named, plain} {
				want(t, cred.user+" works", target.works(t, cred), true)
			}
			must(t, root.remove("sys/policies/password/digits"), "delete the password policy")
			s.kill(t)
			s.start(t)
			must(t, root.remove("database/config/db"), "delete the connection")
			must(t, root.revoke(named.lease, true), "revoke the lease of the template")
			target.gone(t, named.user)
			must(t, root.revoke(plain.lease, true), "revoke the other")
			target.gone(t, plain.user)
			verified(t, s)
		})
	}
}

func sixteenDigits(s string) bool { return len(s) == 16 && strings.Trim(s, "0123456789") == "" }
