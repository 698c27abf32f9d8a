package issuer_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
)

// A secret and its token end independently; the first of both counts, and
// answer, renewal and look-up name the limit (role, mount, system, token).
func TestNearestLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.role("short", lease.TTLs{Default: time.Hour, Max: time.Hour})
	token := w.token(`{"policies":["a"],"ttl":"10m","explicit_max_ttl":"2h"}`).Auth.ClientToken
	issue := func(role string) envelope {
		return w.ok(w.as(token, "GET", "database/creds/"+role, ""), 200).envelope(t)
	}
	lookup := func(id string) string {
		d := w.ok(w.do("PUT", "sys/leases/lookup", `{"lease_id":"`+id+`"}`), 200).envelope(t).Data
		return fmt.Sprintln(d["ttl"], d["capped_by"])
	}
	c := issue("readonly")
	if c.LeaseDuration != 600 || strings.Join(c.Warnings, "|") != lease.CapWarning(time.Hour, 10*time.Minute, lease.TokenLimit) {
		t.Fatalf("issued for %d s: %q", c.LeaseDuration, c.Warnings)
	}
	if got := lookup(c.LeaseID); got != "600 token\n" {
		t.Fatalf("lookup: %s", got)
	}
	renewed := w.ok(w.do("PUT", "sys/leases/renew", `{"lease_id":"`+c.LeaseID+`","increment":7200}`), 200).envelope(t)
	if renewed.LeaseDuration != 600 || strings.Join(renewed.Warnings, "|") != lease.CapWarning(2*time.Hour, 10*time.Minute, lease.TokenLimit) {
		t.Fatalf("renewed for %d s: %q", renewed.LeaseDuration, renewed.Warnings)
	}
	// The token goes on, and with it the secret for as long as it was issued.
	w.ok(w.as(token, "PUT", "auth/token/renew-self", `{"increment":"2h"}`), 200)
	if got := lookup(c.LeaseID); got != "7200 <nil>\n" {
		t.Fatalf("lookup after the token was renewed: %s", got)
	}
	c = issue("short")
	if c.LeaseDuration != 3600 || len(c.Warnings) != 0 {
		t.Fatalf("issued for %d s: %q", c.LeaseDuration, c.Warnings)
	}
	if got := lookup(c.LeaseID); got != "3600 role\n" {
		t.Fatalf("lookup at the role's limit: %s", got)
	}
	// One that never expires is no limit.
	if c := w.creds(); c.LeaseDuration != 3600 || len(c.Warnings) != 0 {
		t.Fatalf("issued to root for %d s: %q", c.LeaseDuration, c.Warnings)
	}
}

// The end of the token is the end of the secret, whatever its own would be.
func TestSecretEndsWithItsToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.token(`{"policies":["a"],"ttl":"10m"}`).Auth.ClientToken
	c := w.ok(w.as(token, "GET", "database/creds/readonly", ""), 200).envelope(t)
	w.clock.Advance(10*time.Minute - time.Second)
	for range 3 {
		w.work(t.Context())
	}
	if l := w.lease(c.LeaseID); l.State != lease.Active {
		t.Fatalf("before the token's end it is %s", l.State)
	}
	w.clock.Advance(time.Second)
	for range 3 {
		w.work(t.Context())
	}
	if l := w.lease(c.LeaseID); l.State != lease.Revoked {
		t.Fatalf("after the token's end it is %s", l.State)
	}
}

// A token of limited uses serves its requests; the last one issues nothing, and
// what was issued before goes with it.
func TestLimitedUses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.token(`{"policies":["a"],"num_uses":3,"ttl":"2h"}`).Auth
	c := w.ok(w.as(made.ClientToken, "GET", "database/creds/readonly", ""), 200).envelope(t)
	w.ok(w.as(made.ClientToken, "PUT", "auth/token/create", `{}`), 400)
	const text = "Secret cannot be returned; token had one use left, so leased credentials would end with it: ask with a token that has another use left"
	w.refused(w.as(made.ClientToken, "GET", "database/creds/readonly", ""), 400, text)
	w.refused(w.as(made.ClientToken, "GET", "auth/token/lookup-self", ""), 403, "permission denied")
	for range 3 {
		w.work(t.Context())
	}
	if all := w.leases(); len(all) != 1 || all[0].State != lease.Revoked || string(all[0].ID) != c.LeaseID {
		t.Fatalf("leases: %+v", all)
	}
	if names := w.probe.Names(); len(names) != 0 {
		t.Fatalf("accounts are left: %v", names)
	}
	// What is refused takes a use too, and the last request is served.
	made = w.token(`{"policies":["default"],"num_uses":2}`).Auth
	w.ok(w.as(made.ClientToken, "GET", "database/creds/readonly", ""), 403)
	self := w.ok(w.as(made.ClientToken, "GET", "auth/token/lookup-self", ""), 200).envelope(t)
	if self.Data["accessor"] != made.Accessor {
		t.Fatalf("lookup-self: %v", self.Data)
	}
	w.refused(w.as(made.ClientToken, "GET", "auth/token/lookup-self", ""), 403, "permission denied")
}
