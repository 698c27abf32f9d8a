package issuer_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

func (w *world) self(token string) map[string]any {
	w.t.Helper()
	return w.ok(w.as(token, "GET", "auth/token/lookup-self", ""), 200).envelope(w.t).Data
}

func TestTokenCreate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		name, body string
		want       string // duration, renewable, orphan, policies, display name, warning
	}{
		{
			"stock CLI", `{"policies":["app-readonly"],"ttl":"0s","explicit_max_ttl":"0s","period":"0s","display_name":"app-A","num_uses":0,"renewable":true,"type":"service","entity_alias":""}`,
			"2764800 true false [app-readonly default] token-app-A Policy \"app-readonly\" does not exist",
		},
		{"times", `{"policies":["a"],"ttl":"10m0s","explicit_max_ttl":"20m0s"}`, "600 true false [a default] token "},
		{
			"explicit maximum below the ttl", `{"policies":["a"],"ttl":"1h","explicit_max_ttl":"20m"}`,
			`1200 true false [a default] token TTL of "1h" exceeded the effective max_ttl of "20m"; TTL value is capped accordingly (capped by: token)`,
		},
		{
			"above the system", `{"policies":["a"],"ttl":"9999h"}`,
			`2764800 true false [a default] token TTL of "9999h" exceeded the effective max_ttl of "768h"; TTL value is capped accordingly (capped by: system)`,
		},
		{"periodic orphan", `{"policies":["a"],"period":"5m","no_parent":true}`, "300 true true [a default] token "},
		{"not renewable", `{"policies":["a"],"ttl":"5m","renewable":false}`, "300 false false [a default] token "},
		{"strings", `{"policies":"b,a","ttl":"300","renewable":"false","no_default_policy":"true"}`, `300 false false [a b] token Policy "b" does not exist`},
		{"as its parent", `{}`, "0 false false [root] token "},
	} {
		e := w.token(c.body)
		got := fmt.Sprint(e.Auth.LeaseDuration, e.Auth.Renewable, e.Auth.Orphan, " ", e.Auth.Policies, " ",
			w.self(e.Auth.ClientToken)["display_name"], " ", strings.Join(e.Warnings, "|"))
		if got = strings.ReplaceAll(got, "  ", " "); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
	for body, want := range map[string]string{
		`{"type":"batch"}`:            `token type "batch" is not supported: use service`,
		`{"num_uses":-3}`:             `error converting input for field "num_uses": "-3" is not a whole number of zero or more`,
		`{"entity_alias":"me"}`:       "entity_alias is not supported: leave it empty",
		`{"id":"mine"}`:               "id is not supported: leave it empty",
		`{"ttl":"banana"}`:            `error converting input for field "ttl": time: invalid duration "banana"`,
		`{"meta":{"a":["b"]}}`:        `error converting input for field "meta": the value of "a" is not a string`,
		`{"policies":{"a":1}}`:        `error converting input for field "policies": expected a list of strings`,
		`{"ttl":"9999999999999999d"}`: `error converting input for field "ttl": duration "9999999999999999d" is above a hundred years`,
		`{"explicit_max_ttl":"-1h"}`:  `error converting input for field "explicit_max_ttl": duration "-1h" is negative`,
		`{"renewable":"perhaps"}`:     `error converting input for field "renewable": "perhaps" is neither true nor false`,
	} {
		w.refused(w.do("POST", "auth/token/create", body), 400, want)
	}
	child := w.token(`{"policies":["a"],"ttl":"1h"}`).Auth.ClientToken
	w.refused(w.as(child, "POST", "auth/token/create", `{"policies":["root"]}`), 400, "root tokens may not be created without parent token being root")
	w.refused(w.as(child, "POST", "auth/token/create", `{"policies":["b"]}`), 400, "child policies must be subset of parent")
}

func TestTokenLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.token(`{"policies":["a"],"ttl":"10m","explicit_max_ttl":"20m","meta":{"team":"x"}}`).Auth
	w.clock.Advance(5 * time.Minute)
	if got := w.self(made.ClientToken); got["ttl"] != 300.0 || got["explicit_max_ttl"] != 1200.0 || fmt.Sprint(got["meta"]) != "map[team:x]" || got["id"] != made.ClientToken {
		t.Fatalf("lookup-self: %v", got)
	}
	byAccessor := w.ok(w.do("POST", "auth/token/lookup-accessor", `{"accessor":"`+made.Accessor+`"}`), 200).envelope(t).Data
	if byAccessor["id"] != "" || byAccessor["accessor"] != made.Accessor {
		t.Fatalf("lookup-accessor: %v", byAccessor)
	}
	renew := w.ok(w.as(made.ClientToken, "PUT", "auth/token/renew-self", `{"increment":0}`), 200).envelope(t)
	if renew.Auth.LeaseDuration != 600 || renew.Auth.ClientToken != made.ClientToken || renew.LeaseID != "" {
		t.Fatalf("renew-self: %+v", renew)
	}
	w.clock.Advance(9 * time.Minute)
	capped := w.ok(w.do("PUT", "auth/token/renew", `{"token":"`+made.ClientToken+`","increment":"1h"}`), 200).envelope(t)
	if capped.Auth.LeaseDuration != 360 || strings.Join(capped.Warnings, "") != `TTL of "1h" exceeded the effective max_ttl of "6m"; TTL value is capped accordingly (capped by: token)` {
		t.Fatalf("renew: %+v", capped)
	}
	w.clock.Advance(6 * time.Minute)
	w.ok(w.as(made.ClientToken, "GET", "auth/token/lookup-self", ""), 403)
	w.refused(w.do("PUT", "auth/token/renew", `{"token":"`+made.ClientToken+`"}`), 403, "bad token")

	periodic := w.token(`{"policies":["a"],"period":"1h"}`).Auth.ClientToken
	for range 1000 { // far beyond the system's maximum
		w.clock.Advance(59 * time.Minute)
		if got := w.ok(w.as(periodic, "PUT", "auth/token/renew-self", `{"increment":60}`), 200).envelope(t); got.Auth.LeaseDuration != 3600 {
			t.Fatalf("periodic renew: %+v", got)
		}
	}
}

// A token's end is the mark that everything which names it sees (A3).
func TestTokenEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, end := range []struct{ as, path, body string }{
		{"root", "auth/token/revoke", `{"token":"%s"}`},
		{"root", "auth/token/revoke-accessor", `{"accessor":"%s"}`},
		{"self", "auth/token/revoke-self", ``},
	} {
		made := w.token(`{"policies":["a"],"ttl":"1h"}`).Auth
		child := w.ok(w.as(made.ClientToken, "POST", "auth/token/create", `{"ttl":"30m"}`), 200).envelope(t).Auth
		c := w.ok(w.as(child.ClientToken, "GET", "database/creds/readonly", ""), 200).envelope(t)
		as, body := w.root, end.body
		switch {
		case end.as == "self":
			as = made.ClientToken
		case strings.Contains(body, "token"):
			body = fmt.Sprintf(body, made.ClientToken)
		default:
			body = fmt.Sprintf(body, made.Accessor)
		}
		w.ok(w.as(as, "PUT", end.path, body), 204)
		w.refused(w.as(made.ClientToken, "GET", "database/creds/readonly", ""), 403, "permission denied")
		for range 4 { // token, its child, the child's lease
			w.work(t.Context())
		}
		w.refused(w.as(child.ClientToken, "GET", "database/creds/readonly", ""), 403, "permission denied")
		if l := w.lease(c.LeaseID); l.State != lease.Revoked {
			t.Fatalf("%s: the lease of a child is %s", end.path, l.State)
		}
	}
	w.ok(w.do("PUT", "auth/token/revoke", `{"token":"hvs.long-gone"}`), 204)
	w.refused(w.do("PUT", "auth/token/revoke-accessor", `{"accessor":"nobody"}`), 403, "invalid accessor")
}

