//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/testkit"
)

// TestAccess: an application gets in by AppRole, does what its policy allows and
// nothing else, and what it holds goes with its token. The server is killed in
// between.
func TestAccess(t *testing.T) {
	t.Parallel()
	for library, connect := range clients() {
		t.Run(library, func(t *testing.T) {
			t.Parallel()
			s := newCurfew(t)
			target := articleTarget(t, testkit.CreateRoleAdmin)
			root := connect(t, s)
			target.setUp(t, root, "database", "1h", "24h")
			target.role(t, root, "database", "other", s1Creation, "1h", "24h")
			put := func(path string, data map[string]any) *answer {
				t.Helper()
				a, err := root.write(path, data)
				must(t, err, "write "+path)
				return a
			}
			put("sys/policies/acl/app", map[string]any{"policy": `path "database/creds/app" { capabilities = ["read"] }`})
			put("sys/auth/approle", map[string]any{"type": "approle"})
			put("auth/approle/role/app", map[string]any{"token_policies": "app", "token_ttl": "20m", "secret_id_num_uses": 2})
			role, err := root.read("auth/approle/role/app/role-id")
			must(t, err, "read the role id")
			secret := put("auth/approle/role/app/secret-id", nil)
			logIn := func() *answer {
				t.Helper()
				a, err := root.as(t, "").write("auth/approle/login",
					map[string]any{"role_id": role.text("role_id"), "secret_id": secret.text("secret_id")})
				must(t, err, "log in")
				return a
			}
			first, second := logIn(), logIn()
			_, err = root.as(t, "").write("auth/approle/login", map[string]any{"role_id": role.text("role_id"), "secret_id": secret.text("secret_id")})
			want(t, "status of a third login with a secret id for two", statusOf(err), http.StatusBadRequest)

			app, neighbour := root.as(t, first.Token), root.as(t, second.Token)
			cred, theirs := issue(t, app, "database/creds/app"), issue(t, neighbour, "database/creds/app")
			want(t, "the credential works", target.works(t, cred), true)
			for act, err := range map[string]error{
				"read another role's credential": third(app.read("database/creds/other")),
				"read the role":                  third(app.read("database/roles/app")),
				"change the role":                third(app.write("database/roles/app", map[string]any{"db_name": "x"})),
				"create a token":                 third(app.createToken("x", "1h")),
				"look at another's lease":        third(app.lookup(theirs.lease)),
				"renew another's lease":          third(app.renew(theirs.lease, 60)),
				"revoke another's lease":         app.revoke(theirs.lease, true),
				"revoke a prefix":                app.revokePrefix("database/creds/app", true),
			} {
				if statusOf(err) != http.StatusForbidden || !strings.Contains(fmt.Sprint(err), "permission denied") {
					t.Errorf("%s: %v", act, err)
				}
			}
			s.kill(t)
			s.start(t)
			_, err = app.lookup(cred.lease)
			must(t, err, "look up its own lease")
			_, err = app.renew(cred.lease, 7200)
			must(t, err, "renew its own lease")
			_, err = app.lookupSelf()
			must(t, err, "look up its own token")

			// The command tells the holder what it lacks.
			holder := *s
			holder.root = first.Token
			out, code := holder.run(t, "explain", "read", "database/creds/app")
			if code != 0 || !strings.Contains(out, `allowed by path "database/creds/app" of app`) {
				t.Errorf("explain ended with %d:\n%s", code, out)
			}
			out, code = holder.run(t, "explain", "update", "database/creds/app")
			if code != 2 || !strings.Contains(out, `capability "update" is missing`) {
				t.Errorf("explain ended with %d:\n%s", code, out)
			}

			must(t, root.revokeToken(first.Token), "revoke a token")
			target.gone(t, cred.user)
			want(t, "the neighbour's credential works", target.works(t, theirs), true)
			// A policy that is taken away counts at once.
			must(t, root.remove("sys/policies/acl/app"), "delete the policy")
			eventually(t, hang, func() error { // in every issuer within a second
				if _, err := neighbour.read("database/creds/app"); statusOf(err) != http.StatusForbidden {
					return fmt.Errorf("without a policy a credential is answered with status %d", statusOf(err))
				}
				return nil
			})
			must(t, root.remove("sys/auth/approle"), "disable the auth method")
			target.gone(t, theirs.user)
			_, err = neighbour.lookupSelf()
			want(t, "status of a token whose method is disabled", statusOf(err), http.StatusForbidden)
			verified(t, s)
		})
	}
}

// third is the error of a call.
func third[A any](_ A, err error) error { return err }
