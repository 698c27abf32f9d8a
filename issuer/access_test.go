package issuer_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

const lacks = "1 error occurred:\n\t* permission denied\n\n"

// holder makes a token with exactly one policy.
func (w *world) holder(text string) string {
	w.t.Helper()
	w.holders++
	name := fmt.Sprint("p", w.holders)
	body, err := json.Marshal(map[string]string{"policy": text})
	must(w.t, err)
	w.ok(w.do("PUT", "sys/policies/acl/"+name, string(body)), 204)
	return w.token(`{"ttl":"1h","no_default_policy":true,"policies":["` + name + `"]}`).Auth.ClientToken
}

func rule(path string, capabilities ...string) string {
	return fmt.Sprintf("path %q { capabilities = [\"%s\"] }\n", path, strings.Join(capabilities, `", "`))
}

// Every path and method asks for exactly its capability, some for sudo beside
// it. Who lacks it, or has no token, learns and changes nothing.
func TestPermissionOfEveryPath(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pipeline()
	w.auditor()
	c := w.creds()
	other := w.token(`{"ttl":"1h","policies":["a"]}`).Auth
	lease := `{"lease_id":"` + c.LeaseID + `"}`
	nobody := w.holder(rule("nothing", "read"))
	changes := func() (n int) { // by tokens; the system goes on with what was begun
		for _, e := range w.events(event.ConfigChanged, event.LeaseIntent, event.LeaseRenewed, event.LeaseRevoking, event.TokenCreated, event.InstallationConfirmed) {
			if !strings.HasPrefix(e.Data.Actor.Name, "system:") {
				n++
			}
		}
		return n
	}
	untried := untried(w.issuer)
	for _, p := range []struct {
		method, path, body string
		needs              string
		sudo               bool
	}{
		{"GET", "database/creds/readonly", "", "read", false},
		{"POST", "auth/token/create", `{"ttl":"1m"}`, "update", false},
		{"POST", "auth/token/create-orphan", `{"ttl":"1m"}`, "update", false},
		{"GET", "auth/token/lookup-self", "", "read", false},
		{"POST", "auth/token/lookup-self", "", "update", false},
		{"GET", "auth/token/lookup", "", "read", false},
		{"POST", "auth/token/lookup", `{"token":"` + other.ClientToken + `"}`, "update", false},
		{"POST", "auth/token/lookup-accessor", `{"accessor":"` + other.Accessor + `"}`, "update", false},
		{"POST", "auth/token/renew", `{"token":"` + other.ClientToken + `"}`, "update", false},
		{"POST", "auth/token/renew-self", "", "update", false},
		{"GET", "sys/mounts", "", "read", false},
		{"LIST", "sys/mounts", "", "list", false},
		{"GET", "sys/mounts/database", "", "read", false},
		{"GET", "sys/mounts/database/tune", "", "read", false},
		{"POST", "sys/mounts/database/tune", `{"default_lease_ttl":"1h"}`, "update", false},
		{"POST", "sys/mounts/other", `{"type":"database"}`, "update", false},
		{"DELETE", "sys/mounts/other", "", "delete", false},
		{"GET", "sys/policies/acl/a", "", "read", false},
		{"LIST", "sys/policies/acl", "", "list", false},
		{"PUT", "sys/policies/acl/z", `{"policy":"path \"z\" { capabilities = [\"read\"] }"}`, "update", false},
		{"DELETE", "sys/policies/acl/z", "", "delete", false},
		{"LIST", "sys/policies/password", "", "list", false},
		{"PUT", "sys/policies/password/p", passwordPolicy, "update", false},
		{"GET", "sys/policies/password/p", "", "read", false},
		{"GET", "sys/policies/password/p/generate", "", "read", false},
		{"DELETE", "sys/policies/password/p", "", "delete", false},
		{"GET", "sys/policy", "", "read", false},
		{"LIST", "sys/policy", "", "list", false},
		{"GET", "sys/policy/a", "", "read", false},
		{"PUT", "sys/policy/z", `{"policy":"path \"z\" { capabilities = [\"read\"] }"}`, "update", false},
		{"DELETE", "sys/policy/z", "", "delete", false},
		{"POST", "sys/capabilities", `{"token":"` + other.ClientToken + `","path":"x"}`, "update", false},
		{"POST", "sys/capabilities-accessor", `{"accessor":"` + other.Accessor + `","path":"x"}`, "update", false},
		{"POST", "sys/capabilities-self", `{"path":"x"}`, "update", false},
		{"GET", "sys/installation", "", "read", false},
		{"PUT", "sys/installation/confirm", "", "update", true},
		{"GET", "sys/fsck", "", "read", true},
		{"GET", "sys/fsck/leases", "", "read", true},
		{"GET", "sys/fsck/accounts/none", "", "read", true},
		{"GET", "sys/audit", "", "read", true},
		{"PUT", "sys/audit/file", `{"type":"file","options":{"file_path":"/a"}}`, "update", true},
		{"GET", "sys/audit/file", "", "read", true},
		{"POST", "sys/audit-hash/file", `{"input":"x"}`, "update", false},
		{"DELETE", "sys/audit/file", "", "delete", true},
		{"GET", "sys/leases", "", "read", true},
		{"GET", "sys/leases/count", "", "read", false},
		{"POST", "sys/leases/tidy", "", "update", false},
		{"PUT", "sys/leases/lookup", lease, "update", false},
		{"PUT", "sys/leases/renew", lease, "update", false},
		{"PUT", "sys/leases/renew/" + c.LeaseID, "", "update", false},
		{"PUT", "sys/leases/revoke", lease, "update", false},
		{"PUT", "sys/leases/revoke/" + c.LeaseID, "", "update", false},
		{"PUT", "sys/leases/revoke-prefix/database/none", "", "update", true},
		{"PUT", "sys/leases/revoke-force/database/none", "", "update", true},
		{"GET", "sys/leases/recount", "", "read", true},
		{"PUT", "sys/leases/recount", "", "update", true},
		{"PUT", "sys/leases/retry", lease, "update", false},
		{"PUT", "sys/leases/retry/" + c.LeaseID, "", "update", false},
		{"PUT", "sys/leases/retry-prefix/database/none", "", "update", true},
		{"PUT", "sys/leases/retry-connection/database/none", "", "update", true},
		{"PUT", "sys/leases/abandon/database/none", `{"reason":"x"}`, "update", true},
		{"GET", "sys/leases/preview/database/creds", "", "read", true},
		{"LIST", "sys/leases/operations", "", "list", true},
		{"GET", "sys/leases/operations/none", "", "read", true},
		{"PUT", "sys/renew", lease, "update", false},
		{"PUT", "sys/renew/" + c.LeaseID, "", "update", false},
		{"PUT", "sys/revoke", lease, "update", false},
		{"PUT", "sys/revoke/" + c.LeaseID, "", "update", false},
		{"PUT", "sys/revoke-prefix/database/none", "", "update", true},
		{"PUT", "sys/revoke-force/database/none", "", "update", true},
		{"POST", "sys/remount", `{"from":"database","to":"other"}`, "update", true},
		{"GET", "sys/remount/status/none", "", "read", false},
		{"GET", "sys/internal/ui/resultant-acl", "", "read", false},
		{"POST", "auth/token/tidy", "", "update", false},
		{"LIST", "auth/token/accessors", "", "list", true},
		{"POST", "auth/token/renew-accessor", `{"accessor":"` + other.Accessor + `"}`, "update", false},
		{"GET", "sys/auth", "", "read", true},
		{"POST", "sys/auth/approle", `{"type":"approle"}`, "update", true},
		{"GET", "sys/auth/approle", "", "read", true},
		{"GET", "sys/auth/approle/tune", "", "read", true},
		{"POST", "sys/auth/approle/tune", `{"default_lease_ttl":"1h"}`, "update", true},
		{"GET", "sys/mounts/auth/approle", "", "read", true},
		{"GET", "sys/mounts/auth/approle/tune", "", "read", true},
		{"POST", "sys/mounts/auth/approle/tune", `{"default_lease_ttl":"1h"}`, "update", true},
		{"POST", "auth/approle/role/app", `{"token_policies":"a"}`, "create", false},
		{"GET", "auth/approle/role/app", "", "read", false},
		{"LIST", "auth/approle/role", "", "list", false},
		{"GET", "auth/approle/role/app/role-id", "", "read", false},
		{"POST", "auth/approle/role/app/secret-id", "", "update", false},
		{"LIST", "auth/approle/role/app/secret-id", "", "list", false},
		{"DELETE", "auth/approle/role/app", "", "delete", false},
		{"POST", "sys/mounts/auth/other", `{"type":"database"}`, "update", true},
		{"DELETE", "sys/mounts/auth/approle", "", "delete", true},
		{"DELETE", "sys/auth/approle", "", "delete", true},
		{"POST", "sys/wrapping/wrap", "", "update", false},
		{"GET", "sys/wrapping/lookup", "", "read", false},
		{"POST", "sys/wrapping/lookup", "", "update", false},
		{"POST", "sys/wrapping/unwrap", "", "update", false},
		{"POST", "sys/wrapping/rewrap", "", "update", false},
		{"POST", "auth/token/revoke-orphan", `{"token":"hvs.none"}`, "update", true},
		{"POST", "auth/token/revoke-accessor", `{"accessor":"` + other.Accessor + `"}`, "update", false},
		{"POST", "auth/token/revoke", `{"token":"` + other.ClientToken + `"}`, "update", false},
		{"POST", "auth/token/revoke-self", "", "update", false},
		{"GET", "sys/quotas/config", "", "read", false},
		{"PUT", "sys/quotas/config", `{"enable_rate_limit_response_headers":true}`, "update", false},
		{"PUT", "sys/quotas/rate-limit/q", `{"rate":"1000000"}`, "update", false},
		{"GET", "sys/quotas/rate-limit/q", "", "read", false},
		{"LIST", "sys/quotas/rate-limit", "", "list", false},
		{"DELETE", "sys/quotas/rate-limit/q", "", "delete", false},
		{"PUT", "sys/quotas/lease-count/q", `{"max_leases":"1000000"}`, "update", false},
		{"GET", "sys/quotas/lease-count/q", "", "read", false},
		{"LIST", "sys/quotas/lease-count", "", "list", false},
		{"DELETE", "sys/quotas/lease-count/q", "", "delete", false},
		{"GET", "none/such", "", "read", false},
		{"PUT", "sys/seal", "", "update", true}, // the last: nothing is served after it
	} {
		name := p.method + " " + p.path
		pattern, _ := w.issuer.Serves(p.path)
		delete(untried, operations[p.method]+" "+pattern)
		before := changes()
		w.refused(w.as("", p.method, p.path, p.body), 403, "permission denied")
		w.refused(w.as(nobody, p.method, p.path, p.body), 403, lacks)
		if n := changes(); n != before {
			t.Errorf("%s was refused and changed something", name)
		}
		needs := []string{p.needs}
		if p.sudo {
			w.refused(w.as(w.holder(rule(p.path, p.needs)), p.method, p.path, p.body), 403, lacks)
			needs = append(needs, "sudo")
		}
		for _, wrong := range []string{"create", "read", "update", "delete", "list"} {
			if wrong != p.needs {
				w.refused(w.as(w.holder(rule(p.path, wrong, "sudo")), p.method, p.path, p.body), 403, lacks)
			}
		}
		if r := w.as(w.holder(rule(p.path, needs...)), p.method, p.path, p.body); r.code == http.StatusForbidden || r.code >= 500 {
			t.Errorf("%s with exactly %v: %d %s", name, needs, r.code, r.body)
		}
	}
	for _, open := range []string{
		// What every valid token may ask about itself, and is told of no other.
		"read sys/internal/ui/mounts", "read sys/internal/ui/mounts/…", "write sys/explain-self",
		// Every token lists its own leases: TestOwnLeases.
		"list sys/leases/lookup", "list sys/leases/lookup/…",
	} {
		delete(untried, open)
	}
	for _, name := range slices.Sorted(maps.Keys(untried)) {
		t.Errorf("no row tries %s", name)
	}
}

