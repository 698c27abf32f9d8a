package postgres

import (
	"context"
	"testing"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/secret"
)

type noPasswords struct{}

func (noPasswords) Passwords(context.Context) (current, pending secret.Value, err error) {
	return secret.New(""), secret.New(""), nil
}

func (noPasswords) Promote(context.Context, secret.Value) error { return nil }

// A user name is a value: nothing in it reaches the rest of the URL.
func TestNamesDoNotReachTheURL(t *testing.T) {
	t.Parallel()
	const odd = `o'dd:u@evil.example/x?sslmode=disable host=evil`
	for _, url := range []string{
		"postgres://{{username}}:{{password}}@db.example.com:5433/app?sslmode=require",
		"postgresql://{{ username }}:{{ password }}@db.example.com:5433/app?sslmode=require",
		"host=db.example.com port=5433 dbname=app user={{username}} password={{password}} sslmode=require",
		"host=db.example.com port=5433 dbname=app user='{{username}}' password='{{password}}' sslmode=require",
	} {
		s, err := Settings{URL: url, Username: odd}.complete()
		if err != nil {
			t.Fatal(err)
		}
		d, err := newDialer(s, url, noPasswords{}, clock.System{})
		if err != nil {
			t.Fatalf("%s: %v", url, err)
		}
		c := d.config
		if c.User != odd || c.Host != "db.example.com" || c.Port != 5433 || c.Database != "app" || c.TLSConfig == nil || c.Password != "" {
			t.Fatalf("%s: %s %s %d %s", url, c.User, c.Host, c.Port, c.Database)
		}
		if c.RuntimeParams["application_name"] != "curfew/curfew" || c.RuntimeParams["standard_conforming_strings"] != "on" {
			t.Fatalf("%v", c.RuntimeParams)
		}
	}
}

func TestSSLMode(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ url, ca, text, mode string }{
		{"postgres://h/d", "", "postgres://h/d?sslmode=prefer", "prefer"},
		{"postgres://h/d", "x", "postgres://h/d?sslmode=verify-full", "verify-full"},
		{"postgres://h/d?connect_timeout=3", "x", "postgres://h/d?connect_timeout=3&sslmode=verify-full", "verify-full"},
		{"postgres://h/d?a=b&sslmode=require#x", "", "postgres://h/d?a=b&sslmode=require#x", "require"},
		{"host=h", "x", "host=h sslmode=verify-full", "verify-full"},
		{"host=h sslmode = 'verify-ca'", "x", "host=h sslmode = 'verify-ca'", "verify-ca"},
	} {
		text, mode, err := sslMode(tt.url, TLS{CA: tt.ca})
		if err != nil || text != tt.text || mode != tt.mode {
			t.Errorf("%s: %s %s %v", tt.url, text, mode, err)
		}
	}
	for _, url := range []string{"postgres://h/d?sslmode=disable", "host=h sslmode=prefer", "postgres://h/d?sslmode=allow"} {
		if _, _, err := sslMode(url, TLS{CA: "x"}); err == nil {
			t.Errorf("%s: a CA that nobody asks", url)
		}
	}
}
