package issuer_test

import (
	"fmt"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
)

// The fields, shapes and refusals of sys/quotas are those of stock servers.
func TestQuotaEntries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, kind := range []struct{ path, good, changed string }{
		{"sys/quotas/rate-limit", `{"rate":"5","path":"database/","interval":"1m","block_interval":"10"}`, `{"rate":2000.5}`},
		{"sys/quotas/lease-count", `{"max_leases":"5","path":"database/"}`, `{"max_leases":2}`},
	} {
		w.ok(w.do("GET", kind.path+"?list=true", ""), 404)
		w.ok(w.do("GET", kind.path+"/q", ""), 404)
		w.ok(w.do("POST", kind.path+"/q", kind.good), 204)
		got := w.ok(w.do("GET", kind.path+"/q", ""), 200).envelope(t).Data
		if got["path"] != "database/" || got["name"] != "q" || got["type"] != strings.TrimPrefix(kind.path, "sys/quotas/") || got["role"] != "" {
			t.Errorf("%s: %v", kind.path, got)
		}
		if kind.path == "sys/quotas/rate-limit" && fmt.Sprint(got["rate"], got["interval"], got["block_interval"]) != "5 60 10" {
			t.Errorf("the rate limit is %v", got)
		}
		if kind.path == "sys/quotas/lease-count" && fmt.Sprint(got["max_leases"], got["counter"]) != "5 0" {
			t.Errorf("the lease count is %v", got)
		}
		w.refused(w.do("POST", kind.path+"/other", kind.good), 400, `quota rule with similar properties exists under the name "q"`)
		w.ok(w.do("PUT", kind.path+"/q", kind.changed), 204) // everything, under the same name
		if got := w.ok(w.do("GET", kind.path+"/q", ""), 200).envelope(t).Data; got["path"] != "" {
			t.Errorf("%s was changed to %v", kind.path, got)
		}
		w.ok(w.do("POST", kind.path+"/other", kind.good), 204)
		if got := w.ok(w.do("LIST", kind.path, ""), 200).envelope(t).Data; fmt.Sprint(got["keys"]) != "[other q]" {
			t.Errorf("listed are %v", got)
		}
		for _, name := range []string{"q", "other", "other"} { // the second time there is none
			w.ok(w.do("DELETE", kind.path+"/"+name, ""), 204)
		}
		w.ok(w.do("LIST", kind.path, ""), 404)
		for body, want := range map[string]string{
			`{"rate":"1","max_leases":1,"role":"r"}`:                           "by login role",
			`{"rate":"1","max_leases":1,"path":"nosuch/"}`:                     "invalid mount path",
			`{"rate":"1","max_leases":1,"path":"database/*/x"}`:                "patterns are not supported",
			`{"rate":"0","max_leases":0}`:                                      "is invalid",
			`{"rate":"-1","max_leases":"-1"}`:                                  "",
			`{"rate":"NaN","max_leases":"x"}`:                                  "",
			`{"rate":"1","interval":"1ms","max_leases":"","path":"database/"}`: "is invalid",
		} {
			r := w.ok(w.do("POST", kind.path+"/bad", body), 400)
			if !strings.Contains(r.body, want) {
				t.Errorf("%s %s: %s", kind.path, body, r.body)
			}
		}
		w.ok(w.do("POST", kind.path+"/-", kind.good), 400)
	}
	if n := len(w.events(event.ConfigChanged)); n < 12 {
		t.Errorf("%d changes are on record", n)
	}
}

// A rate is for each path of the longest quota, with the headers that clients go
// by; it is recorded as a count; and what takes access away passes.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pipeline()
	lease := w.creds().LeaseID
	w.ok(w.do("POST", "sys/quotas/rate-limit/db", `{"rate":2,"interval":"1h","path":"database"}`), 204)
	for range 2 {
		if r := w.ok(w.do("GET", "database/creds/readonly", ""), 200); r.header.Get("X-RateLimit-Limit") != "" {
			t.Errorf("headers without being asked for: %v", r.header)
		}
	}
	r := w.do("GET", "database/creds/readonly", "")
	w.refused(r, 429, `request path "database/creds/readonly": rate limit quota exceeded`)
	wait, err := strconv.Atoi(r.header.Get("Retry-After"))
	if err != nil || wait < 1700 || wait > 1800 || r.header.Get("X-RateLimit-Limit") != "2" || r.header.Get("X-RateLimit-Remaining") != "0" ||
		r.header.Get("X-RateLimit-Reset") != r.header.Get("Retry-After") {
		t.Errorf("the headers are %v", r.header)
	}
	w.as("hvs.none", "GET", "database/creds/readonly", "") // who has no token is limited before it is looked for
	w.ok(w.as("hvs.none", "GET", "database/creds/readonly", ""), 429)
	w.ok(w.do("GET", "sys/mounts", ""), 200)
	w.ok(w.do("GET", "database-2/creds/readonly", ""), 404)

	// Everything, and nobody gets in: but access is taken away.
	w.ok(w.do("POST", "sys/quotas/rate-limit/all", `{"rate":0.001,"interval":"1h","block_interval":"1h"}`), 204)
	w.do("GET", "sys/mounts", "")
	w.ok(w.do("GET", "sys/mounts", ""), 429)
	w.ok(w.do("PUT", "sys/leases/revoke", `{"lease_id":"`+lease+`","sync":true}`), 204)
	w.ok(w.do("GET", "sys/health", ""), 200)
	w.ok(w.do("POST", "auth/token/revoke-self", ""), 204)
}