var operations = map[string]string{"GET": "read", "PUT": "write", "POST": "write", "LIST": "list", "DELETE": "delete"}

// untried is everything that the API serves itself: operation and pattern.
func untried(i *issuer.Issuer) map[string]bool {
	all := map[string]bool{}
	for _, pattern := range i.Patterns() {
		_, ops := i.Serves(strings.ReplaceAll(pattern, "/…", "/some/thing"))
		for _, op := range ops {
			all[string(op)+" "+pattern] = true
		}
	}
	return all
}

// A token looks up, lists, renews and revokes what it created, without a policy
// for it; not what another has created, however that is asked for.
func TestOwnLeases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pipeline()
	policy := rule("database/creds/readonly", "read")
	mine, theirs := w.holder(policy), w.holder(policy)
	creds := func(token string) string {
		return w.ok(w.as(token, "GET", "database/creds/readonly", ""), 200).envelope(t).LeaseID
	}
	own, foreign := creds(mine), creds(theirs)
	body := func(id string) string { return `{"lease_id":"` + id + `"}` }
	for _, path := range []string{"lookup", "renew", "revoke"} {
		w.refused(w.as(mine, "PUT", "sys/leases/"+path, body(foreign)), 403, lacks)
		w.refused(w.as(mine, "PUT", "sys/leases/"+path, `{"url_lease_id":"`+foreign+`"}`), 403, lacks)
		w.refused(w.as(mine, "PUT", "sys/leases/"+path, body("database/creds/readonly/none")), 403, lacks)
		w.refused(w.as(mine, "PUT", "sys/leases/"+path, ""), 403, lacks)
		if path != "lookup" {
			w.refused(w.as(mine, "PUT", "sys/leases/"+path+"/"+foreign, body(own)), 403, lacks)
			w.refused(w.as(mine, "PUT", "sys/leases/"+path+"/"+url.PathEscape(foreign), ""), 403, lacks)
		}
	}
	// Some clients escape the id; the path and who may use it are the same.
	w.ok(w.as(mine, "PUT", "sys/leases/renew/"+url.PathEscape(own), ""), 200)
	w.refused(w.as(mine, "GET", "database%2Fconfig%2Fdb", ""), 403, lacks)
	for path, want := range map[string]string{
		"": "[database/]", "/database": "[creds/]", "/database/creds/readonly": "[" + own[strings.LastIndex(own, "/")+1:] + "]",
	} {
		got := w.ok(w.as(mine, "LIST", "sys/leases/lookup"+path, ""), 200).envelope(t).Data["keys"]
		if fmt.Sprint(got) != want {
			t.Errorf("LIST %q: %v, want %s", path, got, want)
		}
	}
	w.ok(w.as(mine, "LIST", "sys/leases/lookup/auth", ""), 404)
	w.ok(w.as(mine, "LIST", "sys/leases/lookup?after=database/", ""), 404)
	for range 3 {
		creds(mine)
	}
	var paged []string
	for after := ""; ; after = paged[len(paged)-1] {
		r := w.as(mine, "LIST", "sys/leases/lookup/database/creds/readonly?limit=2&after="+after, "")
		if r.code == 404 {
			break
		}
		for _, key := range w.ok(r, 200).envelope(t).Data["keys"].([]any) {
			paged = append(paged, key.(string))
		}
	}
	if len(paged) != 4 || !slices.IsSorted(paged) || !slices.Contains(paged, own[strings.LastIndex(own, "/")+1:]) {
		t.Errorf("by pages: %v", paged)
	}
	w.ok(w.as(mine, "PUT", "sys/leases/lookup", body(own)), 200)
	w.ok(w.as(mine, "PUT", "sys/leases/renew", body(own)), 200)
	w.ok(w.as(mine, "PUT", "sys/leases/renew/"+own, ""), 200)
	w.ok(w.as(mine, "PUT", "sys/leases/revoke", body(own)), 204)
	if l := w.lease(foreign); l.State != "active" || l.Version != 2 {
		t.Errorf("the other's lease is %s, version %d", l.State, l.Version)
	}
	w.refused(w.as(mine, "PUT", "sys/leases/revoke-prefix/database/creds/readonly", ""), 403, lacks)
}

