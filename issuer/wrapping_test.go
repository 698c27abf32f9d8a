package issuer_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

const notValid = "wrapping token is not valid or does not exist"

// wrap issues a credential in a wrapping token of a minute.
func (w *world) wrap() envelope {
	w.t.Helper()
	return w.ok(w.wrapped(w.root, "GET", "database/creds/readonly", "", "60s"), 200).envelope(w.t)
}

func tokenBody(token string) string { return `{"token":"` + token + `"}` }

// A9: an answer is in its wrapping token, is looked up without being used, and
// comes out once.
func TestWrap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ok(w.wrapped(w.root, "GET", "database/creds/readonly", "", "1m0s"), 200)
	e := r.envelope(t)
	info := e.WrapInfo
	if e.RequestID != "" || e.LeaseID != "" || e.Data != nil || info == nil || info.TTL != 60 || info.CreationPath != "database/creds/readonly" ||
		!strings.HasPrefix(info.Token, "hvs.") || len(info.Accessor) != 24 || !info.CreationTime.Equal(w.clock.Now()) {
		t.Fatalf("wrapped answer: %s", r.body)
	}
	if made := w.leases(lease.Active); len(made) != 1 || strings.Contains(r.body, made[0].Account) {
		t.Fatalf("%d leases; %s", len(made), r.body)
	}
	for range 2 { // by whoever, any number of times
		for _, look := range []response{
			w.do("PUT", "sys/wrapping/lookup", tokenBody(info.Token)),
			w.as(info.Token, "PUT", "sys/wrapping/lookup", ""),
			w.as(info.Token, "GET", "sys/wrapping/lookup", ""),
			w.as("", "PUT", "sys/wrapping/lookup", tokenBody(info.Token)),
		} {
			d := w.ok(look, 200).envelope(t).Data
			if d["creation_path"] != "database/creds/readonly" || d["creation_ttl"] != 60.0 || len(d) != 3 {
				t.Fatalf("look-up: %v", d)
			}
		}
	}
	w.clock.Advance(40 * time.Second)
	got := w.ok(w.do("PUT", "sys/wrapping/unwrap", tokenBody(info.Token)), 200).envelope(t)
	l := w.lease(got.LeaseID)
	if got.RequestID == "" || !got.Renewable || got.Data["username"] != l.Account || got.LeaseDuration != 3560 || got.WrapInfo != nil {
		t.Fatalf("unwrapped: %+v", got)
	}
	for _, path := range []string{"unwrap", "lookup", "rewrap"} {
		w.refused(w.do("PUT", "sys/wrapping/"+path, tokenBody(info.Token)), 400, notValid)
		w.refused(w.as(info.Token, "PUT", "sys/wrapping/"+path, ""), 400, notValid)
	}
	w.clock.Advance(time.Minute)
	w.work(t.Context())
	w.work(t.Context())
	if l := w.lease(got.LeaseID); l.State != lease.Active {
		t.Fatalf("what was opened is %s: %s", l.State, l.Revocation.Reason)
	}
}

// A9: what nobody opened goes with its wrapping token, however that ends.
func TestUnopenedWrap(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(w *world, wrap envelope){
		"it expires": func(w *world, _ envelope) { w.clock.Advance(time.Minute) },
		"it is revoked by its accessor": func(w *world, e envelope) {
			w.ok(w.do("PUT", "auth/token/revoke-accessor", `{"accessor":"`+e.WrapInfo.Accessor+`"}`), 204)
		},
		"it was rewrapped before": func(w *world, e envelope) {
			w.clock.Advance(50 * time.Second)
			w.ok(w.as(e.WrapInfo.Token, "PUT", "sys/wrapping/rewrap", ""), 200)
			w.clock.Advance(50 * time.Second)
			w.work(w.t.Context())
			if n := len(w.leases(lease.Active)); n != 1 {
				w.t.Errorf("%d leases are active while their wrapping token lives", n)
			}
			w.clock.Advance(10 * time.Second)
		},
	} {
		w := newWorld(t)
		e := w.wrap()
		account := w.leases(lease.Active)[0].Account
		end(w, e)
		for range 3 {
			w.work(t.Context())
		}
		if l := w.leases()[0]; l.State != lease.Revoked || w.exists(account) {
			t.Errorf("%s: the lease inside is %s", name, l.State)
		}
		w.refused(w.as(e.WrapInfo.Token, "PUT", "sys/wrapping/unwrap", ""), 400, notValid)
	}
}

