package issuer_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

func TestBeyondTheAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for path, want := range map[string]string{"/": "404 page not found\n", "/v2/x": `{"errors":[]}` + "\n", "/v1/": `{"errors":[]}` + "\n"} {
		q, err := http.NewRequestWithContext(t.Context(), "GET", w.server.URL+path, nil)
		must(t, err)
		got, err := w.server.Client().Do(q)
		must(t, err)
		body, err := io.ReadAll(got.Body)
		must(t, err)
		must(t, got.Body.Close())
		if got.StatusCode != 404 || string(body) != want {
			t.Errorf("%s: %d %q", path, got.StatusCode, string(body))
		}
	}
}

// E: what is in flight is bounded, and taking access away has room of its own.
func TestInFlightIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *issuer.Config) { c.MaxInFlight = 1 })
	id := w.creds().LeaseID
	release, reached := make(chan struct{}), make(chan struct{}, 1)
	w.engine.Inject(enginetest.Fault{Method: enginetest.MethodCreate, Wait: release, Reached: reached, Times: 1})
	got := make(chan response)
	go func() { got <- w.do("GET", "database/creds/readonly", "") }()
	arrive(t, reached)
	r := w.ok(w.do("GET", "sys/mounts", ""), 503)
	if r.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
	}
	w.ok(w.do("GET", "sys/health", ""), 200)
	w.ok(w.do("PUT", "sys/leases/revoke/"+id, `{"sync":false}`), 202)
	close(release)
	w.ok(<-got, 200)
	w.ok(w.do("GET", "sys/mounts", ""), 200)
}

// panicking panics where a creation would happen, after it has.
type panicking struct{ *enginetest.Fake }

func (panicking) Type() string { return "panicking" }

func (panicking) Handle(_ context.Context, r *engine.Request) (*engine.Response, error) {
	panic("handle " + r.Path)
}

func TestPanics(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	i, err := issuer.New(issuer.Deps{
		Store: w.store, Engines: []engine.Engine{panicking{w.engine}}, Seal: w.seal, Keys: w.seal, Sealer: w.seal,
		Clock: clock.System{}, Log: zerolog.New(w.logs),
	}, issuer.Config{})
	must(t, err)
	w.server.Config.Handler = i.Handler()
	w.ok(w.do("POST", "sys/mounts/boom", `{"type":"panicking"}`), 204)
	got := w.ok(w.do("GET", "boom/secret-path", ""), 500)
	id := got.envelope(t).Errors[0]
	if !strings.HasPrefix(id, "internal error: see the server's log for request ") || strings.Contains(got.body, "panic") {
		t.Fatalf("errors %q", id)
	}
	if !strings.Contains(w.logs.String(), "panic: handle secret-path") {
		t.Fatal("the panic is not in the log")
	}
	w.ok(w.do("GET", "sys/mounts", ""), 200)
}

// Handlers of others are served to valid tokens only, and on record.
func TestMountedHandlers(t *testing.T) {
	t.Parallel()
	audit := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("audit " + r.URL.Path)) })
	deep := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("deep " + r.URL.Path)) })
	w := newWorld(t, func(c *issuer.Config) {
		c.Mounted = map[string]http.Handler{"/v1/audit/": audit, "/v1/audit/deep/": deep}
	})
	w.refused(w.as("hvs.bad", "GET", "audit/entries", ""), 403, "permission denied")
	if got := w.ok(w.do("GET", "audit/entries?lease=x", ""), 200).body; got != "audit /v1/audit/entries" {
		t.Errorf("body %q", got)
	}
	if got := w.ok(w.do("GET", "audit/deep/x", ""), 200).body; got != "deep /v1/audit/deep/x" {
		t.Errorf("body %q", got)
	}
	served := w.events(event.RequestServed)
	if last := served[len(served)-1]; last.Data.Path != "audit/deep/x" {
		t.Errorf("last request on record: %+v", last)
	}
	w.ok(w.do("POST", "sys/mounts/audit", `{"type":"database"}`), 400)
}

func TestMounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok(w.do("POST", "sys/mounts/db2", `{"type":"database","description":"second","config":{"options":null,"default_lease_ttl":"5m0s","max_lease_ttl":"10m0s","force_no_cache":false},"local":false,"seal_wrap":false,"external_entropy_access":false,"options":null}`), 204)
	tuned := func() map[string]any { return w.ok(w.do("GET", "sys/mounts/db2/tune", ""), 200).envelope(t).Data }
	if got := tuned(); got["default_lease_ttl"] != 300.0 || got["max_lease_ttl"] != 600.0 || got["description"] != "second" {
		t.Fatalf("tune: %v", got)
	}
	w.ok(w.do("POST", "sys/mounts/db2/tune", `{"options":null,"default_lease_ttl":"","max_lease_ttl":"20m0s","force_no_cache":false}`), 204)
	if got := tuned(); got["default_lease_ttl"] != 300.0 || got["max_lease_ttl"] != 1200.0 || got["description"] != "second" {
		t.Fatalf("tune: %v", got)
	}
	w.ok(w.do("POST", "sys/mounts/db2/tune", `{"max_lease_ttl":"1m"}`), 400)
	w.ok(w.do("POST", "sys/mounts/db2/tune", `{"max_lease_ttl":"system","default_lease_ttl":"system"}`), 204)
	if got := tuned(); got["default_lease_ttl"] != 2764800.0 || got["max_lease_ttl"] != 2764800.0 {
		t.Fatalf("tune: %v", got)
	}
	if got := w.ok(w.do("GET", "sys/mounts/db2", ""), 200).envelope(t).Data; got["type"] != "database" {
		t.Fatalf("mount: %v", got)
	}
	w.refused(w.do("GET", "sys/mounts/nosuch", ""), 400, "No secret engine mount at nosuch/")
	w.ok(w.do("GET", "sys/internal/ui/mounts/nosuch/x", ""), 403)
	for path, want := range map[string]string{
		"database/inner": "path is already in use at database/", "sys": "path is already in use at sys/",
		"sys/x": "path is already in use at sys/", "auth/y": "path is already in use at auth/",
	} {
		w.refused(w.do("POST", "sys/mounts/"+path, `{"type":"database"}`), 400, want)
	}
	w.mount("team/a/db/")
	w.refused(w.do("POST", "sys/mounts/team", `{"type":"database"}`), 400, "path is already in use at team/a/db/")
	w.ok(w.do("PUT", "team/a/db/config/x", `{"a":"b"}`), 204)
	w.ok(w.do("GET", "team/a/db/config/x", ""), 200)
	w.ok(w.do("GET", "team/a/other", ""), 404)
	w.ok(w.do("DELETE", "sys/mounts/sys", ""), 400)
	w.ok(w.do("DELETE", "sys/mounts/never-was", ""), 204)
}