// What is made needs create, what is changed update.
func TestCreateOrUpdate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok(w.do("PUT", "database/config/old", `{}`), 204) // the one that is there
	w.ok(w.do("PUT", "sys/auth/roles", `{"type":"approle"}`), 204)
	w.ok(w.do("PUT", "auth/roles/role/old", `{}`), 204)
	both := func(capability string) string {
		return w.holder(rule("database/config/*", capability) + rule("auth/roles/role/*", capability))
	}
	create, update := both("create"), both("update")
	for name, c := range map[string]struct {
		token, path string
		allowed     bool
	}{
		"create, new": {create, "database/config/new", true}, "update, new": {update, "database/config/other", false},
		"create, old": {create, "database/config/old", false}, "update, old": {update, "database/config/old", true},
		"create, new role": {create, "auth/roles/role/new", true}, "update, new role": {update, "auth/roles/role/other", false},
		"create, old role": {create, "auth/roles/role/Old", false}, "update, old role": {update, "auth/roles/role/Old", true},
		"create, secret id": {create, "auth/roles/role/old/secret-id", false}, "update, secret id": {update, "auth/roles/role/old/secret-id", true},
		"create, no name": {create, "auth/roles/role/", false}, "update, no such path": {update, "auth/roles/role/no/such", true},
	} {
		if r := w.as(c.token, "PUT", c.path, `{}`); (r.code != 403) != c.allowed {
			t.Errorf("%s: %d %s", name, r.code, r.body)
		}
	}
}

