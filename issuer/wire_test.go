package issuer_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/issuer"
)

// The texts and statuses that stock clients were recorded with.
func TestErrorsAsRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	listed := func(s string) string { return `{"errors":["1 error occurred:\n\t* ` + s + `\n\n"]}` }
	one := func(s string) string { return `{"errors":["` + s + `"]}` }
	for _, c := range []struct {
		method, path, body string
		token              string // "-": none
		code               int
		want               string
	}{
		{method: "GET", path: "nosuch/creds/x", code: 404, want: one(`no handler for route \"nosuch/creds/x\". route entry not found.`)},
		{method: "PUT", path: "nosuch/creds/x", body: `{"a":"b"}`, code: 404, want: one(`no handler for route \"nosuch/creds/x\". route entry not found.`)},
		{method: "GET", path: "nosuch/x?list=true", code: 404, want: one(`no handler for route \"nosuch/x/\". route entry not found.`)},
		{method: "LIST", path: "nosuch/x", code: 404, want: one(`no handler for route \"nosuch/x/\". route entry not found.`)},
		{method: "DELETE", path: "nosuch/x", code: 404, want: one(`no handler for route \"nosuch/x\". route entry not found.`)},
		{method: "GET", path: "database/nonsense/x", code: 404, want: listed("unsupported path")},
		{method: "GET", path: "sys/nonsense", code: 404, want: listed("unsupported path")},
		{method: "POST", path: "sys/renew", body: `{"lease_id":"x"}`, code: 400, want: one("lease not found")},
		{method: "GET", path: "database/creds/nosuch", code: 400, want: one("unknown role: nosuch")},
		{method: "DELETE", path: "sys/leases/renew", code: 405, want: listed("unsupported operation")},
		{method: "PATCH", path: "database/creds/readonly", code: 400, want: one("mime: no media type")},
		{method: "HEAD", path: "database/creds/readonly", code: 405},
		{method: "GET", path: "database/roles?list=true", code: 404, want: `{"errors":[]}`},
		{method: "GET", path: "database/creds/readonly", token: "-", code: 403, want: one("permission denied")},
		{method: "GET", path: "database/creds/readonly", token: "hvs.bad", code: 403, want: one("permission denied")},
		{method: "POST", path: "auth/token/lookup", body: `{"token":"hvs.nonsense"}`, code: 403, want: one("bad token")},
		{method: "PUT", path: "database/roles/x", body: `{bad`, code: 400, want: one("failed to decode JSON input: invalid character 'b'")},
		{method: "PUT", path: "database/roles/x", body: `[1]`, code: 400, want: one("failed to decode JSON input: json: cannot unmarshal array into Go value of type map[string]interface {}")},
		{method: "PUT", path: "database/roles/x", body: `{} {}`, code: 400, want: one("failed to decode JSON input: data after the first value")},
		{method: "PUT", path: "database/roles/x", body: `{"a":"` + strings.Repeat("x", 1<<20) + `"}`, code: 413, want: one("failed to decode JSON input: http: request body too large")},
		{method: "PUT", path: "sys/leases/lookup", body: `{}`, code: 400, want: one("lease_id must be specified")},
		{method: "PUT", path: "sys/leases/lookup", body: `{"lease_id":"database/creds/readonly/none"}`, code: 400, want: one("invalid lease")},
		{method: "PUT", path: "sys/leases/renew", body: `{}`, code: 400, want: one("lease_id must be specified")},
		{method: "PUT", path: "sys/leases/renew", body: `{"lease_id":"database/creds/readonly/none"}`, code: 400, want: one("lease not found")},
		{method: "PUT", path: "sys/leases/revoke", body: `{}`, code: 400, want: one("lease_id must be specified")},
		{method: "PUT", path: "sys/leases/revoke", body: `{"lease_id":"database/creds/readonly/none"}`, code: 204},
		{method: "PUT", path: "sys/leases/revoke", body: `{"lease_id":"database/creds/readonly/none","sync":true}`, code: 204},
		{method: "PUT", path: "sys/leases/revoke/database/creds/readonly/none", body: `{"sync":false}`, code: 202},
		{method: "PUT", path: "sys/leases/revoke-prefix/database/creds/none", body: `{"sync":false}`, code: 202},
		{method: "GET", path: "sys/leases/count?type=all", code: 404, want: `{"errors":[]}`},
		{method: "GET", path: "sys/leases/lookup/database/creds/none?list=true", code: 404, want: `{"errors":[]}`},
		{method: "POST", path: "sys/mounts/aws", body: `{"type":"aws"}`, code: 400, want: one("plugin not found in the catalog: aws")},
		{method: "POST", path: "sys/mounts/database", body: `{"type":"database"}`, code: 400, want: one("path is already in use at database/")},
		{method: "POST", path: "sys/mounts/db9", body: `{"type":"database","config":{"max_lease_ttl":"banana"}}`, code: 400, want: one(`error converting input for field \"max_lease_ttl\": time: invalid duration \"banana\"`)},
		{method: "GET", path: "database/../sys/mounts", code: 400, want: one(`the path has an element \"..\"`)},
		{method: "GET", path: "database%2fcreds%2Fnone", code: 400, want: one("unknown role: none")},
		{method: "GET", path: "database%2F..%2Fsys%2fmounts", code: 400, want: one(`the path has an element \"..\"`)},
		{method: "GET", path: "database%2F%2Fcreds", code: 400, want: one("the path has an empty element")},
		{method: "GET", path: "database%5Ccreds", code: 400, want: one("the path has a control character or a backslash")},
		{method: "GET", path: "database%252Fcreds%252Freadonly", code: 404, want: one(`no handler for route \"database%2Fcreds%2Freadonly\". route entry not found.`)},
		{method: "GET", path: "database/creds/a%00b", code: 400, want: one("the path has a control character or a backslash")},
		{method: "GET", path: "database//creds", code: 400, want: one("the path has an empty element")},
	} {
		token := w.root
		switch c.token {
		case "":
		case "-":
			token = ""
		default:
			token = c.token
		}
		got := w.as(token, c.method, c.path, c.body)
		want := c.want
		if want != "" {
			want += "\n"
		}
		if got.code != c.code || got.body != want {
			t.Errorf("%s %s %.40s: %d %q, want %d %q", c.method, c.path, c.body, got.code, got.body, c.code, want)
		}
		if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: headers %v", c.method, c.path, got.header)
		}
	}
}

func TestEnvelopeAsRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	uuid := `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`
	token := w.token(`{"ttl":"5m","policies":["a<b"]}`).Auth.ClientToken
	for _, c := range []struct {
		method, path, body string
		want               string
	}{
		{"GET", "database/creds/readonly", "", `{"request_id":"` + uuid + `","lease_id":"database/creds/readonly/[0-9A-Za-z]{24}","renewable":true,"lease_duration":3600,"data":{"password":"[0-9A-Za-z]+","username":"v-fake-readonly-[0-9A-Za-z]{24}"},"wrap_info":null,"warnings":null,"auth":null}`},
		{"GET", "sys/leases/count?type=irrevocable", "", `{"request_id":"` + uuid + `","lease_id":"","renewable":false,"lease_duration":0,"data":{"counts":{},"lease_count":0},"wrap_info":null,"warnings":null,"auth":null}`},
		{"GET", "sys/leases?type=irrevocable", "", `{"request_id":"` + uuid + `","lease_id":"","renewable":false,"lease_duration":0,"data":{"lease_count":0,"leases":\[\]},"wrap_info":null,"warnings":null,"auth":null}`},
		{"POST", "auth/token/create", `{"policies":["default"],"ttl":"5m0s","explicit_max_ttl":"0s","period":"0s","display_name":"","num_uses":0,"renewable":true,"type":"service","entity_alias":""}`, `{"request_id":"` + uuid + `","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":null,"warnings":null,"auth":{"client_token":"hvs\.[0-9A-Za-z]{92}","accessor":"[0-9A-Za-z]{24}","policies":\["default"\],"token_policies":\["default"\],"metadata":null,"lease_duration":300,"renewable":true,"entity_id":"","token_type":"service","orphan":false,"mfa_requirement":null,"num_uses":0}}`},
		{"GET", "auth/token/lookup-self", "", `{"request_id":"` + uuid + `","lease_id":"","renewable":false,"lease_duration":0,"data":{"accessor":"[0-9A-Za-z]{24}","creation_time":\d+,"creation_ttl":0,"display_name":"root","entity_id":"","expire_time":null,"explicit_max_ttl":0,"id":"hvs\.[0-9A-Za-z]{92}","meta":null,"num_uses":0,"orphan":true,"path":"auth/token/root","policies":\["root"\],"ttl":0,"type":"service"},"wrap_info":null,"warnings":null,"auth":null}`},
		{"POST", "auth/token/lookup", `{"token":"` + token + `"}`, `{"request_id":"` + uuid + `","lease_id":"","renewable":false,"lease_duration":0,"data":{"accessor":"[0-9A-Za-z]{24}","creation_time":\d+,"creation_ttl":300,"display_name":"token","entity_id":"","expire_time":"2030-01-02T03:09:05Z","explicit_max_ttl":0,"id":"hvs\.[0-9A-Za-z]{92}","issue_time":"2030-01-02T03:04:05Z","meta":null,"num_uses":0,"orphan":false,"path":"auth/token/create","policies":\["a<b","default"\],"renewable":true,"ttl":300,"type":"service"},"wrap_info":null,"warnings":null,"auth":null}`},
		{"GET", "sys/mounts?list=True", "", `{"request_id":"` + uuid + `","lease_id":"","renewable":false,"lease_duration":0,"data":{"keys":\["database/","sys/"\]},"wrap_info":null,"warnings":null,"auth":null}`},
		{"GET", "sys/internal/ui/mounts/database/creds/readonly", "", `{"request_id":"` + uuid + `","lease_id":"","renewable":false,"lease_duration":0,"data":{"accessor":"database_[0-9a-f]{8}","config":{"default_lease_ttl":2764800,"force_no_cache":false,"max_lease_ttl":2764800},"description":"","external_entropy_access":false,"local":false,"options":null,"path":"database/","plugin_version":"","running_plugin_version":"v1.2.3\+builtin.curfew","running_sha256":"","seal_wrap":false,"type":"database","uuid":"[^"]+"},"wrap_info":null,"warnings":null,"auth":null}`},
	} {
		got := w.ok(w.do(c.method, c.path, c.body), 200)
		if !regexp.MustCompile("^" + c.want + "\n$").MatchString(got.body) {
			t.Errorf("%s %s:\n got %s\nwant %s", c.method, c.path, got.body, c.want)
		}
	}
}

