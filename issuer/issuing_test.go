package issuer_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

func TestIssue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.token(`{"ttl":"1h","display_name":"app","policies":["a"]}`).Auth
	c := w.ok(w.as(token.ClientToken, "GET", "database/creds/readonly", ""), 200).envelope(t)
	must(t, w.probe.Login(t.Context(), c.Data["username"].(string), c.Data["password"].(string)))
	l := w.lease(c.LeaseID)
	if l.State != lease.Active || l.Account != c.Data["username"] || l.Role != "readonly" || l.Mount != "database/" ||
		l.MountID != w.entry("database/").ID || l.Engine != "database" || l.Target != target || len(l.Handle) == 0 ||
		l.TTL != time.Hour || l.MaxTTL != 24*time.Hour || l.CappedBy != lease.RoleLimit || !l.Renewable {
		t.Fatalf("lease %+v", l)
	}
	if l.IssuedBy.Name != token.Accessor || l.IssuedBy.DisplayName != "token-app" || l.IssuedBy.Address != "127.0.0.1" || l.IssuedBy.RequestID != c.RequestID {
		t.Fatalf("issued by %+v", l.IssuedBy)
	}
	// B8: the store's expiry is never behind the target's.
	until, err := w.probe.Expiry(t.Context(), l.Account)
	must(t, err)
	if until.Before(l.ExpiresAt) {
		t.Fatalf("target until %s, store until %s", until, l.ExpiresAt)
	}
}

func TestIssueCapped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.role("longer", lease.TTLs{Default: 1000 * time.Hour, Max: 2000 * time.Hour}, func(r *enginetest.FakeRole) { r.Warnings = []string{"mind the role"} })
	for _, c := range []struct {
		tune string
		want int64
		warn string
	}{
		{`{}`, 2764800, `TTL of "1000h" exceeded the effective max_ttl of "768h"; TTL value is capped accordingly (capped by: system)`},
		{`{"max_lease_ttl":"10m","default_lease_ttl":""}`, 600, `TTL of "1000h" exceeded the effective max_ttl of "10m"; TTL value is capped accordingly (capped by: mount)`},
	} {
		w.ok(w.do("POST", "sys/mounts/database/tune", c.tune), 204)
		got := w.ok(w.do("GET", "database/creds/longer", ""), 200).envelope(t)
		if got.LeaseDuration != c.want || strings.Join(got.Warnings, "|") != "mind the role|"+c.warn {
			t.Errorf("%+v, want %d %q", got, c.want, c.warn)
		}
	}
}

// A3: what is withdrawn between the intent and the activation issues nothing,
// and the account goes.
func TestWithdrawnWhileCreating(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		withdraw func(w *world, accessor string, role store.Ref)
		code     int
		want     string
	}{
		"token": {func(w *world, accessor string, _ store.Ref) {
			w.ok(w.do("POST", "auth/token/revoke-accessor", `{"accessor":"`+accessor+`"}`), 204)
		}, 403, "permission denied"},
		"prefix": {func(w *world, _ string, _ store.Ref) {
			w.ok(w.do("PUT", "sys/leases/revoke-prefix/database/creds", `{"sync":false}`), 202)
		}, 400, "the lease was revoked before its credential was ready"},
		"mount": {func(w *world, _ string, _ store.Ref) {
			w.ok(w.do("DELETE", "sys/mounts/database", ""), 204)
		}, 400, "the lease was revoked before its credential was ready"},
		"role": {func(w *world, _ string, role store.Ref) {
			_, err := w.fake.Write(w.t.Context(), store.Write{Withdrawals: []store.Ref{role}})
			must(w.t, err)
		}, 400, "the role was deleted while the credential was made"},
		"barrier": {func(w *world, _ string, _ store.Ref) { // raised, but not listed yet
			_, err := w.fake.Raise(w.t.Context(), store.Barrier{Operation: "op", Prefix: "database/"})
			must(w.t, err)
		}, 400, "leases of this path were revoked while the credential was made: ask again"},
		"lease": {func(w *world, _ string, _ store.Ref) {
			w.ok(w.do("PUT", "sys/leases/revoke/"+string(w.leases(lease.Intent)[0].ID), `{"sync":false}`), 202)
		}, 400, "the lease was revoked before its credential was ready"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			role := w.role("guarded", lease.TTLs{Default: time.Hour})
			token := w.token(`{"ttl":"1h","policies":["a"]}`).Auth
			release, reached := make(chan struct{}), make(chan struct{}, 1)
			w.engine.Inject(enginetest.Fault{Method: enginetest.MethodCreate, After: true, Wait: release, Reached: reached})
			got := make(chan response)
			go func() { got <- w.as(token.ClientToken, "GET", "database/creds/guarded", "") }()
			arrive(t, reached)
			c.withdraw(w, token.Accessor, role)
			close(release)
			w.refused(<-got, c.code, c.want)
			l := w.leases()[0]
			if l.State != lease.Revoking {
				t.Fatalf("lease is %s", l.State)
			}
			w.clock.Advance(time.Minute) // past the fence of the creation
			eventually(t, "the account is gone", func() bool { w.work(t.Context()); return !w.exists(l.Account) })
		})
	}
}