// A policy that changes counts at once, also in other processes within a second;
// one that is deleted allows nothing.
func TestPolicyChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	second, err := issuer.New(issuer.Deps{Store: w.store, Seal: w.seal, Keys: w.seal, Sealer: w.seal, Clock: clock.System{}, Log: zerolog.New(w.logs)}, issuer.Config{})
	must(t, err)
	elsewhere := httptest.NewServer(second.Handler())
	defer elsewhere.Close()
	here := w.server
	token := w.token(`{"ttl":"1h","no_default_policy":true,"policies":["late"]}`).Auth.ClientToken
	ask := func() int { return w.as(token, "GET", "sys/mounts", "").code }
	for range 3 {
		for _, c := range []struct {
			method, body string
			want         int
		}{
			{"PUT", `{"policy":"path \"sys/mounts\" { capabilities = [\"read\"] }"}`, 200},
			{"PUT", `{"policy":"path \"sys/mounts\" { capabilities = [\"list\"] }"}`, 403},
			{"PUT", `{"rules":"path \"sys/mount+\" {}"}`, 400},
			{"PUT", `{"policy":"path \"sys/mounts\" { capabilities = [\"read\"] }"}`, 200},
			{"DELETE", "", 403},
		} {
			want := c.want
			if r := w.do(c.method, "sys/policies/acl/late", c.body); r.code == 400 {
				want = 403 // as before
			}
			w.server = here
			if got := ask(); got != want {
				t.Errorf("here, after %s %s: %d, want %d", c.method, c.body, got, want)
			}
			w.server = elsewhere
			eventually(t, "the change counts elsewhere", func() bool { return ask() == want })
			w.server = here
		}
	}
}