// Nothing in the store, the events or the log tells a token.
func TestTokenIsNowhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.token(`{"ttl":"1h"}`).Auth.ClientToken
	w.as(made, "GET", "database/creds/readonly", "")
	w.as(made, "POST", "auth/token/revoke/"+made, "")
	w.as(made, "GET", "auth/token/lookup/"+made, "")
	w.as("hvs.somebody-elses-token", "GET", "database/creds/readonly", "")
	all, err := w.fake.Find(t.Context(), store.Query{Kind: lease.Token, Prefix: "auth/"})
	must(t, err)
	seen := fmt.Sprintf("%+v %+v %s", all, w.events(event.RequestServed, event.RequestDenied, event.TokenCreated), w.logs)
	for _, token := range []string{made, w.root, "somebody-elses-token"} {
		if strings.Contains(seen, strings.TrimPrefix(token, "hvs.")) {
			t.Errorf("a token is in: %s", seen)
		}
	}
}

func TestRootToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	by := lease.System("system:test")
	for range 2 { // an existing one is kept
		got, err := w.issuer.RootToken(t.Context(), secret.New("dev-root"), by)
		must(t, err)
		if got.Reveal() != "dev-root" {
			t.Fatalf("root token %q", got.Reveal())
		}
	}
	w.clock.Advance(100_000 * time.Hour)
	if got := w.self("dev-root"); got["path"] != "auth/token/root" || got["ttl"] != 0.0 || got["expire_time"] != nil {
		t.Fatalf("lookup-self: %v", got)
	}
	w.ok(w.as("dev-root", "POST", "auth/token/revoke-self", ""), 204)
	if _, err := w.issuer.RootToken(t.Context(), secret.New("dev-root"), by); err == nil {
		t.Fatal("a revoked root token came back")
	}
}

// rotated derives from a new master key and the old one.
type rotated struct{ *seal }

func (rotated) Derive(purpose string) ([]byte, error) { return []byte("new key of " + purpose), nil }

func (r rotated) DeriveEach(purpose string) ([][]byte, error) {
	current, _ := r.Derive(purpose)
	old, _ := r.seal.Derive(purpose)
	return [][]byte{current, old}, nil
}

// Tokens survive a change of the master key; new ones go by the new key.
func TestTokensSurviveRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := w.token(`{"ttl":"1h"}`).Auth.ClientToken
	i, err := issuer.New(issuer.Deps{
		Store: w.store, Engines: []engine.Engine{w.engine}, Seal: w.seal, Keys: rotated{w.seal}, Sealer: w.seal,
		Clock: clock.System{}, Log: zerolog.New(w.logs),
	}, issuer.Config{})
	must(t, err)
	w.server.Config.Handler = i.Handler()
	w.self(w.root)
	w.self(old)
	w.self(w.token(`{"ttl":"1h"}`).Auth.ClientToken)
	w.ok(w.as("hvs.unknown", "GET", "auth/token/lookup-self", ""), 403)
}

// A store that does not answer lets nobody in, and a creation whose commit is
// not known answers no token.
func TestTokensWhenTheStoreFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for done, status := range map[bool]int{false: 500, true: 503} { // 503: nobody knows, and asking again is right
		w.store.Break(storetest.Fault{Method: "Get", Done: done})
		w.ok(w.do("GET", "database/creds/readonly", ""), status)
		w.store.Break(storetest.Fault{Method: "Apply", Nth: 1, Done: done})
		w.ok(w.do("POST", "auth/token/create", `{"ttl":"1h"}`), status)
	}
	w.store.Break()
	live, err := w.fake.Find(context.Background(), store.Query{Prefix: "auth/", States: []lease.State{lease.Active}})
	must(t, err)
	if len(live) != 0 {
		t.Fatalf("%d tokens that nobody has are valid", len(live))
	}
}
