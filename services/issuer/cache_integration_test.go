//go:build integration

package main

import (
	"context"
	"encoding/json"
	"fmt"
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
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store/postgres"
	"github.com/curfew-project/curfew/shared/testkit"
)

// hang bounds what must happen some time; it decides nothing.
const hang = time.Minute

// one is an issuer of several, with a store of its own in one database.
type one struct {
	issuer *issuer.Issuer
	url    string
}

// oneOf starts an issuer that does its background work and hears of commits.
func oneOf(t *testing.T, cfg postgres.Config) *one {
	t.Helper()
	s, err := postgres.Open(t.Context(), clock.System{}, zerolog.Nop(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	i, err := issuer.New(issuer.Deps{Store: s, Seal: openSeal{}, Keys: openSeal{}, Sealer: noSealer{}, Clock: clock.System{}, Log: zerolog.Nop()}, issuer.Config{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(i.Handler())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- i.Run(ctx) }()
	go func() { ended <- s.Listen(ctx) }()
	t.Cleanup(func() {
		server.Close()
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Logf("what is left of an issuer whose store was cut off: %v", err)
			}
		}
		_ = s.Close()
	})
	return &one{i, server.URL + "/v1/"}
}

// do sends a request with a token.
func (o *one) do(t *testing.T, token, method, path, body string) (code int, answer struct {
	Auth struct {
		Token string `json:"client_token"`
	} `json:"auth"`
},
) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, o.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("X-Vault-Token", token)
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode == http.StatusOK {
		if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
	}
	return r.StatusCode, answer
}

// open is a path that every valid token may read.
const open = "sys/internal/ui/mounts"

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(hang); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never comes true that %s", what)
		}
	}
}

// cached asks until an answer came from the cache.
func (o *one) cached(t *testing.T, token string) {
	t.Helper()
	until(t, "a look-up is answered from the cache", func() bool {
		before := o.issuer.TokenCache().Hits
		if code, _ := o.do(t, token, "GET", open, ""); code != 200 {
			t.Fatalf("a valid token: %d", code)
		}
		return o.issuer.TokenCache().Hits > before
	})
}

// D7 over Postgres: a token that one issuer ends is refused by another, also by
// one that has lost its store meanwhile.
func TestTokenCacheOfTwoIssuers(t *testing.T) {
	t.Parallel()
	cluster := testkit.SharedDurablePostgres(t)
	cfg := postgres.Config{URL: secret.New(cluster.AdminURL("postgres")), Schema: "test_" + strings.ToLower(lease.RandomBase62(12))}
	a := oneOf(t, cfg)
	root, err := a.issuer.RootToken(t.Context(), secret.Value{}, lease.System("system:test"))
	if err != nil {
		t.Fatal(err)
	}
	proxy := testkit.NewProxy(t, fmt.Sprintf("%s:%d", cluster.Host(), cluster.Port()))
	u, err := url.Parse(cluster.AdminURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	u.Host = proxy.Address()
	through := cfg
	through.URL, through.Timeout = secret.New(u.String()), 2*time.Second
	b := oneOf(t, through)

	made := func() string {
		code, answer := a.do(t, root.Reveal(), "POST", "auth/token/create", `{"ttl":"1h"}`)
		if code != 200 {
			t.Fatalf("create: %d", code)
		}
		a.cached(t, answer.Auth.Token)
		b.cached(t, answer.Auth.Token)
		return answer.Auth.Token
	}
	revoked := func(token string) {
		if code, _ := a.do(t, token, "POST", "auth/token/revoke-self", ""); code != 204 {
			t.Fatalf("revoke: %d", code)
		}
		if code, _ := a.do(t, token, "GET", open, ""); code != 403 {
			t.Errorf("the issuer that ended the token answers %d", code)
		}
	}
	var took []time.Duration
	for range 20 {
		token := made()
		revoked(token)
		at := time.Now()
		until(t, "the other issuer refuses the token", func() bool {
			code, _ := b.do(t, token, "GET", open, "")
			return code == 403
		})
		took = append(took, time.Since(at))
	}
	slices.Sort(took)
	t.Logf("the other issuer refuses %s (median), %s (longest) after the answer", took[10], took[19])

	token := made()
	proxy.Down()
	until(t, "the issuer without a store does not trust what it has kept", func() bool {
		before := b.issuer.TokenCache()
		code, _ := b.do(t, token, "GET", open, "")
		after := b.issuer.TokenCache()
		return after.Stale > before.Stale && after.Hits == before.Hits && code != 200
	})
	revoked(token)
	proxy.Up()
	until(t, "the issuer that has its store again refuses the token", func() bool {
		code, _ := b.do(t, token, "GET", open, "")
		if code == 200 {
			t.Fatal("it serves a token that ended while it had no store")
		}
		return code == 403
	})
	b.cached(t, root.Reveal())
}