// Where the store does not say how policies stand, nothing is allowed, and that
// is no refusal; root needs none.
func TestPoliciesAreAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.holder(rule("sys/leases/count", "read"))
	w.ok(w.as(token, "GET", "sys/leases/count?type=irrevocable", ""), 200)
	w.store.Break(storetest.Fault{Method: "Entry"})
	eventually(t, "what is kept is too old", func() bool { return w.as(token, "GET", "sys/leases/count?type=irrevocable", "").code == 500 })
	w.ok(w.do("GET", "sys/leases/count?type=irrevocable", ""), 200)
	w.store.Break()
	w.ok(w.as(token, "GET", "sys/leases/count?type=irrevocable", ""), 200)
}

// What stock clients do with policies, and what they must not.
func TestPolicyPaths(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	text := rule("database/creds/readonly", "read")
	body, err := json.Marshal(map[string]string{"policy": text})
	must(t, err)
	w.ok(w.do("PUT", "sys/policies/acl/App", string(body)), 204)
	for path, want := range map[string]string{
		"sys/policies/acl/app": text, "sys/policies/acl/APP": text, "sys/policies/acl/root": "",
	} {
		if got := w.ok(w.do("GET", path, ""), 200).envelope(t).Data; got["policy"] != want || got["name"] != strings.ToLower(path[strings.LastIndex(path, "/")+1:]) {
			t.Errorf("%s: %v", path, got)
		}
	}
	if got := w.ok(w.do("GET", "sys/policy/app", ""), 200).envelope(t).Data["rules"]; got != text {
		t.Errorf("sys/policy/app: %v", got)
	}
	for _, list := range []response{w.do("LIST", "sys/policies/acl", ""), w.do("GET", "sys/policies/acl?list=true", ""), w.do("GET", "sys/policy", "")} {
		if got := fmt.Sprint(list.envelope(t).Data["keys"]); got != "[a app default root]" {
			t.Errorf("policies are %s", got)
		}
	}
	w.ok(w.do("GET", "sys/policies/acl/none", ""), 404)
	w.refused(w.do("PUT", "sys/policies/acl/root", string(body)), 400, `cannot update "root" policy`)
	w.refused(w.do("DELETE", "sys/policies/acl/root", ""), 400, `cannot delete "root" policy`)
	w.refused(w.do("DELETE", "sys/policies/acl/default", ""), 400, `cannot delete "default" policy`)
	w.refused(w.do("PUT", "sys/policies/acl/x", `{}`), 400, "'policy' parameter not supplied or empty")
	w.refused(w.do("PUT", "sys/policies/acl/x", `{"policy":"path \"x\" { capabilities = [\"fly\"] }"}`), 400,
		`failed to parse policy: path "x": invalid capability "fly"`)
	// The default policy can be made narrower; then it is.
	child := w.token(`{"ttl":"1h","policies":["app"]}`).Auth.ClientToken
	w.ok(w.as(child, "GET", "auth/token/lookup-self", ""), 200)
	w.ok(w.do("PUT", "sys/policies/acl/default", string(body)), 204)
	w.refused(w.as(child, "GET", "auth/token/lookup-self", ""), 403, lacks)
	w.ok(w.do("DELETE", "sys/policies/acl/app", ""), 204)
	w.ok(w.do("DELETE", "sys/policies/acl/app", ""), 204)
}