// Stock clients read mounts both from the top level and from data.
func TestMountsAreDoubled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body := w.ok(w.do("GET", "sys/mounts", ""), 200).body
	shape := `{"accessor":"database_[0-9a-f]{8}","config":{"default_lease_ttl":0,"force_no_cache":false,"max_lease_ttl":0},"description":"","external_entropy_access":false,"local":false,"options":null,"plugin_version":"","running_plugin_version":"[^"]+","running_sha256":"","seal_wrap":false,"type":"database","uuid":"[^"]+"}`
	want := regexp.MustCompile(`^{"database/":` + shape + `,"sys/":{.*},"request_id":"[^"]+","lease_id":"","renewable":false,"lease_duration":0,"data":{"database/":` + shape + `,"sys/":{.*}},"wrap_info":null,"warnings":null,"auth":null}` + "\n$")
	if !want.MatchString(body) {
		t.Fatalf("sys/mounts: %s", body)
	}
}

func TestBodiesThatSayNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, body := range []string{"", "null", "{}", " "} {
		w.ok(w.do("POST", "auth/token/renew-self", body), 400) // the root token is not renewable: it was understood
		w.ok(w.do("PUT", "database/config/x", body), 204)
	}
	form := http.Header{"X-Vault-Token": {w.root}, "Content-Type": {"application/x-www-form-urlencoded"}}
	w.ok(w.send("POST", "database/config/x", "", form), 204)
	w.ok(w.send("POST", "database/config/x", `{"a":1}`, form), 204)
}

func TestTokenHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, h := range []http.Header{
		{"X-Vault-Token": {w.root}},
		{"Authorization": {"Bearer " + w.root}},
		{"Authorization": {"bearer " + w.root}},
		{"X-Vault-Token": {w.root}, "X-Vault-Namespace": {"root/"}},
		{"X-Vault-Token": {w.root}, "X-Vault-Namespace": {""}, "X-Vault-Wrap-Ttl": {"0s"}},
	} {
		w.ok(w.send("GET", "auth/token/lookup-self", "", h), 200)
	}
	w.ok(w.send("GET", "auth/token/lookup-self", "", http.Header{"Authorization": {"Basic " + w.root}}), 403)
	w.refused(w.send("GET", "database/creds/readonly", "", http.Header{"X-Vault-Token": {w.root}, "X-Vault-Namespace": {"team"}}),
		400, "namespaces are not supported: leave X-Vault-Namespace empty")
	for ttl, text := range map[string]string{
		"soon": `X-Vault-Wrap-TTL: "soon" is no duration such as 60s`,
		"-1s":  `X-Vault-Wrap-TTL: "-1s" is no duration such as 60s`,
		"769h": "the wrapping TTL 769h0m0s is above the system's max_lease_ttl of 768h0m0s",
	} {
		w.refused(w.wrapped(w.root, "GET", "database/creds/readonly", "", ttl), 400, text)
	}
	if n := len(w.leases()); n != 0 {
		t.Fatalf("%d leases were issued to requests that were refused", n)
	}
}