// A9: of 1,000 that open one at the same time, one gets what is inside.
func TestOneUnwraps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.wrap().WrapInfo.Token
	var got, refused atomic.Int64
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			switch r := w.as(token, "PUT", "sys/wrapping/unwrap", ""); {
			case r.code == http.StatusOK && strings.Contains(r.body, `"password"`):
				got.Add(1)
			case r.code == http.StatusBadRequest && strings.Contains(r.body, notValid):
				refused.Add(1)
			default:
				t.Errorf("%d: %s", r.code, r.body)
			}
		})
	}
	all.Wait()
	if got.Load() != 1 || refused.Load() != 999 {
		t.Errorf("%d got it, %d were refused", got.Load(), refused.Load())
	}
}

// A9: rewrapping ends the former text and no other, and of many at the same time
// one wins.
func TestRewrap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.wrap().WrapInfo
	w.clock.Advance(30 * time.Second)
	var mu sync.Mutex
	var second []string
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if r := w.as(first.Token, "PUT", "sys/wrapping/rewrap", ""); r.code == http.StatusOK {
				mu.Lock()
				defer mu.Unlock()
				info := r.envelope(t).WrapInfo
				if info.TTL != 60 || info.CreationPath != first.CreationPath || !info.CreationTime.Equal(w.clock.Now()) {
					t.Errorf("rewrapped: %s", r.body)
				}
				second = append(second, info.Token)
			}
		})
	}
	all.Wait()
	if len(second) != 1 || second[0] == first.Token {
		t.Fatalf("%d got another text", len(second))
	}
	w.refused(w.as(first.Token, "PUT", "sys/wrapping/unwrap", ""), 400, notValid)
	w.clock.Advance(59 * time.Second)
	w.ok(w.as(second[0], "PUT", "sys/wrapping/unwrap", ""), 200)
}

// Any answer can be wrapped: data, tokens, what was sent; the token inside goes
// with a wrap that nobody opens. What has no body is answered as it is.
func TestWrapAnything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	opened := func(r response) envelope {
		t.Helper()
		return w.ok(w.as(w.ok(r, 200).envelope(t).WrapInfo.Token, "PUT", "sys/wrapping/unwrap", ""), 200).envelope(t)
	}
	if got := opened(w.wrapped(w.root, "PUT", "sys/wrapping/wrap", `{"a":1,"big":12345678901234567890}`, "5m")); got.Data["a"] != 1.0 {
		t.Errorf("sent: %v", got.Data)
	}
	w.refused(w.do("PUT", "sys/wrapping/wrap", `{"a":1}`), 400, "endpoint requires response wrapping to be used")
	if got := opened(w.wrapped(w.root, "GET", "sys/policies/acl/a", "", "60")); got.Data["name"] != "a" || got.Data["policy"] == nil {
		t.Errorf("a policy: %v", got.Data)
	}
	r := w.ok(w.wrapped(w.root, "POST", "auth/token/create", `{"policies":["a"],"ttl":"1h"}`, "60s"), 200).envelope(t)
	made := opened(w.wrapped(w.root, "POST", "auth/token/create", `{"policies":["a"],"ttl":"1h"}`, "60s"))
	if made.Auth == nil || r.WrapInfo.WrappedAccessor == "" {
		t.Fatalf("a token: %+v", made)
	}
	w.ok(w.as(made.Auth.ClientToken, "GET", "auth/token/lookup-self", ""), 200)
	w.ok(w.do("PUT", "auth/token/lookup-accessor", `{"accessor":"`+r.WrapInfo.WrappedAccessor+`"}`), 200)
	w.clock.Advance(time.Minute)
	w.work(t.Context())
	w.work(t.Context())
	w.ok(w.do("PUT", "auth/token/lookup-accessor", `{"accessor":"`+r.WrapInfo.WrappedAccessor+`"}`), 403)
	w.ok(w.as(made.Auth.ClientToken, "GET", "auth/token/lookup-self", ""), 200)
	w.ok(w.do("POST", "sys/auth/approle", `{"type":"approle"}`), 204)
	w.ok(w.do("PUT", "auth/approle/role/app", `{"token_policies":"a"}`), 204)
	r = w.ok(w.wrapped(w.root, "PUT", "auth/approle/role/app/secret-id", "null", "60s"), 200).envelope(t)
	w.ok(w.do("PUT", "auth/approle/role/app/secret-id-accessor/lookup", `{"secret_id_accessor":"`+r.WrapInfo.WrappedAccessor+`"}`), 200)
	w.ok(w.wrapped(w.root, "POST", "sys/mounts/other", `{"type":"database"}`, "60s"), 204)
	if r := w.ok(w.wrapped(w.root, "GET", "database/creds/nobody", "", "60s"), 400); strings.Contains(r.body, "wrap_info") {
		t.Errorf("an error is wrapped: %s", r.body)
	}
}