// Both ways in which the commit of a policy can fail.
func TestPolicyIsNotCommitted(t *testing.T) {
	t.Parallel()
	for _, done := range []bool{false, true} {
		w := newWorld(t)
		w.store.Break(storetest.Fault{Method: "Write", Done: done})
		r := w.do("PUT", "sys/policies/acl/x", `{"policy":"path \"x\" { capabilities = [\"read\"] }"}`)
		if r.code < 500 {
			t.Errorf("done: %v: %d", done, r.code)
		}
		w.store.Break()
		_, err := w.fake.Entry(t.Context(), store.KindPolicy, "x")
		if (err == nil) != done {
			t.Errorf("done: %v: %v", done, err)
		}
		w.ok(w.do("PUT", "sys/policies/acl/x", `{"policy":"path \"x\" { capabilities = [\"read\"] }"}`), 204)
	}
}

// A token's holder is told what it may and what it lacks; of another's token
// only who may ask.
func TestAskingAboutRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.holder(rule("database/creds/readonly", "read") + rule("sys/capabilities-self", "update") + rule("team/*", "create", "update", "sudo"))
	data := func(r response) map[string]any { return w.ok(r, 200).envelope(t).Data }
	for path, want := range map[string]string{
		"database/creds/readonly": "[read]", "team/x/y": "[create sudo update]", "database/config/x": "[deny]",
	} {
		if got := data(w.do("POST", "sys/capabilities", `{"token":"`+token+`","path":"`+path+`"}`)); fmt.Sprint(got["capabilities"]) != want || fmt.Sprint(got[path]) != want {
			t.Errorf("capabilities on %s: %v, want %s", path, got, want)
		}
		if got := data(w.as(token, "POST", "sys/capabilities-self", `{"paths":["`+path+`","x"]}`)); fmt.Sprint(got[path], got["x"]) != want+" [deny]" {
			t.Errorf("own capabilities on %s: %v, want %s", path, got, want)
		}
	}
	if got := data(w.do("POST", "sys/capabilities-self", `{"path":"x"}`)); fmt.Sprint(got["capabilities"]) != "[root]" {
		t.Errorf("root's: %v", got)
	}
	w.refused(w.do("POST", "sys/capabilities-self", `{}`), 400, "at least one path must be supplied")
	for question, want := range map[string]string{
		`{"operation":"GET","path":"/v1/database/creds/readonly"}`: `true allowed by path "database/creds/readonly"`,
		`{"operation":"PUT","path":"database/creds/readonly"}`:     `false capability "update" is missing`,
		`{"operation":"list","path":"sys/mounts"}`:                 "false no policy of the token has a rule for this path",
	} {
		got := data(w.as(token, "POST", "sys/explain-self", question))
		if text := fmt.Sprint(got["allowed"], got["explanation"]); !strings.Contains(strings.ReplaceAll(text, "[", " "), want[strings.Index(want, " ")+1:]) || !strings.HasPrefix(text, want[:strings.Index(want, " ")]) {
			t.Errorf("%s: %s, want %s", question, text, want)
		}
	}
	w.refused(w.as("hvs.none", "POST", "sys/explain-self", `{"operation":"GET","path":"x"}`), 403, "permission denied")
	w.ok(w.as(token, "POST", "sys/explain-self", `{"operation":"fly","path":"x"}`), 400)
}

