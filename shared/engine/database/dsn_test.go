package database

import (
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, text, user, password string }{
		{
			in:   "postgresql://{{username}}:{{password}}@127.0.0.1:5432/postgres?sslmode=disable",
			text: "postgresql://{{username}}:{{password}}@127.0.0.1:5432/postgres?sslmode=disable",
		},
		{
			in:   "postgres://{{ username }}:{{password }}@a:1,b:2/db?target_session_attrs=any",
			text: "postgres://{{username}}:{{password}}@a:1,b:2/db?target_session_attrs=any",
		},
		{
			in:   "postgres://root:p%40ss@h/db",
			text: "postgres://{{username}}:{{password}}@h/db", user: "root", password: "p@ss",
		},
		{
			in:   "postgres://root@h/db?password=a%20b%2B+&sslmode=require&user=root",
			text: "postgres://{{username}}:{{password}}@h/db?sslmode=require", user: "root", password: "a b++",
		},
		{in: "postgres:///db?host=/run/pg", text: "postgres://{{username}}:{{password}}@/db?host=/run/pg"},
		{
			in:   `host=h port=5 user=root password='it\'s a \\ secret' sslmode = require`,
			text: "host=h port=5 sslmode=require user={{username}} password={{password}}", user: "root", password: `it's a \ secret`,
		},
		{
			in:   "host='a b' user={{username}} password={{password}} dbname=x",
			text: "host='a b' dbname=x user={{username}} password={{password}}",
		},
	} {
		a, err := parseAddress(c.in)
		if err != nil || a.text != c.text || a.username != c.user || a.password.Reveal() != c.password {
			t.Errorf("%s: %q %q %q %v", c.in, a.text, a.username, a.password.Reveal(), err)
		}
		again, err := parseAddress(a.text)
		if err != nil || again.text != a.text || again.username != "" || !again.password.Empty() {
			t.Errorf("%s: read again: %q %v", c.in, again.text, err)
		}
	}
}

func TestAddressesRefused(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "nonsense", "mysql://h/db", "mysql://h/db?a=s3cr3t", "postgres://u:s3cr3t/x@h/db", "postgres://u:s3cr3t#@h/db",
		"postgres://u:%zzs3cr3t@h/db", "postgres://u:s3cr3t@h/db?password=other", "postgres://h/db?sslpassword=s3cr3t",
		"postgres://x{{username}}:s3cr3t@h/db", "host=h password='s3cr3t", "host=h sslpassword=s3cr3t", "host=h =s3cr3t",
		`host=h password=s3cr3t\`, "host=h password=s3cr3t password=other", "postgres://u:s3cr3t@ho st/db",
	} {
		a, err := parseAddress(in)
		if err == nil {
			t.Errorf("%s: taken as %q", in, a.text)
		} else if strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: the error tells the password", in)
		}
	}
}

// Whatever an address spells out is gone from what is stored, and is what the
// driver would have used.
func TestCredentialsLeaveTheAddress(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		user := "u" + rapid.StringMatching(`[a-zA-Z0-9 @:/?#%&='\\é-]{0,12}`).Draw(t, "user")
		password := "secret-" + rapid.StringMatching(`[a-zA-Z0-9 @:/?#%&='\\é{}-]{0,20}`).Draw(t, "password")
		escape := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
		quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
		for _, in := range []string{
			"postgres://" + url.UserPassword(user, password).String() + "@h:5/db?sslmode=disable",
			"postgres://h:5/db?sslmode=disable&" + "user=" + escape(user) + "&password=" + escape(password),
			"host=h port=5 sslmode=disable user='" + quote.Replace(user) + "' password='" + quote.Replace(password) + "'",
		} {
			a, err := parseAddress(in)
			if err != nil {
				t.Fatalf("%s: %v", in, err)
			}
			if strings.Contains(a.text, "secret") {
				t.Fatalf("%s: stored as %q", in, a.text)
			}
			want, err := pgconn.ParseConfig(in)
			if err != nil {
				t.Skip("the driver refuses it")
			}
			if a.username != want.User || a.password.Reveal() != want.Password {
				t.Fatalf("%s: %q %q, the driver reads %q %q", in, a.username, a.password.Reveal(), want.User, want.Password)
			}
		}
	})
}

func FuzzAddress(f *testing.F) {
	f.Add("postgres://u:p@h/db?password=x")
	f.Add("host=h password='a b'")
	f.Fuzz(func(t *testing.T, in string) {
		a, err := parseAddress(in)
		if err != nil {
			return
		}
		if again, err := parseAddress(a.text); err != nil || again.username != "" || !again.password.Empty() {
			t.Errorf("%q: what is stored, %q, still holds credentials (%v)", in, a.text, err)
		}
	})
}