// Paths may be exempt; answers say how much is left where that was asked for.
func TestQuotaConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok(w.do("POST", "sys/quotas/config", `{"enable_rate_limit_response_headers":"true","rate_limit_exempt_paths":["/sys/quotas/*"]}`), 204)
	got := w.ok(w.do("GET", "sys/quotas/config", ""), 200).envelope(t).Data
	if got["enable_rate_limit_response_headers"] != true || fmt.Sprint(got["rate_limit_exempt_paths"]) != "[sys/quotas/*]" {
		t.Errorf("the settings are %v", got)
	}
	w.ok(w.do("POST", "sys/quotas/config", `{"enable_rate_limit_audit_logging":false}`), 400)
	w.ok(w.do("POST", "sys/quotas/rate-limit/all", `{"rate":2,"interval":"1h"}`), 204)
	if r := w.ok(w.do("GET", "sys/mounts", ""), 200); r.header.Get("X-RateLimit-Remaining") != "1" {
		t.Errorf("the headers are %v", r.header)
	}
	w.do("GET", "sys/mounts", "")
	w.ok(w.do("GET", "sys/mounts", ""), 429)
	w.ok(w.do("DELETE", "sys/quotas/rate-limit/all", ""), 204) // exempt: a way out
	w.ok(w.do("GET", "sys/mounts", ""), 200)
}

// A lease count refuses before the target hears of it, holds over issuers that
// race, counts logins too, and what ends makes room.
func TestLeaseCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pipeline()
	other := w.another()
	w.ok(w.do("POST", "sys/quotas/lease-count/db", `{"max_leases":10,"path":"database"}`), 204)
	var wg sync.WaitGroup
	var made, refused atomic.Int64
	for n := range 40 {
		wg.Go(func() {
			ask := w
			if n%2 == 0 {
				ask = other
			}
			switch r := ask.do("GET", "database/creds/readonly", ""); r.code {
			case 200:
				made.Add(1)
			case 429:
				refused.Add(1)
				if !strings.Contains(r.body, `request path \"database/creds/readonly\": lease count quota exceeded`) || r.header.Get("Retry-After") != "1" {
					t.Errorf("refused by %s %v", r.body, r.header)
				}
			default:
				t.Errorf("%d %s", r.code, r.body)
			}
		})
	}
	wg.Wait()
	if made.Load() != 10 || refused.Load() != 30 || len(w.probe.Names()) != 10 {
		t.Errorf("%d were issued, %d refused, the target has %d accounts; the quota is 10", made.Load(), refused.Load(), len(w.probe.Names()))
	}
	counter := func() string {
		return fmt.Sprint(w.ok(w.do("GET", "sys/quotas/lease-count/db", ""), 200).envelope(t).Data["counter"])
	}
	if counter() != "10" {
		t.Errorf("the counter is %s", counter())
	}
	w.ok(w.do("PUT", "sys/leases/revoke-prefix/database/creds", `{"sync":true}`), 204)
	if counter() != "0" {
		t.Errorf("after the revocation the counter is %s", counter())
	}
	w.creds()

	w.ok(w.do("POST", "sys/quotas/lease-count/tokens", `{"max_leases":1,"path":"auth/token"}`), 204)
	w.token(`{"ttl":"1h"}`)
	w.ok(w.do("POST", "auth/token/create", `{"ttl":"1h"}`), 429)
}

// another is a second issuer beside that of w.
func (w *world) another() *world {
	w.t.Helper()
	i, err := issuer.New(issuer.Deps{
		Store: w.store, Engines: []engine.Engine{w.engine}, Seal: w.seal, Keys: w.seal, Sealer: w.seal, Clock: clock.System{}, Log: zerolog.New(w.logs),
	}, issuer.Config{SyncWithin: hang})
	must(w.t, err)
	other := *w
	other.issuer, other.server = i, httptest.NewServer(i.Handler())
	w.t.Cleanup(other.server.Close)
	return &other
}