// What is mounted is shown to whom it concerns.
func TestShownMounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mount("other/")
	reader, nobody := w.holder(rule("database/*", "read")), w.holder(rule("nothing", "read"))
	shown := func(token string) string {
		data := w.ok(w.as(token, "GET", "sys/internal/ui/mounts", ""), 200).envelope(t).Data
		var keys []string
		for _, part := range []string{"secret", "auth"} {
			for path := range data[part].(map[string]any) {
				keys = append(keys, path)
			}
		}
		slices.Sort(keys)
		return fmt.Sprint(keys)
	}
	for token, want := range map[string]string{w.root: "[database/ other/ token/]", reader: "[database/]", nobody: "[]"} {
		if got := shown(token); got != want {
			t.Errorf("%s is shown, want %s", got, want)
		}
	}
	w.ok(w.as(reader, "GET", "sys/internal/ui/mounts/database/creds/readonly", ""), 200)
	for _, path := range []string{"other/x", "none/x"} {
		if r := w.as(reader, "GET", "sys/internal/ui/mounts/"+path, ""); r.code != 403 || !strings.Contains(r.body, "preflight capability check returned 403") {
			t.Errorf("%s: %d %s", path, r.code, r.body)
		}
	}
}

// The way of an application: a role id and a secret id, and no token but the one
// that it gets for them.
func TestAppRoleLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pipeline()
	w.ok(w.do("POST", "sys/auth/approle", `{"type":"approle"}`), 204)
	w.ok(w.do("PUT", "sys/policies/acl/app", `{"policy":"path \"database/creds/readonly\" { capabilities = [\"read\"] }"}`), 204)
	w.ok(w.do("POST", "auth/approle/role/app", `{"token_policies":"app","token_ttl":"20m","secret_id_num_uses":2}`), 204)
	role := w.ok(w.do("GET", "auth/approle/role/app/role-id", ""), 200).envelope(t).Data["role_id"].(string)
	secret := w.ok(w.do("POST", "auth/approle/role/app/secret-id", ""), 200).envelope(t).Data["secret_id"].(string)
	login := func(token, path, role, secret string) response {
		return w.as(token, "PUT", path, fmt.Sprintf(`{"role_id":%q,"secret_id":%q}`, role, secret))
	}
	for _, token := range []string{"", "hvs.not-one"} { // what comes with it is of no consequence
		r := w.ok(login(token, "auth/approle/login", role, secret), 200).envelope(t)
		if r.Auth == nil || fmt.Sprint(r.Auth.Policies) != "[app default]" || r.Auth.LeaseDuration != 1200 || !r.Auth.Orphan || r.Auth.Metadata["role_name"] != "app" {
			t.Fatalf("logged in as %+v", r.Auth)
		}
		own := r.Auth.ClientToken
		c := w.ok(w.as(own, "GET", "database/creds/readonly", ""), 200).envelope(t)
		w.refused(w.as(own, "GET", "database/creds/other", ""), 403, lacks)
		w.ok(w.as(own, "POST", "auth/token/revoke-self", ""), 204)
		w.ok(w.as(own, "GET", "auth/token/lookup-self", ""), 403)
		eventually(t, "what it issued is gone", func() bool { return !w.exists(c.Data["username"].(string)) })
	}
	for name, r := range map[string]response{
		"its uses are over": login("", "auth/approle/login", role, secret), "no such secret": login("", "auth/approle/login", role, "x"),
		"no such role": login("", "auth/approle/login", "x", secret), "nothing": w.as("", "PUT", "auth/approle/login", ""),
	} {
		if r.code != 400 || strings.Contains(r.body, "client_token") {
			t.Errorf("%s: %d %s", name, r.code, r.body)
		}
	}
	// Only the login of what is mounted goes without a token.
	for _, path := range []string{"auth/other/login", "auth/approle/role/app", "auth/approle/login/x", "auth/token/create", "auth/token/login", "auth/login", "auth/approle"} {
		w.refused(w.as("", "PUT", path, `{}`), 403, "permission denied")
	}
	w.refused(w.as("", "GET", "auth/approle/login", ""), 403, "permission denied")
	text := w.logs.String()
	for _, e := range w.events(event.RequestServed, event.RequestDenied, event.ConfigChanged, event.TokenCreated) {
		line, err := json.Marshal(e)
		must(t, err)
		text += string(line)
	}
	if strings.Contains(text, secret) {
		t.Error("the secret id is in a log or an event")
	}
	// Disabling the method takes its tokens with it.
	w.ok(w.do("POST", "auth/approle/role/app/secret-id", ""), 200)
	again := w.ok(w.do("POST", "auth/approle/role/app/secret-id", ""), 200).envelope(t).Data["secret_id"].(string)
	token := w.ok(login("", "auth/approle/login", role, again), 200).envelope(t).Auth.ClientToken
	w.ok(w.do("DELETE", "sys/auth/approle", ""), 204)
	w.ok(w.as(token, "GET", "auth/token/lookup-self", ""), 403)
	w.refused(login("", "auth/approle/login", role, again), 403, "permission denied")
}