func TestOpenPaths(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	open := func(method, path string) response { return w.as("", method, path, "") }
	status := func(initialized, sealed bool) {
		w.seal.set(func(s *issuer.SealStatus) { s.Initialized, s.Sealed = initialized, sealed })
	}
	const tail = `"server_time_utc":\d+,"version":"1.2.3"`
	for _, c := range []struct {
		initialized, sealed bool
		path                string
		code                int
		want                string
	}{
		{true, false, "sys/health", 200, `{"initialized":true,"sealed":false,"standby":false,"replication_performance_mode":"disabled","replication_dr_mode":"disabled",` + tail + `,"cluster_name":"curfew","cluster_id":"6315a266-0021-c10a-e55a-784f32f63b7f"}`},
		{false, true, "sys/health", 501, `{"initialized":false,"sealed":true,"standby":true,"replication_performance_mode":"unknown","replication_dr_mode":"unknown",` + tail + `}`},
		{true, true, "sys/health", 503, `{"initialized":true,"sealed":true,"standby":true,"replication_performance_mode":"unknown","replication_dr_mode":"unknown",` + tail + `}`},
		{true, true, "sys/health?sealedcode=299&uninitcode=298", 299, `{"initialized":true.*`},
		{false, true, "sys/health?sealedcode=299&uninitcode=298", 298, `{"initialized":false.*`},
		{true, false, "sys/health?activecode=banana", 400, `{"errors":\["bad value for activecode: want an HTTP status"\]}`},
		{true, false, "sys/health?drsecondarycode=299&standbyok=true", 200, `{"initialized":true.*`},
		{true, false, "sys/seal-status", 200, `{"type":"file","initialized":true,"sealed":false,"t":1,"n":1,"progress":0,"nonce":"","recovery_seal":true,"version":"1.2.3","commit_date":"","migration":false,"cluster_name":"curfew","cluster_id":"6315a266-0021-c10a-e55a-784f32f63b7f","storage_type":"sqlite"}`},
		{true, true, "sys/seal-status", 200, `{"type":"file","initialized":true,"sealed":true,"t":1,"n":1,"progress":0,"nonce":"","recovery_seal":true,"version":"1.2.3","commit_date":"","migration":false,"storage_type":"sqlite"}`},
		{true, false, "sys/leader", 200, `{"ha_enabled":false,"is_self":false,"leader_address":"","leader_cluster_address":""}`},
		{true, true, "sys/leader", 503, `{"errors":\["Vault is sealed"\]}`},
		{false, true, "sys/init", 200, `{"initialized":false}`},
		{true, true, "database/creds/readonly", 503, `{"errors":\["Vault is sealed"\]}`},
	} {
		status(c.initialized, c.sealed)
		got := open("GET", c.path)
		if got.code != c.code || !regexp.MustCompile("^"+c.want+"\n$").MatchString(got.body) {
			t.Errorf("%s: %d %s, want %d %s", c.path, got.code, got.body, c.code, c.want)
		}
		if head := open("HEAD", c.path); strings.HasPrefix(c.path, "sys/") && (head.code != c.code || head.body != "") {
			t.Errorf("HEAD %s: %d %q", c.path, head.code, head.body)
		}
	}
	status(true, false)
	w.refused(open("PUT", "sys/init"), 400, "Vault is already initialized")
	status(false, true)
	if got := w.ok(open("PUT", "sys/init"), 200).body; got != `{"keys":[],"keys_base64":[],"root_token":"hvs.made-by-init"}`+"\n" {
		t.Errorf("sys/init: %s", got)
	}
	w.ok(open("DELETE", "sys/health"), 405)
}
