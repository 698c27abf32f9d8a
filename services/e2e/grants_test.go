//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/curfew-project/curfew/shared/testkit"
)

// groups lists the group roles in the target.
func (t *target) groups(tb testing.TB) []string {
	tb.Helper()
	return t.accounts(tb, "curfew-grants-")
}

// TestSharedGrants: the accounts of a role with shared_grants have nothing of
// their own and work all the same; tables made later come with the next write of
// the role; an edit leaves the accounts of before as they are; and group roles go
// when no lease needs them, also over a kill, and with their mount.
func TestSharedGrants(t *testing.T) {
	t.Parallel()
	kinds := map[string]testkit.AdminKind{"vault": testkit.CreateRoleAdmin, "openbao": testkit.SuperuserAdmin}
	for library, connect := range clients() {
		t.Run(library, func(t *testing.T) {
			t.Parallel()
			s := newCurfew(t)
			target := articleTarget(t, kinds[library])
			c := connect(t, s)
			target.setUp(t, c, "database", "1h", "24h")
			put := func(path string, data map[string]any) {
				t.Helper()
				_, err := c.write(path, data)
				must(t, err, "write "+path)
			}
			works := func(what string, cred credential) {
				t.Helper()
				want(t, what+" works", target.works(t, cred), true)
			}
			own := func(cred credential) int {
				t.Helper()
				return target.count(t, `SELECT count(*) FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
					WHERE d.refclassid = 'pg_authid'::regclass AND r.rolname = $1`, cred.user)
			}
			direct := issue(t, c, "database/creds/app")
			if own(direct) == 0 {
				t.Error("an account of a role without shared grants has no privileges of its own")
			}
			_, err := c.write("database/roles/app", map[string]any{"shared_grants": true, "creation_statements": s1Creation + ` SELECT 1;`})
			if statusOf(err) != http.StatusBadRequest || !strings.Contains(fmt.Sprint(err), "statement 3") {
				t.Errorf("a statement that cannot be shared: %v", err)
			}
			put("database/roles/app", map[string]any{"shared_grants": true})
			first := target.groups(t)
			want(t, "group roles after the write", len(first), 1)
			role, err := c.read("database/roles/app")
			must(t, err, "read the role")
			want(t, "the group role that the role shows", role.text("shared_grants_role"), first[0])
			tried, err := c.read("database/roles/app/check")
			must(t, err, "try the role out")
			if tried.Data["ok"] != true || strings.Contains(fmt.Sprint(tried.Data["findings"]), "per-user-grants") {
				t.Errorf("the check says %v", tried.Data)
			}

			var wg sync.WaitGroup
			var mu sync.Mutex
			var old []credential
			for range 8 {
				wg.Go(func() {
					cred := issue(t, c, "database/creds/app")
					mu.Lock()
					defer mu.Unlock()
					old = append(old, cred)
				})
			}
			wg.Wait()
			for _, cred := range old {
				works("an account of the group", cred)
				want(t, "privileges of its own", own(cred), 0)
			}
			works("the account of before", direct)

			target.Exec(t, target.database, `CREATE TABLE later (n int); ALTER TABLE later OWNER TO `+target.admin)
			put("database/roles/app", map[string]any{"shared_grants_refresh": "10m"})
			conn := target.login(t, old[0])
			_, err = conn.Exec(t.Context(), `SELECT * FROM later`)
			must(t, err, "read a table that is younger than the account")

			put("database/roles/app", map[string]any{"creation_statements": s2Creation})
			want(t, "group roles after the edit", len(target.groups(t)), 2)
			young := issue(t, c, "database/creds/app")
			works("an account of the edited role", young)
			for _, cred := range old[1:] {
				must(t, c.revoke(cred.lease, true), "revoke")
			}
			works("the last account of the old group", old[0])
			s.kill(t)
			s.start(t)
			must(t, c.revoke(old[0].lease, true), "revoke")
			eventually(t, hang, func() error {
				if left := target.groups(t); len(left) != 1 || slices.Contains(left, first[0]) {
					return fmt.Errorf("group roles %v are left", left)
				}
				return nil
			})
			works("an account of the edited role", young)

			eventually(t, hang, func() error { // the record follows the target
				events := string(s.mustSend(t, http.MethodGet, "/v1/audit/entries?limit=10000", "").body)
				for _, text := range []string{"group.made", "group.refreshed", "group.dropped", first[0]} {
					if !strings.Contains(events, text) {
						return errors.New("the record lacks " + text)
					}
				}
				return nil
			})
			must(t, c.unmount("database"), "disable the engine")
			eventually(t, hang, func() error {
				if len(target.groups(t)) > 0 || target.exists(t, young.user) {
					return errors.New("the mount left a group role or an account")
				}
				return nil
			})
			verified(t, s)
		})
	}
}