// Whoever has no token cannot fill the store with events: logins that fail are
// on record one by one up to a rate, then as counts (D6).
func TestFailedLoginsAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *issuer.Config) { c.DeniedPerSecond = 1 })
	w.ok(w.do("POST", "sys/auth/approle", `{"type":"approle"}`), 204)
	began := time.Now()
	const all = 100
	for range all {
		w.ok(w.as("", "PUT", "auth/approle/login", `{"role_id":"x","secret_id":"y"}`), 400)
	}
	most := int(time.Since(began)/time.Second) + 2
	single := 0
	for _, e := range w.events(event.RequestServed) {
		if e.Data.Path == "auth/approle/login" {
			single++
		}
	}
	if single == 0 || single > most {
		t.Errorf("%d of %d failed logins are events of their own, want at most %d", single, all, most)
	}
	w.run()
	eventually(t, "the others are counted", func() bool {
		n := 0
		for _, e := range w.events(event.RequestDenied) {
			n += e.Data.Count
		}
		return n == all-single
	})
}

// What a crash leaves of a disabling is taken up within moments: the tokens that
// the method gave are valid until then (A3).
func TestDisablingIsFinished(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run() // not what a start does
	w.ok(w.do("POST", "sys/auth/approle", `{"type":"approle"}`), 204)
	w.ok(w.do("POST", "auth/approle/role/app", `{"bind_secret_id":false,"token_bound_cidrs":"127.0.0.1","secret_id_bound_cidrs":"127.0.0.1"}`), 204)
	role := w.ok(w.do("GET", "auth/approle/role/app/role-id", ""), 200).envelope(t).Data["role_id"].(string)
	token := w.ok(w.as("", "PUT", "auth/approle/login", `{"role_id":"`+role+`"}`), 200).envelope(t).Auth.ClientToken
	w.ok(w.as(token, "GET", "auth/token/lookup-self", ""), 200)
	m, err := w.fake.Entry(t.Context(), store.KindAuth, "approle/")
	must(t, err)
	_, err = w.fake.Write(t.Context(), store.Write{Withdrawals: []store.Ref{{Kind: m.Kind, ID: m.ID}}}) // and no further
	must(t, err)
	eventually(t, "the token is revoked", func() bool { return w.as(token, "GET", "auth/token/lookup-self", "").code == 403 })
}