// What was withdrawn before refuses the intent: the target is never asked.
func TestWithdrawnBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.entry("database/")
	ref := store.Ref{Kind: store.KindMount, ID: m.ID}
	role := w.role("gone", lease.TTLs{Default: time.Hour})
	_, err := w.fake.Write(t.Context(), store.Write{Withdrawals: []store.Ref{role}})
	must(t, err)
	w.refused(w.do("GET", "database/creds/gone", ""), 400, "the role was deleted while the credential was made")
	_, err = w.fake.Write(t.Context(), store.Write{Withdrawals: []store.Ref{ref}})
	must(t, err)
	w.ok(w.do("GET", "database/creds/readonly", ""), 404)
	if n := w.engine.Calls(enginetest.MethodCreate); n != 0 {
		t.Fatalf("the target was asked %d times", n)
	}
}

// A creation that fails goes to revoking, with its reason, also where it may
// have happened.
func TestCreateFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		fault  enginetest.Fault
		code   int
		want   string
		reason string
	}{
		{
			enginetest.Fault{Err: &engine.Error{Kind: engine.Refused, Message: `failed to execute query: ERROR: syntax error at or near "ROLL" (SQLSTATE 42601)`}},
			400, `failed to execute query: ERROR: syntax error at or near "ROLL" (SQLSTATE 42601)`, `creation failed: failed to execute query: ERROR: syntax error at or near "ROLL" (SQLSTATE 42601)`,
		},
		{
			enginetest.Fault{Err: &engine.Error{Kind: engine.Unreachable, Message: "1 error occurred:\n\t* connection refused\n\n"}},
			500, "1 error occurred:\n\t* connection refused\n\n", "creation failed: connection refused",
		},
		{enginetest.Fault{After: true}, 500, "the target does not answer", "creation failed: the target does not answer"},
		{enginetest.Fault{Err: &engine.Error{Kind: engine.Busy, Message: "lane is full"}}, 503, "lane is full", "creation failed: lane is full"},
	} {
		c.fault.Method, c.fault.Times = enginetest.MethodCreate, 1
		w.engine.Inject(c.fault)
		got := w.do("GET", "database/creds/readonly", "")
		w.refused(got, c.code, c.want)
		if c.code == 503 && got.header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After %q", got.header.Get("Retry-After"))
		}
		all := w.leases(lease.Revoking)
		if len(all) != 1 || all[0].Revocation.Reason != c.reason {
			t.Fatalf("leases %+v, want one with reason %q", all, c.reason)
		}
		w.clock.Advance(time.Minute)
		w.work(t.Context())
		if l := all[0]; w.exists(l.Account) || w.lease(string(l.ID)).State != lease.Revoked {
			t.Fatal("what was made was not rolled back")
		}
	}
	if n := len(w.events(event.LeaseRolledBack)); n != 4 {
		t.Fatalf("%d roll-backs on record, want 4", n)
	}
}

// Section E: where leases are not taken away in time nothing more is issued; on
// other targets it is, and a lease that fails does not count.
func TestLag(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *issuer.Config) { c.MaxLag = time.Minute })
	w.role("brief", lease.TTLs{Default: time.Second, Max: time.Second})
	w.role("elsewhere", lease.TTLs{Default: time.Hour, Max: time.Hour}, func(r *enginetest.FakeRole) {
		r.Target = "target-2"
		w.engine.AddTarget(engine.Target{ID: r.Target, MountID: r.MountID, Mount: "database/", Name: "other"})
	})
	late := w.ok(w.do("GET", "database/creds/brief", ""), 200).envelope(t)
	refusal := "revocation on this connection is more than 1m0s behind: issuing there is stopped until it catches up"
	refused := func() bool {
		r := w.do("GET", "database/creds/readonly", "")
		return r.code == 503 && r.envelope(t).Errors[0] == refusal && r.header.Get("Retry-After") != ""
	}
	w.clock.Advance(59 * time.Second)
	w.creds()
	w.clock.Advance(3 * time.Second)
	eventually(t, "issuing is refused", refused)
	w.ok(w.do("GET", "database/creds/elsewhere", ""), 200)
	w.work(t.Context()) // takes it up
	w.fake.Apply(t.Context(), store.Transition{Change: lease.Change{
		ID: lease.ID(late.LeaseID), Version: lease.AnyVersion, Key: "failed", By: lease.System(lease.ActorSweep),
		Do: lease.Progress{Failed: true, Error: "away", After: time.Minute},
	}})
	eventually(t, "issuing goes on", func() bool { return !refused() })
	w.creds()
}

