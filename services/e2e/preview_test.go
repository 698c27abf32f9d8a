//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/testkit"
)

// TestPrefixOperation: an operator looks at what a revocation would take, takes
// it, follows it, and gives up what cannot be taken (A4). The server is killed
// in between.
func TestPrefixOperation(t *testing.T) {
	t.Parallel()
	for library, connect := range clients() {
		t.Run(library, func(t *testing.T) {
			t.Parallel()
			s := newCurfew(t)
			target := articleTarget(t, testkit.CreateRoleAdmin)
			root := connect(t, s)
			target.setUp(t, root, "database", "1h", "24h")
			target.role(t, root, "database", "stuck", s1Creation, "2h", "24h")
			made, err := root.createToken("ops", "5h")
			must(t, err, "make a token")
			ops := root.as(t, made.Token)
			var all []credential
			for _, c := range []struct {
				by   client
				role string
			}{{root, "app"}, {ops, "app"}, {ops, "app"}, {ops, "stuck"}, {root, "stuck"}} {
				all = append(all, issue(t, c.by, "database/creds/"+c.role))
			}
			// What a stranger gives to an account, Curfew's user cannot take away (C5).
			target.Exec(t, "postgres", "CREATE TABLE locked ()")
			for _, cred := range all[3:] {
				target.Exec(t, "postgres", fmt.Sprintf("GRANT SELECT ON locked TO %q", cred.user))
			}

			dryRun(t, s, made.Accessor)
			for _, cred := range all {
				want(t, "a credential works after a dry run", target.works(t, cred), true)
			}
			out, code := s.run(t, "lease", "revoke", "-dry-run", all[0].lease)
			if code != 1 || !strings.Contains(out, "Specifying -dry-run requires also specifying -prefix") || !target.works(t, all[0]) {
				t.Errorf("a dry run of one lease ended with %d:\n%s", code, out)
			}

			must(t, root.revokePrefix("database/creds", false), "revoke the prefix")
			operations, err := root.list("sys/leases/operations")
			must(t, err, "list the operations")
			if len(operations.keys()) != 1 {
				t.Fatalf("operations %v", operations.keys())
			}
			at := "sys/leases/operations/" + operations.keys()[0]
			reached(t, root, at, `{"abandoned":0,"done":3,"failed":2,"finished":false,"open":0,"total":5}`)
			data, err := root.read(at)
			must(t, err, "read the operation")
			failure := plain(data.Data["failures"])
			if !strings.Contains(failure, "{{name}}") || !strings.Contains(failure, `"count":2,`) || strings.Contains(failure, all[3].user) {
				t.Errorf("failures %s", failure)
			}
			s.kill(t)
			s.start(t)
			reached(t, root, at, `{"abandoned":0,"done":3,"failed":2,"finished":false,"open":0,"total":5}`)
			for _, cred := range all { // disabled comes first, also where the rest fails (C1)
				want(t, "a credential works after its revocation", target.works(t, cred), false)
			}

			out, code = s.run(t, "lease", "revoke", "-force", "-prefix", "database/creds/stuck")
			if code != 0 || !strings.Contains(out, "Success! Force revoked any leases with prefix: database/creds/stuck") {
				t.Fatalf("the forced revocation ended with %d:\n%s", code, out)
			}
			reached(t, root, at, `{"abandoned":2,"done":3,"failed":0,"finished":true,"open":0,"total":5}`)
			eventually(t, hang, func() error { // a sweep sees the end, and the report stays
				data, err := root.read(at)
				must(t, err, "read the operation")
				if data.Data["finished_at"] == nil {
					return fmt.Errorf("operation %v", data.Data)
				}
				return nil
			})
			out, code = s.run(t, "path-help", "database/creds/app")
			if code != 0 || !strings.Contains(out, "A new account of the role, and its lease.") {
				t.Errorf("path-help ended with %d:\n%s", code, out)
			}
			verified(t, s)
		})
	}
}

// dryRun reads the preview of all five leases in each format.
func dryRun(t *testing.T, s *curfew, ops string) {
	t.Helper()
	run := func(format string) string {
		out, code := s.run(t, "lease", "revoke", "-prefix", "-dry-run", "-format="+format, "database/creds")
		want(t, "exit code of a dry run", code, 0)
		return out
	}
	var preview struct {
		Total  int `json:"total"`
		Roles  []map[string]any
		Owners []map[string]any
	}
	must(t, json.Unmarshal([]byte(run("json")), &preview), "read the preview")
	want(t, "total", preview.Total, 5)
	want(t, "roles", plain(preview.Roles), `[{"count":3,"path":"database/creds/app"},{"count":2,"path":"database/creds/stuck"}]`)
	if i := slices.IndexFunc(preview.Owners, func(o map[string]any) bool { return o["accessor"] == ops }); i != 0 ||
		preview.Owners[0]["count"] != 3.0 || preview.Owners[0]["display_name"] != "token-ops" || len(preview.Owners) != 2 {
		t.Errorf("owners %v", preview.Owners)
	}
	for format, text := range map[string]string{"table": "leases                  5\n", "yaml": "\ntotal: 5\n"} {
		if out := run(format); !strings.Contains(out, text) || strings.Contains(out, "hvs.") {
			t.Errorf("%s:\n%s", format, out)
		}
	}
}

// reached waits until an operation counts its leases so.
func reached(t *testing.T, c client, at, want string) {
	t.Helper()
	eventually(t, hang, func() error {
		a, err := c.read(at)
		must(t, err, "read the operation")
		got := map[string]any{}
		for _, field := range []string{"total", "done", "failed", "open", "abandoned", "finished"} {
			got[field] = a.Data[field]
		}
		if plain(got) != want {
			return fmt.Errorf("the operation says %s: %v", plain(got), a.Data)
		}
		return nil
	})
}
