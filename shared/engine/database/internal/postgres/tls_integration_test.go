//go:build integration

package postgres_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/testkit"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	strict := testkit.Postgres(t, testkit.HostSSLOnly())
	plain := testkit.SharedPostgres(t)
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	right, wrong := read(strict.CAFile()), read(strict.OtherCAFile())
	admin := strict.CreateAdmin(t, testkit.SuperuserAdmin)
	lax := plain.CreateAdmin(t, testkit.SuperuserAdmin)
	url := func(c *testkit.Cluster, a *testkit.Admin, host, query string) string {
		return fmt.Sprintf("postgresql://{{username}}:{{password}}@%s:%d/%s%s", host, c.Port(), a.Database, query)
	}
	elsewhere := testkit.Postgres(t, testkit.WithTLS("127.0.0.1"))
	abroad := elsewhere.CreateAdmin(t, testkit.SuperuserAdmin)
	tests := []struct {
		name  string
		url   string
		ca    string
		admin *testkit.Admin
		want  string // "" works
	}{
		{"verify-full", url(strict, admin, "127.0.0.1", "?sslmode=verify-full"), right, admin, ""},
		{"verify-full by name", url(strict, admin, "localhost", "?sslmode=verify-full"), right, admin, ""},
		{"a CA alone means verify-full", url(strict, admin, "127.0.0.1", ""), right, admin, ""},
		{"verify-ca", url(strict, admin, "127.0.0.1", "?sslmode=verify-ca"), right, admin, ""},
		{"require", url(strict, admin, "127.0.0.1", "?sslmode=require"), "", admin, ""},
		{"keywords", fmt.Sprintf("host=127.0.0.1 port=%d user={{username}} password={{password}} dbname=%s sslmode=verify-full",
			strict.Port(), admin.Database), right, admin, ""},
		{"CA in a file", url(strict, admin, "127.0.0.1", "?sslmode=verify-full&sslrootcert="+strict.CAFile()), "", admin, ""},
		{"wrong CA", url(strict, admin, "127.0.0.1", "?sslmode=verify-full"), wrong, admin, "not signed by a trusted CA"},
		{"wrong CA, verify-ca", url(strict, admin, "127.0.0.1", "?sslmode=verify-ca"), wrong, admin, "not signed by a trusted CA"},
		{"wrong CA, require", url(strict, admin, "127.0.0.1", "?sslmode=require"), wrong, admin, "not signed by a trusted CA"},
		{"no CA", url(strict, admin, "127.0.0.1", "?sslmode=verify-full"), "", admin, "not signed by a trusted CA"},
		{"plaintext to hostssl", url(strict, admin, "127.0.0.1", "?sslmode=disable"), "", admin, "only encrypted connections"},
		{"no TLS at the server", url(plain, lax, "127.0.0.1", "?sslmode=require"), "", lax, "does not offer TLS"},
		{"wrong host, CA of others", url(elsewhere, abroad, "localhost", "?sslmode=verify-full"), read(elsewhere.CAFile()), abroad, "not for this host"},
		{"wrong host, verify-ca", url(elsewhere, abroad, "localhost", "?sslmode=verify-ca"), read(elsewhere.CAFile()), abroad, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := settle(t, tt.admin, func(s *postgres.Settings) { s.URL, s.TLS.CA = tt.url, tt.ca })
			_, err := w.Verify(t.Context())
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			kind(t, err, engine.Refused, "TLS", tt.want)
		})
	}
}
