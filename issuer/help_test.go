package issuer_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/event"
)

// explained is the text of a path's help.
func (w *world) explained(r response) string {
	w.t.Helper()
	w.ok(r, 200)
	var body map[string]any
	must(w.t, json.Unmarshal([]byte(r.body), &body))
	text, ok := body["help"].(string)
	see, there := body["see_also"]
	if api, has := body["openapi"]; !ok || !there || see != nil || !has || api != nil || len(body) != 3 {
		w.t.Fatalf("help %s", r.body)
	}
	return text
}

// A path is explained in the shape of stock servers, and nothing is done.
func TestPathHelp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *issuer.Config) {
		c.Mounted = map[string]http.Handler{"/v1/audit/": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(299) })}
	})
	w.ok(w.do("POST", "sys/auth/approle", `{"type":"approle"}`), 204)
	c := w.creds()
	for path, want := range map[string]string{
		"sys/leases/revoke/" + c.LeaseID: "Matches:  sys/leases/revoke/<path>",
		"sys/leases/preview/x":           "What a revocation of all leases below a path would take.",
		"sys/mounts/database/tune":       "Matches:  sys/mounts/<path>/tune",
		"sys/mounts/auth/approle":        "A mount of an auth method",
		"sys/wrapping/unwrap":            "What was wrapped, once.",
		"sys/renew":                      "An older name of sys/leases/renew.",
		"sys/health":                     "Whether this process can serve.",
		"sys":                            "    sys/leases/revoke-prefix/<path>\n        The end of all leases below a path.\n",
		"auth/token":                     "    auth/token/lookup-self\n        The caller's token.\n",
		"auth/token/create":              "A new token, a child of the caller's.",
		"database":                       "    creds/<path>\n        A credential, and its lease.\n",
		"database/":                      "Credentials of a target that is a model.",
		"database/creds/readonly":        "Matches:  creds/<path>",
		"auth/approle":                   "    role/<name>/role-id\n        The setting role_id of a role.\n",
		"auth/approle/login":             "A token for a role id and a secret id.",
		"auth/approle/role/x":            "Matches:  role/<name>",
		"audit/entries":                  "Served by another role of the installation.",
	} {
		text := w.explained(w.do("GET", path+"?help=1", ""))
		if !strings.Contains(text, want) || !strings.HasPrefix(text, "Path:     "+strings.TrimSuffix(path, "/")+"\n") || !strings.HasSuffix(text, ".\n") {
			t.Errorf("%s: %s", path, text)
		}
	}
	for _, path := range []string{"sys/none", "auth/token/none", "database/none", "auth/approle/none", "auth/approle/role/x/none"} {
		w.refused(w.do("GET", path+"?help=1", ""), 404, "1 error occurred:\n\t* unsupported path\n\n")
	}
	w.refused(w.do("GET", "none/x?help=1", ""), 404, `no handler for route "none/x". route entry not found.`)
	if n := len(w.leases()); n != 1 {
		t.Errorf("%d leases after asking for help", n)
	}
	// It is asked for by GET alone; elsewhere "help" is nothing special.
	w.ok(w.do("PUT", "sys/leases/revoke/"+c.LeaseID+"?help=1", `{"sync":false}`), 202)
	helped := 0
	for _, e := range w.events(event.RequestServed) {
		if e.Data.Operation == "help" {
			helped++
		}
	}
	if helped != 23 {
		t.Errorf("%d requests for help are on record, want 23", helped)
	}
}

// What the server has is explained to every token; what is mounted only to who
// may do something there. To others a mount is like none.
func TestPathHelpOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mount("team/db/")
	w.ok(w.do("POST", "sys/auth/approle", `{"type":"approle"}`), 204)
	nobody := w.holder(rule("nothing", "read"))
	app := w.holder(rule("database/creds/readonly", "read"))
	beside := w.holder(rule("team/x", "read"))
	denied := w.holder(rule("*", "read") + rule("database/*", "deny"))
	login := w.holder(rule("auth/approle/role/+/secret-id", "update"))
	for _, path := range []string{"sys/leases/revoke-force/x", "auth/token/accessors", "sys"} {
		w.explained(w.as(nobody, "GET", path+"?help=1", ""))
	}
	for token, paths := range map[string][]string{
		nobody: {"database", "database/creds/readonly", "database/none", "none", "none/x", "auth/approle", "auth/approle/role/x", "auth/none"},
		app:    {"team/db", "team/none", "auth/approle"},
		beside: {"team/db", "team/db/creds/x", "team/none", "database"},
		denied: {"database/creds/readonly", "database/none"},
		login:  {"database", "auth/none"},
	} {
		for _, path := range paths {
			w.refused(w.as(token, "GET", path+"?help=1", ""), 403, lacks)
		}
	}
	w.explained(w.as(app, "GET", "database?help=1", ""))
	w.explained(w.as(app, "GET", "database/config/x?help=1", ""))
	w.explained(w.as(denied, "GET", "team/db/creds/x?help=1", ""))
	w.explained(w.as(login, "GET", "auth/approle/role/x?help=1", ""))
	w.ok(w.as(beside, "GET", "team/x?help=1", ""), 404)
	for _, path := range []string{"sys", "sys/health", "sys/leases/renew", "sys/wrapping/lookup", "database", "none", "auth/approle/login"} {
		w.refused(w.as("", "GET", path+"?help=1", ""), 403, "permission denied")
		w.refused(w.as("hvs.none", "GET", path+"?help=1", ""), 403, "permission denied")
	}
	w.ok(w.as("", "GET", "sys/health?help=", ""), 200)
}
