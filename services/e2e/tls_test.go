//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/testkit"
)

// TestTLS: a connection works where TLS can be verified as it says, and is
// refused with a 4xx that names TLS where it cannot: when it is written, and
// when it was written unverified, at the first credential.
func TestTLS(t *testing.T) {
	t.Parallel()
	s := newCurfew(t)
	c := newBao(t, s)
	must(t, c.mount("database", "database"), "enable the engine")
	only := testkit.Postgres(t, testkit.HostSSLOnly())
	elsewhere := testkit.Postgres(t, testkit.WithTLS("127.0.0.1")) // and reached as localhost
	without := testkit.Postgres(t)
	right, wrong := pem(t, only.CAFile()), pem(t, only.OtherCAFile())
	for i, test := range []struct {
		name    string
		cluster *testkit.Cluster
		query   string
		ca      string
		works   bool
	}{
		{"verify-full, right CA", only, "sslmode=verify-full", right, true},
		{"verify-full, right CA as a file", only, "sslmode=verify-full&sslrootcert=" + only.CAFile(), "", true},
		{"verify-full is the default with a CA", only, "", right, true},
		{"require", only, "sslmode=require", "", true},
		{"verify-full, wrong CA", only, "sslmode=verify-full", wrong, false},
		{"verify-full, wrong CA as a file", only, "sslmode=verify-full&sslrootcert=" + only.OtherCAFile(), "", false},
		{"verify-ca, wrong CA", only, "sslmode=verify-ca", wrong, false},
		{"require, wrong CA", only, "sslmode=require", wrong, false},
		{"verify-full, no CA", only, "sslmode=verify-full", "", false},
		{"plaintext to hostssl", only, "sslmode=disable", "", false},
		{"verify-full, wrong host", elsewhere, "sslmode=verify-full", pem(t, elsewhere.CAFile()), false},
		{"verify-ca, wrong host", elsewhere, "sslmode=verify-ca", pem(t, elsewhere.CAFile()), true},
		{"verify-full, server without TLS", without, "sslmode=verify-full", right, false},
		{"require, server without TLS", without, "sslmode=require", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := fmt.Sprint("tls", i)
			host := "127.0.0.1"
			if test.cluster == elsewhere {
				host = "localhost"
			}
			target := targetOf(t, test.cluster, testkit.CreateRoleAdmin)
			fields := map[string]any{
				"plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "username": target.admin, "password": target.password,
				"connection_url": fmt.Sprintf("postgresql://{{username}}:{{password}}@%s:%d/%s?%s", host, target.Port(), target.database, test.query),
			}
			if test.ca != "" {
				fields["tls_ca"] = test.ca
			}
			path := "/v1/database/config/" + name
			r := s.mustSend(t, http.MethodPut, path, plain(fields))
			judge(t, r, test.works)
			if !test.works {
				if r := s.mustSend(t, http.MethodGet, path, ""); r.status != http.StatusNotFound {
					t.Errorf("a refused connection was stored: %d %s", r.status, r.body)
				}
				fields["verify_connection"] = false
				if r := s.mustSend(t, http.MethodPut, path, plain(fields)); r.status/100 != 2 {
					t.Fatalf("write without verification: %d %s", r.status, r.body)
				}
			}
			_, err := c.write("database/roles/"+name, map[string]any{"db_name": name, "creation_statements": s1Creation})
			must(t, err, "write the role")
			r = s.mustSend(t, http.MethodGet, "/v1/database/creds/"+name, "")
			judge(t, r, test.works)
			must(t, c.revokePrefix("database/creds/"+name, true), "revoke")
			must(t, c.remove("database/config/"+name), "delete the connection")
		})
	}
}

// judge checks an answer that TLS decides about.
func judge(tb testing.TB, r *reply, works bool) {
	tb.Helper()
	switch {
	case works && r.status/100 != 2:
		tb.Errorf("refused: %d %s", r.status, r.body)
	case !works && (r.status/100 != 4 || !strings.Contains(strings.Join(r.errors(), " "), "TLS")):
		tb.Errorf("the answer is no 4xx that names TLS: %d %s", r.status, r.body)
	}
}
