//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/testkit"
)

// staticAccount makes an account as people do, and lets the admin change its
// password.
func (t *target) staticAccount(tb testing.TB, name, password string) credential {
	tb.Helper()
	t.Exec(tb, t.database, fmt.Sprintf(`CREATE ROLE %q LOGIN PASSWORD '%s'; GRANT SELECT ON items TO %q`, name, password, name))
	t.Exec(tb, t.database, fmt.Sprintf(`GRANT %q TO %q WITH ADMIN OPTION`, name, t.admin))
	return credential{user: name, password: password}
}

// staticCreds reads the static credential of the role billing, and when it was
// rotated.
func staticCreds(tb testing.TB, c client) (cred credential, rotated string) {
	tb.Helper()
	a, err := c.read("database/static-creds/billing")
	must(tb, err, "read the static credential")
	if a.LeaseID != "" || a.Renewable {
		tb.Errorf("a static credential has the lease %q", a.LeaseID)
	}
	return credentialOf(a), a.text("last_vault_rotation")
}

// TestStaticRole: an account that people made gets a new password at once, on a
// schedule, and when it is asked for; what is served works and what was served
// before does not. The server is killed in between.
func TestStaticRole(t *testing.T) {
	t.Parallel()
	for library, connect := range clients() {
		t.Run(library, func(t *testing.T) {
			t.Parallel()
			s := newCurfew(t)
			target := articleTarget(t, testkit.CreateRoleAdmin)
			c := connect(t, s)
			target.setUp(t, c, "database", "1h", "24h")
			old := target.staticAccount(t, "billing", "of-the-people")
			put := func(path string, data map[string]any) {
				t.Helper()
				_, err := c.write(path, data)
				must(t, err, "write "+path)
			}
			works := func(what string, cred credential, yes bool) {
				t.Helper()
				want(t, what+" works", target.works(t, cred), yes)
			}
			put("database/static-roles/billing", map[string]any{"db_name": "db", "username": "billing", "rotation_period": "5s"})
			works("the password of the people", old, false)
			role, err := c.read("database/static-roles/billing")
			must(t, err, "read the static role")
			for field, value := range map[string]string{
				"db_name": "db", "username": "billing", "rotation_period": "5", "rotation_statements": "[]", "credential_type": "password",
			} {
				want(t, field, role.text(field), value)
			}
			list, err := c.list("database/static-roles")
			must(t, err, "list the static roles")
			want(t, "the list", fmt.Sprint(list.keys()), "[billing]")

			// On its own, more than once.
			cred, at := staticCreds(t, c)
			for range 2 {
				before, rotated := cred, at
				eventually(t, hang, func() error {
					if cred, at = staticCreds(t, c); at == rotated {
						return errors.New("the password is not rotated")
					}
					return nil
				})
				if cred.password == before.password {
					t.Error("a rotation left the password as it was")
				}
				works("the password before", before, false)
			}
			put("database/static-roles/billing", map[string]any{"username": "billing", "rotation_period": 3600})
			cred, at = staticCreds(t, c)
			works("the password that is served", cred, true)

			// By hand, and by the command.
			put("database/rotate-role/billing", nil)
			before := cred
			cred, _ = staticCreds(t, c)
			works("the password before rotate-role", before, false)
			works("the password after rotate-role", cred, true)
			out, code := s.run(t, "read", "-field=password", "database/static-creds/billing")
			want(t, "exit code of the command", code, 0)
			want(t, "the command gives the same password", strings.TrimSpace(out) == cred.password, true)

			s.kill(t)
			s.start(t)
			after, _ := staticCreds(t, c)
			want(t, "the password is the same after a kill", after.password == cred.password, true)
			works("the password after a kill", after, true)

			_, err = c.write("database/static-roles/twin", map[string]any{"db_name": "db", "username": "billing", "rotation_period": 60})
			want(t, "status of a second role for the account", statusOf(err), http.StatusBadRequest)
			_, err = c.write("database/static-roles/admin", map[string]any{"db_name": "db", "username": target.admin, "rotation_period": 60})
			want(t, "status of a role for the admin user", statusOf(err), http.StatusBadRequest)
			must(t, c.remove("database/static-roles/billing"), "delete the static role")
			_, err = c.read("database/static-creds/billing")
			want(t, "status of a deleted role", statusOf(err), http.StatusBadRequest)
			works("the password of a deleted role", cred, true)

			events := string(s.mustSend(t, http.MethodGet, "/v1/audit/entries?limit=10000", "").body)
			for _, text := range []string{"account.rotated", "system:rotation"} {
				want(t, "the record has "+text, strings.Contains(events, text), true)
			}
			must(t, c.unmount("database"), "disable the engine")
			works("the password after the mount", cred, true)
			verified(t, s)
		})
	}
}
