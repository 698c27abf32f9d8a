package issuer_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// requests are the events of requests since the last call.
func (w *world) requests() (out []event.Event) {
	w.t.Helper()
	return w.events(event.RequestServed, event.RequestDenied)
}

// Each request is one event (D6), whatever becomes of it; it names what was
// sent, never its values.
func TestEachRequestIsOnRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pipeline()
	child := w.token(`{"ttl":"1h","policies":["a"]}`).Auth.ClientToken
	id := w.creds().LeaseID
	before := len(w.requests())
	for _, c := range []struct {
		token, method, path, body string
		want                      string // type, operation, path, status, fields
	}{
		{w.root, "GET", "database/creds/readonly", "", "request.served read database/creds/readonly 200 []"},
		{w.root, "PUT", "database/config/pg", `{"password":"s3cr3t","username":"u"}`, "request.served write database/config/pg 204 [password username]"},
		{w.root, "GET", "database/config/pg", "", "request.served read database/config/pg 200 []"},
		{w.root, "GET", "database/config?list=true", "", "request.served list database/config 200 []"},
		{w.root, "DELETE", "database/config/pg", "", "request.served delete database/config/pg 204 []"},
		{w.root, "GET", "database/creds/nosuch", "", "request.served read database/creds/nosuch 400 []"},
		{w.root, "PUT", "database/config/pg", `{bad`, "request.served write database/config/pg 400 []"},
		{w.root, "GET", "nosuch/x?a=b", "", "request.served read nosuch/x 404 [a]"},
		{w.root, "POST", "sys/mounts/db2", `{"type":"database"}`, "request.served write sys/mounts/db2 204 [type]"},
		{w.root, "POST", "sys/mounts/db2/tune", `{"description":"x"}`, "request.served write sys/mounts/db2/tune 204 [description]"},
		{w.root, "DELETE", "sys/mounts/db2", "", "request.served delete sys/mounts/db2 204 []"},
		{w.root, "POST", "auth/token/create", `{"ttl":"1h"}`, "request.served write auth/token/create 200 [ttl]"},
		{child, "PUT", "auth/token/renew-self", `{"increment":0}`, "request.served write auth/token/renew-self 200 [increment]"},
		{w.root, "GET", "sys/installation", "", "request.served read sys/installation 200 []"},
		{w.root, "PUT", "sys/installation/confirm", "", "request.served write sys/installation/confirm 200 []"},
		{w.root, "PUT", "sys/leases/renew", `{"lease_id":"` + id + `"}`, "request.served write sys/leases/renew 200 [lease_id]"},
		{w.root, "PUT", "sys/leases/revoke/" + id, `{"sync":false}`, "request.served write sys/leases/revoke/" + id + " 202 [sync]"},
		{w.root, "PUT", "sys/leases/revoke/" + id, `{"sync":true}`, "request.served write sys/leases/revoke/" + id + " 204 [sync]"},
		{w.root, "PUT", "sys/leases/revoke-prefix/database", `{"sync":false}`, "request.served write sys/leases/revoke-prefix/database 202 [sync]"},
		{w.root, "PUT", "sys/leases/revoke-force/database", "", "request.served write sys/leases/revoke-force/database 204 []"},
		{"hvs.bad", "GET", "database/creds/readonly", "", "request.denied read database/creds/readonly 403 []"},
		{child, "POST", "auth/token/revoke-self", "", "request.served write auth/token/revoke-self 204 []"},
		{child, "PUT", "database/config/pg", `{"a":1}`, "request.denied write database/config/pg 403 []"},
		{w.root, "OPTIONS", "database/config/pg", "", "request.served options database/config/pg 405 []"},
	} {
		r := w.as(c.token, c.method, c.path, c.body)
		got := w.requests()[before:]
		before += len(got)
		if len(got) != 1 {
			t.Errorf("%s %s (%d): %d events, want one: %+v", c.method, c.path, r.code, len(got), got)
			continue
		}
		e := got[0]
		if text := fmt.Sprint(e.Type, " ", e.Data.Operation, " ", e.Data.Path, " ", e.Data.Status, " ", e.Data.Fields); text != c.want {
			t.Errorf("%s %s: %q, want %q", c.method, c.path, text, c.want)
		}
		if e.Data.Actor.Address != "127.0.0.1" || e.Data.Actor.RequestID == "" || e.Data.Actor.Name == "" || e.Time.IsZero() {
			t.Errorf("%s %s: actor %+v at %s", c.method, c.path, e.Data.Actor, e.Time)
		}
		id := e.Data.Actor.RequestID
		if strings.Contains(r.body, "request_id") && !strings.Contains(r.body, id) {
			t.Errorf("%s %s: request id %s is not in the answer", c.method, c.path, id)
		}
		eventually(t, "the request's id is in the log", func() bool { return strings.Contains(w.logs.String(), id) })
	}
	for _, open := range []string{"sys/health", "sys/seal-status", "sys/leader", "sys/init"} {
		w.do("GET", open, "")
	}
	if n := len(w.requests()); n != before {
		t.Errorf("%d events of requests that are not recorded", n-before)
	}
	if strings.Contains(fmt.Sprint(w.requests(), w.logs), "s3cr3t") {
		t.Error("a value is on record")
	}
}

