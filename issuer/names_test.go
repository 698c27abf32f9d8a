package issuer_test

import (
	"fmt"
	"testing"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/lease"
)

// The names that older libraries send do what the newer ones do, and are
// decided by policies as they were sent.
func TestOlderNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pipeline()
	body := func(id string) string { return `{"lease_id":"` + id + `"}` }
	for _, method := range []string{"PUT", "POST"} {
		c := w.creds()
		if e := w.ok(w.do(method, "sys/renew", `{"lease_id":"`+c.LeaseID+`","increment":"7200"}`), 200).envelope(t); e.LeaseDuration != 7200 || e.LeaseID != c.LeaseID {
			t.Errorf("%s sys/renew: %+v", method, e)
		}
		if e := w.ok(w.do(method, "sys/renew/"+c.LeaseID, ""), 200).envelope(t); e.LeaseDuration != 3600 {
			t.Errorf("%s sys/renew/<id>: %+v", method, e)
		}
		w.ok(w.do(method, "sys/revoke", body(c.LeaseID)), 204)
		w.ok(w.do(method, "sys/revoke/"+w.creds().LeaseID, ""), 204)
		w.creds()
		w.ok(w.do(method, "sys/revoke-prefix/database/creds/readonly", ""), 204)
		w.creds()
		w.ok(w.do(method, "sys/revoke-force/database", ""), 204)
		if n := len(w.leases(lease.Intent, lease.Active, lease.Revoking)); n != 0 {
			t.Errorf("%s: %d leases are left", method, n)
		}
	}
	// A rule for the newer name is none for the older, and the other way round.
	c := w.creds()
	newer, older := w.holder(rule("sys/leases/renew", "update")), w.holder(rule("sys/renew", "update"))
	w.ok(w.as(newer, "PUT", "sys/leases/renew", body(c.LeaseID)), 200)
	w.refused(w.as(newer, "PUT", "sys/renew", body(c.LeaseID)), 403, lacks)
	w.ok(w.as(older, "PUT", "sys/renew", body(c.LeaseID)), 200)
	w.refused(w.as(older, "PUT", "sys/leases/renew", body(c.LeaseID)), 403, lacks)
	w.refused(w.as(older, "GET", "sys/renew", ""), 403, lacks)
	w.ok(w.do("GET", "sys/renew", ""), 405)
}

// The rule for a token's own leases holds under the older names too, and for
// nobody else's.
func TestOwnLeasesByOlderNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pipeline()
	mine, theirs := w.holder(rule("database/creds/readonly", "read")), w.holder(rule("database/creds/readonly", "read"))
	creds := func(token string) string {
		return w.ok(w.as(token, "GET", "database/creds/readonly", ""), 200).envelope(t).LeaseID
	}
	own, foreign := creds(mine), creds(theirs)
	for _, verb := range []string{"renew", "revoke"} {
		w.refused(w.as(mine, "PUT", "sys/"+verb, `{"lease_id":"`+foreign+`"}`), 403, lacks)
		w.refused(w.as(mine, "PUT", "sys/"+verb+"/"+foreign, ""), 403, lacks)
		w.refused(w.as(mine, "PUT", "sys/"+verb+"/"+foreign, `{"lease_id":"`+own+`"}`), 403, lacks)
		w.refused(w.as(mine, "PUT", "sys/"+verb, ""), 403, lacks)
	}
	w.refused(w.as(mine, "PUT", "sys/revoke-prefix/database/creds/readonly", ""), 403, lacks)
	w.refused(w.as(mine, "PUT", "sys/revoke-force/database/creds/readonly", ""), 403, lacks)
	// "lookup" never was a name of this kind.
	w.refused(w.as(mine, "PUT", "sys/lookup", `{"lease_id":"`+own+`"}`), 403, lacks)
	w.ok(w.as(mine, "PUT", "sys/renew/"+own, ""), 200)
	w.ok(w.as(mine, "PUT", "sys/revoke", `{"lease_id":"`+own+`"}`), 204)
	if l := w.lease(foreign); l.State != lease.Active {
		t.Errorf("the other's lease is %s", l.State)
	}
}

// Revocations have room of their own under every name.
func TestRoomForOlderNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *issuer.Config) { c.MaxInFlight = 1 })
	c := w.creds()
	release, reached := make(chan struct{}), make(chan struct{}, 1)
	w.engine.Inject(enginetest.Fault{Method: enginetest.MethodCreate, Wait: release, Reached: reached, Times: 1})
	issued := make(chan response, 1)
	go func() { issued <- w.do("GET", "database/creds/readonly", "") }()
	arrive(t, reached)
	w.ok(w.do("PUT", "sys/renew/"+c.LeaseID, ""), 503)
	for _, path := range []string{"sys/revoke/" + c.LeaseID, "sys/revoke-prefix/none", "sys/leases/revoke-prefix/none"} {
		w.ok(w.do("PUT", path, `{"sync":false}`), 202)
	}
	w.ok(w.do("PUT", "sys/revoke", `{"sync":false,"lease_id":"`+c.LeaseID+`"}`), 202)
	w.ok(w.do("PUT", "sys/revoke-force/none", ""), 204)
	close(release)
	w.ok(<-issued, 200)
}

// A mount stays where it is, and whoever would move it is told what to do.
func TestRemountIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const text = "mounts cannot be moved: enable a new mount at the new path, configure it, let clients read there, " +
		"then disable the old mount, which revokes what it issued"
	w.refused(w.do("POST", "sys/remount", `{"from":"database","to":"other"}`), 400, text)
	w.refused(w.do("PUT", "sys/remount", `{}`), 400, text)
	w.refused(w.do("GET", "sys/remount/status/b829bc83-510a-ed1e-efe3-dcdfa7361c4a", ""), 400, text)
	w.creds()
}

// What the policies of a token say together, in the shape that user interfaces
// of stock servers read.
func TestResultantACL(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	acl := func(token string) string {
		return fmt.Sprint(w.ok(w.as(token, "GET", "sys/internal/ui/resultant-acl", ""), 200).envelope(t).Data)
	}
	if got := acl(w.root); got != "map[root:true]" {
		t.Errorf("root: %s", got)
	}
	token := w.holder(rule("sys/internal/ui/resultant-acl", "read") + rule("team/*", "update", "create") + rule("a/+/b*", "list") + rule("x/y", "deny") + `
path "z" { capabilities = ["update"] required_parameters = ["n"] allowed_parameters = { "n" = ["v"] } denied_parameters = { "m" = [] } min_wrapping_ttl = "1m" max_wrapping_ttl = "1h" }`)
	want := "map[exact_paths:map[sys/internal/ui/resultant-acl:map[capabilities:[read]] x/y:map[capabilities:[deny]] " +
		"z:map[allowed_parameters:map[n:[v]] capabilities:[update] denied_parameters:map[m:[]] max_wrapping_ttl:3600 min_wrapping_ttl:60 required_parameters:[n]]] " +
		"glob_paths:map[a/+/b*:map[capabilities:[list]] team/:map[capabilities:[create update]]] root:false]"
	if got := acl(token); got != want {
		t.Errorf("rules\n%s, want\n%s", got, want)
	}
	// The policy default gives it.
	acl(w.token(`{"ttl":"1h","policies":["default"]}`).Auth.ClientToken)
	w.refused(w.as(w.holder(rule("x", "read")), "GET", "sys/internal/ui/resultant-acl", ""), 403, lacks)
}