// A2: a disabled mount serves nothing, its leases are revoked, its path can be
// used again.
func TestDisable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.creds()
	w.ok(w.do("DELETE", "sys/mounts/database", ""), 204)
	w.refused(w.do("GET", "database/creds/readonly", ""), 404, `no handler for route "database/creds/readonly". route entry not found.`)
	if l := w.lease(c.LeaseID); l.State != lease.Revoking || l.Revocation.Reason != "mount was disabled" || l.Revocation.By.DisplayName != "root" {
		t.Fatalf("lease is %s: %+v", l.State, l.Revocation)
	}
	kept, err := w.fake.List(t.Context(), store.KindMount, "", "", true, 0)
	must(t, err)
	if len(kept) != 1 {
		t.Fatalf("%d mounts are being disabled, want 1", len(kept))
	}
	w.mount("database/")
	w.ok(w.do("GET", "database/creds/readonly", ""), 400) // the new mount has no role
	w.pipeline()
	eventually(t, "the lease ends", func() bool { return w.lease(c.LeaseID).State == lease.Revoked })
}

// overtaken is a store in which somebody else is faster by one write.
type overtaken struct {
	*storetest.Faulty
	once sync.Once
	by   func()
}

func (o *overtaken) Write(ctx context.Context, w store.Write) ([]store.Entry, error) {
	o.once.Do(o.by)
	return o.Faulty.Write(ctx, w)
}

// No mount lies inside another, also where both were enabled at once.
func TestEnableConcurrently(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		first, second string
		code          int
		want          string
	}{
		{"a/b", "a", 400, `{"errors":["path is already in use at a/b/"]}` + "\n"},
		{"a", "a/b", 400, `{"errors":["path is already in use at a/"]}` + "\n"},
		{"a", "a", 400, `{"errors":["path is already in use at a/"]}` + "\n"},
		{"a", "b", 204, ""}, // not in each other's way: who lost tries again
	} {
		w := newWorld(t)
		i, err := issuer.New(issuer.Deps{
			Store:   &overtaken{Faulty: w.store, by: func() { w.mount(c.first + "/") }},
			Engines: []engine.Engine{w.engine}, Seal: w.seal, Keys: w.seal, Sealer: w.seal, Clock: clock.System{}, Log: zerolog.New(w.logs),
		}, issuer.Config{})
		must(t, err)
		q := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/sys/mounts/"+c.second, strings.NewReader(`{"type":"database"}`))
		q.Header.Set("X-Vault-Token", w.root)
		got := httptest.NewRecorder()
		i.Handler().ServeHTTP(got, q)
		if got.Code != c.code || got.Body.String() != c.want {
			t.Errorf("%s while %s: %d %s, want %d %s", c.second, c.first, got.Code, got.Body, c.code, c.want)
		}
	}
}

func TestSmallPaths(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tidy := w.ok(w.do("PUT", "sys/leases/tidy", "null"), 202).envelope(t)
	if len(tidy.Warnings) != 1 || tidy.RequestID == "" {
		t.Errorf("tidy: %+v", tidy)
	}
	ui := w.ok(w.do("GET", "sys/internal/ui/mounts", ""), 200).envelope(t).Data
	if secrets, ok := ui["secret"].(map[string]any); !ok || secrets["database/"] == nil || ui["auth"] == nil {
		t.Errorf("ui mounts: %v", ui)
	}
	orphan := w.ok(w.do("POST", "auth/token/create-orphan", `{"ttl":"5m"}`), 200).envelope(t).Auth
	if !orphan.Orphan {
		t.Errorf("create-orphan: %+v", orphan)
	}
	server := w.issuer.Server()
	if server.Handler == nil || server.ReadHeaderTimeout == 0 || server.IdleTimeout == 0 || server.MaxHeaderBytes == 0 {
		t.Errorf("server %+v", server)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := issuer.Deps{Store: w.store, Seal: w.seal, Keys: w.seal, Sealer: w.seal, Clock: clock.System{}}
	if _, err := issuer.New(issuer.Deps{}, issuer.Config{}); err == nil {
		t.Error("made of nothing")
	}
	if _, err := issuer.New(good, issuer.Config{DefaultTTL: 2, MaxTTL: 1}); err == nil || !strings.Contains(err.Error(), "lease TTL too large") {
		t.Errorf("default above maximum: %v", err)
	}
	good.Engines = []engine.Engine{w.engine, w.engine}
	if _, err := issuer.New(good, issuer.Config{}); err == nil {
		t.Error("two engines of one type")
	}
}