// A renewal that nobody opens does not end what was renewed.
func TestWrappedRenewalIssuesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.creds()
	w.ok(w.wrapped(w.root, "PUT", "sys/leases/renew", `{"lease_id":"`+c.LeaseID+`"}`, "60s"), 200)
	w.clock.Advance(2 * time.Minute)
	w.work(t.Context())
	w.work(t.Context())
	if l := w.lease(c.LeaseID); l.State != lease.Active {
		t.Errorf("it is %s", l.State)
	}
}

// A wrapping token is good for being opened, and for nothing else; one that is
// wrong in one letter is good for nothing.
func TestWrappingTokenIsNoToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.wrap().WrapInfo.Token
	for _, path := range []string{"auth/token/lookup-self", "database/creds/readonly", "sys/internal/ui/mounts", "sys/mounts"} {
		w.ok(w.as(token, "GET", path, ""), 403)
	}
	w.ok(w.as(token, "PUT", "auth/token/renew-self", ""), 403)
	w.ok(w.as(token, "PUT", "sys/wrapping/wrap", ""), 403)
	w.ok(w.as("", "PUT", "sys/wrapping/unwrap", ""), 403)
	w.ok(w.as("hvs.other", "PUT", "sys/wrapping/unwrap", tokenBody(token)), 403)
	w.refused(w.do("PUT", "sys/wrapping/unwrap", ""), 400, notValid)
	w.refused(w.do("PUT", "sys/wrapping/unwrap", tokenBody(w.root)), 400, notValid)
	for _, i := range []int{5, 27, 30, len(token) - 1} {
		wrong := []byte(token)
		wrong[i] ^= 1
		w.refused(w.as(string(wrong), "PUT", "sys/wrapping/unwrap", ""), 400, notValid)
	}
	// Who may not is refused, whatever the token is worth.
	poor := w.token(`{"policies":["nothing"],"no_default_policy":true,"ttl":"1h"}`).Auth.ClientToken
	w.ok(w.as(poor, "PUT", "sys/wrapping/unwrap", tokenBody(token)), 403)
	w.ok(w.as(token, "PUT", "sys/wrapping/unwrap", ""), 200)
}

// Policies bound how long an answer may be wrapped, and whether it has to be.
func TestWrappingTTLOfPolicies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy("wraps", `path "database/creds/readonly" { capabilities = ["read"] min_wrapping_ttl = "10s" max_wrapping_ttl = "60s" }`)
	token := w.token(`{"policies":["wraps"],"ttl":"1h"}`).Auth.ClientToken
	for ttl, want := range map[string]int{"": 403, "0": 403, "9s": 403, "10s": 200, "60s": 200, "61s": 403} {
		if r := w.wrapped(token, "GET", "database/creds/readonly", "", ttl); r.code != want {
			t.Errorf("%q: %d, want %d: %s", ttl, r.code, want, r.body)
		}
	}
}

// A10: the record says what was wrapped, opened and by whom, and nothing of what
// is inside is in it, in the log or in the store.
func TestWrapOnRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wrap := w.wrap().WrapInfo
	stored, err := json.Marshal(w.fake.Leases())
	must(t, err)
	got := w.ok(w.as(wrap.Token, "PUT", "sys/wrapping/unwrap", ""), 200).envelope(t)
	password := got.Data["password"].(string)
	var created, opened int
	for _, e := range w.events(event.TokenCreated, event.TokenRevoking, event.RequestServed) {
		text, err := json.Marshal(e)
		must(t, err)
		for _, secret := range []string{password, wrap.Token, wrap.Token[28:]} {
			if strings.Contains(string(text), secret) {
				t.Errorf("%s tells a secret", e.Type)
			}
		}
		if e.Data.Account != wrap.Accessor {
			continue
		}
		switch {
		case e.Type == event.TokenCreated && string(e.Data.Inside) == got.LeaseID && e.Data.Actor.Name != wrap.Accessor:
			created++
		case e.Type == event.TokenRevoking && e.Data.Opened && e.Data.Reason == lease.ReasonOpened && e.Data.Actor.Name == wrap.Accessor:
			opened++
		}
	}
	if created != 1 || opened != 1 {
		t.Errorf("%d events of its making, %d of its opening", created, opened)
	}
	for where, text := range map[string]string{"store": string(stored), "log": w.logs.String()} {
		for _, secret := range []string{password, wrap.Token, wrap.Token[28:]} {
			if strings.Contains(text, secret) {
				t.Errorf("the %s tells a secret", where)
			}
		}
	}
}

// A wrap that cannot be made takes back what was issued for it.
func TestWrapCannotBeMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.store.Break(storetest.Fault{Method: "Apply", Nth: 3}) // intent, activation, wrap
	w.ok(w.wrapped(w.root, "GET", "database/creds/readonly", "", "60s"), 500)
	w.store.Break()
	if got := w.leases(); len(got) != 1 || got[0].State != lease.Revoking {
		t.Fatalf("%+v", got)
	}
}