// D4: issuing stops while the audit log does not take the events away, and
// nothing else does.
func TestBacklog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *issuer.Config) { c.MaxBacklog = 1 })
	got := w.ok(w.do("GET", "database/creds/readonly", ""), 503)
	if got.header.Get("Retry-After") != "1" || !strings.Contains(got.body, "issuing is stopped") {
		t.Fatalf("%v %s", got.header, got.body)
	}
	w.ok(w.do("PUT", "sys/leases/revoke/database/creds/readonly/x", ""), 204)
	w.ok(w.do("GET", "sys/mounts", ""), 200)
	if n := w.engine.Calls(enginetest.MethodCreate); n != 0 {
		t.Fatalf("the target was asked %d times", n)
	}
}

// brokenWriter fails where a client's connection would.
type brokenWriter struct {
	http.ResponseWriter
	onWrite func() error
}

func (b *brokenWriter) Write(p []byte) (int, error) {
	if err := b.onWrite(); err != nil {
		return 0, err
	}
	return b.ResponseWriter.Write(p)
}

// A8: what could not be written is taken back.
func TestNotDelivered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	serve := func(path, method string, onWrite func() error) {
		q := httptest.NewRequestWithContext(t.Context(), method, "/v1/"+path, strings.NewReader(`{"ttl":"1h"}`))
		q.Header.Set("X-Vault-Token", w.root)
		w.issuer.Handler().ServeHTTP(&brokenWriter{httptest.NewRecorder(), onWrite}, q)
	}
	broken := func() error { return errors.New("connection reset by peer") }
	serve("database/creds/readonly", "GET", broken)
	l := w.leases()[0]
	if l.State != lease.Revoking || l.Revocation.Reason != "not delivered" {
		t.Fatalf("lease is %s %q", l.State, l.Revocation.Reason)
	}
	serve("database/creds/readonly", "GET", func() error { panic("while writing") })
	if all := w.leases(lease.Revoking); len(all) != 2 {
		t.Fatalf("%d leases in revocation after a panic, want 2", len(all))
	}
	serve("auth/token/create", "POST", broken)
	tokens, err := w.fake.Find(t.Context(), store.Query{Prefix: "auth/"})
	must(t, err)
	if len(tokens) != 1 || tokens[0].State != lease.Revoking {
		t.Fatalf("tokens %+v", tokens)
	}
	serve("database/creds/readonly", "GET", func() error { return nil })
	if all := w.leases(lease.Active); len(all) != 1 {
		t.Fatalf("%d active leases after a delivery, want 1", len(all))
	}
}

// A creation never follows the client, and a client that went away before the
// answer gets none (A8).
func TestClientGoesAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	release, reached := make(chan struct{}), make(chan struct{}, 1)
	w.engine.Inject(enginetest.Fault{Method: enginetest.MethodCreate, Wait: release, Reached: reached})
	ctx, goAway := context.WithCancel(t.Context())
	q := httptest.NewRequestWithContext(ctx, "GET", "/v1/database/creds/readonly", nil)
	q.Header.Set("X-Vault-Token", w.root)
	served := make(chan struct{})
	got := httptest.NewRecorder()
	go func() { defer close(served); w.issuer.Handler().ServeHTTP(got, q) }()
	arrive(t, reached)
	goAway()
	close(release)
	<-served
	if got.Body.Len() != 0 {
		t.Fatalf("somebody was answered: %s", got.Body)
	}
	l := w.leases()[0]
	if !l.Confirmed() || l.State != lease.Revoking || l.Revocation.Reason != "not delivered" {
		t.Fatalf("lease is %s, confirmed %t, reason %q", l.State, l.Confirmed(), l.Revocation.Reason)
	}
}