// What failed on the way to a credential is one event too, with its status.
func TestFailedIssueIsOnRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := len(w.requests())
	w.engine.Inject(enginetest.Fault{Method: enginetest.MethodCreate})
	w.ok(w.do("GET", "database/creds/readonly", ""), 500)
	if got := w.requests()[before:]; len(got) != 1 || got[0].Data.Status != 500 {
		t.Fatalf("events %+v", got)
	}
}

// What cannot be recorded is refused, but revoking never waits for it.
func TestFailsClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.creds().LeaseID
	w.store.Break(storetest.Fault{Method: "Append"})
	for _, path := range []string{"sys/mounts", "auth/token/lookup-self"} {
		r := w.ok(w.do("GET", path, ""), 503)
		if r.header.Get("Retry-After") != "1" || strings.Contains(r.body, "data") {
			t.Fatalf("%v %s", r.header, r.body)
		}
	}
	w.ok(w.do("PUT", "database/config/x", `{"a":1}`), 503)
	w.ok(w.do("PUT", "sys/leases/revoke/"+id, `{"sync":false}`), 202)
	w.ok(w.do("PUT", "sys/leases/revoke/nothing", ""), 204)
	w.ok(w.as("hvs.bad", "GET", "sys/mounts", ""), 403) // a refusal stands without its record
	w.store.Break(storetest.Fault{Method: "Apply"})
	w.ok(w.do("GET", "database/creds/readonly", ""), 500)
	if n := w.engine.Calls(enginetest.MethodCreate); n != 1 {
		t.Fatalf("the target was asked %d times, once before the record was away", n)
	}
}

// Refused requests above the rate are counts: nothing is lost, and the store is
// not filled.
func TestDeniedAreCounted(t *testing.T) {
	t.Parallel()
	const all = 300
	w := newWorld(t, func(c *issuer.Config) { c.DeniedPerSecond, c.CountEvery = 5, time.Hour })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.issuer.Run(ctx) }()
	begun := time.Now()
	for range all {
		w.ok(w.as("hvs.guess", "GET", "database/creds/readonly", ""), 403)
	}
	seconds := int(time.Since(begun)/time.Second) + 1
	stop()
	must(t, <-ended) // commits what is left
	single, counted := 0, 0
	for _, e := range w.events(event.RequestDenied) {
		if e.Data.Count == 0 {
			single++
		}
		counted += e.Data.Count
	}
	if single+counted != all || single > 5*(seconds+1) {
		t.Fatalf("%d events and %d counted in %d s, want %d in all", single, counted, seconds, all)
	}
}

func TestCountsSurviveAStoreThatIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *issuer.Config) { c.CountEvery = time.Millisecond })
	w.store.Break(storetest.Fault{Method: "Append"})
	w.ok(w.as("hvs.guess", "GET", "sys/mounts", ""), 403)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.issuer.Run(ctx) }()
	eventually(t, "the step has failed", func() bool { return w.store.Calls("Append") > 2 })
	w.store.Break()
	eventually(t, "the count is on record", func() bool {
		got := w.events(event.RequestDenied)
		return len(got) == 1 && got[0].Data.Count == 1 && got[0].Data.Status == http.StatusForbidden && got[0].Data.Actor.Address == "127.0.0.1"
	})
	stop()
	must(t, <-ended)
}
