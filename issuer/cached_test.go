package issuer_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// self is a path that every token may read, and that shows its token anew.
const self = "auth/token/lookup-self"

// mine is a path that a token with the policy a may read without a look at its
// token.
const mine = "sys/mounts"

// follows runs the world's issuer, and waits until its cache has heard from the
// store.
func (w *world) follows() {
	w.t.Helper()
	w.run()
	w.until("the cache has heard from the store", func() bool { return w.issuer.TokenCache().Known })
}

// until waits for what has to come true.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(hang); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("it never comes true that %s", what)
		}
	}
}

// cached asks with a token until an answer came from the cache.
func (w *world) cached(token string) {
	w.t.Helper()
	w.until("a look-up is answered from the cache", func() bool {
		before := w.issuer.TokenCache().Hits
		w.ok(w.as(token, "GET", mine, ""), 200)
		return w.issuer.TokenCache().Hits > before
	})
}

// D7: in the issuer that ends a token no request gets in after the answer, by
// whatever way the token ended; children neither.
func TestCachedTokenEndsAtOnce(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(w *world, parent, child envelope){
		"revoke": func(w *world, parent, _ envelope) {
			w.ok(w.do("POST", "auth/token/revoke", `{"token":"`+parent.Auth.ClientToken+`"}`), 204)
		},
		"revoke-self": func(w *world, parent, _ envelope) {
			w.ok(w.as(parent.Auth.ClientToken, "POST", "auth/token/revoke-self", ""), 204)
		},
		"revoke-accessor": func(w *world, parent, _ envelope) {
			w.ok(w.do("POST", "auth/token/revoke-accessor", `{"accessor":"`+parent.Auth.Accessor+`"}`), 204)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.policy("b", `path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }`)
			w.follows()
			parent := w.token(`{"policies":["b"]}`)
			child := w.ok(w.as(parent.Auth.ClientToken, "POST", "auth/token/create", `{"policies":["b"]}`), 200).envelope(t)
			for range 20 {
				w.cached(parent.Auth.ClientToken)
				w.cached(child.Auth.ClientToken)
			}
			end(w, parent, child)
			w.ok(w.as(parent.Auth.ClientToken, "GET", mine, ""), 403)
			w.ok(w.as(child.Auth.ClientToken, "GET", mine, ""), 403)
		})
	}
}

// D7: another issuer hears of it by itself.
func TestCachedTokenEndsElsewhere(t *testing.T) {
	t.Parallel()
	a := newWorld(t)
	b := a.another()
	a.follows()
	b.follows()
	token := a.token(`{"policies":["a"]}`)
	a.cached(token.Auth.ClientToken)
	b.cached(token.Auth.ClientToken)
	a.ok(a.as(token.Auth.ClientToken, "POST", "auth/token/revoke-self", ""), 204)
	a.ok(a.as(token.Auth.ClientToken, "GET", mine, ""), 403)
	b.until("the other issuer refuses the token", func() bool {
		return b.as(token.Auth.ClientToken, "GET", mine, "").code == 403
	})
}

// D7: what a token shows of itself is as it is now, wherever it was renewed.
func TestCachedTokenShowsItselfFresh(t *testing.T) {
	t.Parallel()
	a := newWorld(t)
	b := a.another()
	a.follows()
	b.follows()
	token := a.token(`{"policies":["a"],"ttl":"1h"}`)
	for range 20 {
		b.cached(token.Auth.ClientToken)
		a.clock.Advance(time.Second)
		a.ok(a.as(token.Auth.ClientToken, "POST", "auth/token/renew-self", `{"increment":"2h"}`), 200)
		var shown struct {
			Data struct {
				TTL int64 `json:"ttl"`
			} `json:"data"`
		}
		must(t, json.Unmarshal([]byte(b.ok(b.as(token.Auth.ClientToken, "GET", self, ""), 200).body), &shown))
		if shown.Data.TTL != 7200 {
			t.Fatalf("the other issuer shows a TTL of %d s, want 7200", shown.Data.TTL)
		}
	}
}

// A5: a token that has expired by the store's clock is refused, cached or not.
func TestCachedTokenExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.follows()
	token := w.token(`{"policies":["a"],"ttl":"10s"}`)
	w.cached(token.Auth.ClientToken)
	w.clock.Advance(10 * time.Second) // the store's clock jumps, and tells it with the next answer
	w.until("the token has expired", func() bool { return w.as(token.Auth.ClientToken, "GET", mine, "").code == 403 })
}

// A token of limited uses is never served from the cache: each request is one
// use, and there is none too many.
func TestLimitedTokenIsNotCached(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.follows()
	w.cached(w.root)
	token := w.token(`{"policies":["a"],"num_uses":3}`)
	for range 3 {
		w.ok(w.as(token.Auth.ClientToken, "GET", mine, ""), 200)
	}
	w.ok(w.as(token.Auth.ClientToken, "GET", mine, ""), 403)
}

// D7: without the store's word each request reads the store, and fails with it.
func TestCacheWithoutTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.follows()
	token := w.token(`{"policies":["a"]}`).Auth.ClientToken
	w.cached(token)
	w.store.Break(storetest.Fault{Method: "ChangedTokens"})
	w.until("the cache is not trusted", func() bool {
		before := w.issuer.TokenCache()
		w.ok(w.as(token, "GET", mine, ""), 200) // the store itself is well
		after := w.issuer.TokenCache()
		return after.Stale > before.Stale && after.Hits == before.Hits
	})
	// A token that ends now, past this issuer, is refused at once.
	l, err := w.fake.Find(t.Context(), store.Query{Prefix: "auth/token/create/", Limit: 1})
	must(t, err)
	must(t, w.fake.Apply(t.Context(), store.Transition{Change: lease.Change{
		ID: l[0].ID, Version: lease.AnyVersion, Key: "k", Do: lease.Revoke{},
	}})[0].Err)
	w.ok(w.as(token, "GET", mine, ""), 403)
	w.store.Break()
	w.cached(w.root)
	w.ok(w.as(token, "GET", mine, ""), 403)
}

// The cache can be switched off: then nothing is asked of the store beside what
// requests ask.
func TestCacheOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *issuer.Config) { c.CachedTokens = -1 })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.issuer.Run(ctx) }()
	for range 20 {
		w.ok(w.do("GET", mine, ""), 200)
	}
	cancel()
	must(t, <-done)
	if s := w.issuer.TokenCache(); !s.Off || s.Hits+s.Misses+s.Stale+s.Ending != 0 || w.store.Calls("ChangedTokens") != 0 {
		t.Errorf("it is off, and has %+v; the store was asked %d times", s, w.store.Calls("ChangedTokens"))
	}
}
