package issuer_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/lease"
)

// Law: whatever a holder of a valid token sends, it is answered in JSON or with
// no body, never with a 500, and no account is in the target without a lease.
func FuzzHandler(f *testing.F) {
	for _, seed := range [][3]string{
		{"GET", "/v1/database/creds/readonly", ""},
		{"PUT", "/v1/sys/leases/renew", `{"lease_id":"x","increment":"1h"}`},
		{"POST", "/v1/sys/mounts/db2", `{"type":"database","config":{"max_lease_ttl":"1h"}}`},
		{"POST", "/v1/sys/mounts/db2/tune", `{"default_lease_ttl":"1h"}`},
		{"DELETE", "/v1/sys/mounts/database", ""},
		{"GET", "/v1/sys/mounts?list=true", ""},
		{"PUT", "/v1/sys/leases/revoke-prefix/database", `{"sync":false}`},
		{"PUT", "/v1/sys/leases/revoke-force/database", ""},
		{"POST", "/v1/auth/token/create", `{"policies":"a,b","ttl":300,"meta":{"a":"b"}}`},
		{"POST", "/v1/auth/token/revoke-self", `null`},
		{"LIST", "/v1/sys/leases/lookup/", ""},
		{"GET", "/v1/sys/leases?type=irrevocable", ""},
		{"GET", "/v1/sys/internal/ui/mounts/database/creds/x", ""},
		{"PATCH", "/v1/database/roles/x", `{}`},
		{"GET", "/v1/sys/health?sealedcode=299", ""},
		{"GET", "/v1/sys/mounts//tune", ""},
		{"PUT", "/v1/sys/leases/revoke", `{"lease_id":["x"]}`},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, method, target, body string) {
		if len(method) == 0 || strings.ContainsFunc(method, func(r rune) bool { return r < 'A' || r > 'Z' }) || !strings.HasPrefix(target, "/v1/") {
			return
		}
		q := httptest.NewRequest("GET", "/v1/", strings.NewReader(body))
		u, err := q.URL.Parse(target)
		if err != nil || !strings.HasPrefix(u.Path, "/v1/") {
			return
		}
		q.Method, q.URL = method, u
		w := newWorld(t)
		q.Header.Set("X-Vault-Token", w.root)
		got := httptest.NewRecorder()
		w.issuer.Handler().ServeHTTP(got, q)
		text := got.Body.String()
		if got.Code >= 500 || text != "" && !json.Valid([]byte(text)) {
			t.Fatalf("%s %s: %d %s\n%s", method, target, got.Code, text, w.logs)
		}
		for _, name := range w.probe.Names() {
			found := false
			for _, l := range w.leases(lease.Active, lease.Revoking) {
				found = found || l.Account == name
			}
			if !found {
				t.Fatalf("%s %s: account %s has no lease", method, target, name)
			}
		}
	})
}
