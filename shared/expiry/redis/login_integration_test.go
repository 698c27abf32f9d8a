//go:build integration

package redis

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/curfew-project/curfew/shared/testkit"
)

// The connection is by TLS, to a server that the authority vouches for, and to
// no other.
func TestTLS(t *testing.T) {
	t.Parallel()
	r := testkit.Redis(t, testkit.WithRedisTLS())
	x := fresh(t, Config{Addresses: []string{r.TLSAddress()}, TLS: &tls.Config{RootCAs: r.Authority()}, DB: 3})
	offer(t, x, member("a", 1, 10))
	if c := claim(t, x, "a", 10, 10); len(c.Members) != 1 {
		t.Errorf("claimed %v", c.Members)
	}
	wantLen(t, opened(t, Config{Addresses: []string{r.Address()}, Prefix: x.prefix, DB: 3}), 1)
	stranger := fresh(t, Config{Addresses: []string{r.TLSAddress()}, TLS: &tls.Config{RootCAs: x509.NewCertPool()}})
	if err := stranger.Offer(t.Context(), member("a", 1, 10)); err == nil {
		t.Error("a server that nobody vouches for is believed")
	}
}

// A password that changed in its file is that of the next connection.
func TestPasswordChanges(t *testing.T) {
	t.Parallel()
	r := testkit.Redis(t)
	a := admin(t, r.Address())
	do(t, a, "ACL SETUSER curfew on >first "+ACL("test"))
	path := file(t, "first")
	x := fresh(t, Config{Addresses: []string{r.Address()}, Username: "curfew", PasswordFile: path})
	offer(t, x, member("a", 1, 10))
	do(t, a, "ACL SETUSER curfew <first >second")
	do(t, a, "CLIENT KILL USER curfew")
	if err := x.Offer(t.Context(), member("a", 2, 10)); !goredis.HasErrorPrefix(err, "WRONGPASS") {
		t.Errorf("with the old password: %v", err)
	}
	if err := os.WriteFile(path, []byte("second\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new password is not used", func() bool { return x.Offer(t.Context(), member("a", 3, 10)) == nil })
	wantLen(t, x, 2)
}
