package issuer_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

func (w *world) lookup(id string) response {
	w.t.Helper()
	return w.do("PUT", "sys/leases/lookup", `{"lease_id":"`+id+`"}`)
}

func (w *world) renew(id string, increment int) response {
	w.t.Helper()
	return w.do("PUT", "sys/leases/renew", fmt.Sprintf(`{"increment":%d,"lease_id":%q}`, increment, id))
}

func TestLookup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.creds()
	w.clock.Advance(time.Second)
	data := w.ok(w.lookup(c.LeaseID), 200).envelope(t).Data
	want := map[string]any{
		"id": c.LeaseID, "path": "database/creds/readonly", "renewable": true, "ttl": 3599.0,
		"issue_time": "2030-01-02T03:04:05Z", "last_renewal": nil,
		// The creation itself took off some of the first term.
		"expire_time": w.lease(c.LeaseID).ExpiresAt.Format(time.RFC3339Nano),
	}
	if fmt.Sprint(data) != fmt.Sprint(want) {
		t.Fatalf("lookup %v, want %v", data, want)
	}
	w.clock.Advance(2 * time.Hour)
	w.work(t.Context()) // revoking
	if data = w.ok(w.lookup(c.LeaseID), 200).envelope(t).Data; data["ttl"] != -3601.0 || data["renewable"] != false {
		t.Fatalf("lookup of a lease in revocation: %v", data)
	}
	w.work(t.Context())
	w.refused(w.lookup(c.LeaseID), 400, "invalid lease")
}

func TestListLeases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list := func(path string) string {
		return strings.Join(strings.Fields(fmt.Sprint(w.ok(w.do("LIST", "sys/leases/lookup"+path, ""), 200).envelope(t).Data["keys"])), " ")
	}
	c := w.creds()
	// The root token, which never expires, is in no list.
	for path, want := range map[string]string{
		"": "[database/]", "/database": "[creds/]", "/database/creds/": "[readonly/]",
		"/database/creds/readonly": "[" + c.LeaseID[len("database/creds/readonly/"):] + "]",
	} {
		if got := list(path); got != want {
			t.Errorf("list %q: %s, want %s", path, got, want)
		}
	}
	w.token(`{"ttl":"5m"}`)
	if got := list("/"); got != "[auth/ database/]" {
		t.Errorf("list of all: %s", got)
	}
	w.ok(w.do("LIST", "sys/leases/lookup/sys", ""), 404)
	w.ok(w.do("LIST", "sys/leases/lookup/sys/token/root", ""), 404)
}

func TestRenewWithinTheCeiling(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.role("short", lease.TTLs{Default: 10 * time.Second, Max: 15 * time.Second})
	c := w.ok(w.do("GET", "database/creds/short", ""), 200).envelope(t)
	for _, step := range []struct {
		after     time.Duration
		increment int
		want      int64
		warning   string
	}{
		{0, 3600, 15, `TTL of "1h" exceeded the effective max_ttl of "15s"; TTL value is capped accordingly (capped by: role)`},
		{6 * time.Second, 3600, 9, `TTL of "1h" exceeded the effective max_ttl of "9s"; TTL value is capped accordingly (capped by: role)`},
		{time.Second, 0, 8, `TTL of "10s" exceeded the effective max_ttl of "8s"; TTL value is capped accordingly (capped by: role)`},
		{time.Second, 3, 3, ""},
	} {
		w.clock.Advance(step.after)
		got := w.ok(w.renew(c.LeaseID, step.increment), 200).envelope(t)
		if got.LeaseID != c.LeaseID || got.LeaseDuration != step.want || got.Data != nil || !got.Renewable || strings.Join(got.Warnings, "|") != step.warning {
			t.Fatalf("renew by %d: %+v, want %d %q", step.increment, got, step.want, step.warning)
		}
		// B9: the target never ends before the store.
		until, err := w.probe.Expiry(t.Context(), c.Data["username"].(string))
		must(t, err)
		if l := w.lease(c.LeaseID); until.Before(l.ExpiresAt) || until.After(l.ExpiresAt.Add(10*time.Second)) {
			t.Fatalf("target until %s, store until %s", until, l.ExpiresAt)
		}
	}
	w.clock.Advance(3 * time.Second)
	w.refused(w.renew(c.LeaseID, 0), 400, "lease not found")
}

func TestRenewRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.role("fixed", lease.TTLs{Default: time.Hour}, func(r *enginetest.FakeRole) { r.NotRenewable = true })
	fixed := w.ok(w.do("GET", "database/creds/fixed", ""), 200).envelope(t)
	if fixed.Renewable {
		t.Error("a credential that cannot be renewed is answered as renewable")
	}
	w.refused(w.renew(fixed.LeaseID, 0), 400, "lease is not renewable")
	w.token(`{"ttl":"5m"}`)
	keys := w.ok(w.do("LIST", "sys/leases/lookup/auth/token/create", ""), 200).envelope(t).Data["keys"].([]any)
	w.refused(w.renew("auth/token/create/"+keys[0].(string), 0), 400, "tokens cannot be renewed through this endpoint")
	c := w.creds()
	w.ok(w.do("PUT", "sys/leases/renew/"+c.LeaseID, ""), 200)
	w.refused(w.do("PUT", "sys/leases/renew", `{"lease_id":"`+c.LeaseID+`","increment":"banana"}`), 400,
		`error converting input for field "increment": time: invalid duration "banana"`)
	w.refused(w.do("PUT", "sys/leases/renew", `{"lease_id":"`+c.LeaseID+`","increment":-5}`), 400,
		`error converting input for field "increment": duration "-5" is negative`)
}

// B9: an extension that fails in the target changes nothing in the store; a
// shortening counts in the store first.
func TestRenewOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.creds()
	before := w.lease(c.LeaseID)
	heal := w.engine.Inject(enginetest.Fault{Method: enginetest.MethodRenew})
	w.ok(w.renew(c.LeaseID, 7200), 500)
	if l := w.lease(c.LeaseID); l.Version != before.Version {
		t.Fatal("the store was extended without the target")
	}
	if got := w.ok(w.renew(c.LeaseID, 60), 200).envelope(t); got.LeaseDuration != 60 {
		t.Fatalf("shortened to %d", got.LeaseDuration)
	}
	if l := w.lease(c.LeaseID); !l.ExpiresAt.Equal(w.clock.Now().Add(time.Minute)) {
		t.Fatal("the store was not shortened while the target was away")
	}
	heal()
}

// B9: a shorter term that reaches the target late, whenever that is, takes nothing
// from who has extended the lease meanwhile.
func TestShorteningThatIsLate(t *testing.T) {
	t.Parallel()
	for name, committed := range map[string]bool{"after the extension": true, "before its commit": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c := w.creds()
			hold := func(f enginetest.Fault) (release chan struct{}, reached chan struct{}) {
				release, reached = make(chan struct{}), make(chan struct{}, 1)
				f.Method, f.Times, f.Wait, f.Reached = enginetest.MethodRenew, 1, release, reached
				w.engine.Inject(f)
				return release, reached
			}
			other := w.another() // in one, the second would wait for the first
			renewed := func(by *world, seconds int, reached chan struct{}) chan response {
				got := make(chan response, 1)
				go func() { got <- by.renew(c.LeaseID, seconds) }()
				arrive(t, reached)
				return got
			}
			first, leaving := hold(enginetest.Fault{})
			shorten, reached := hold(enginetest.Fault{})
			shortened := renewed(w, 60, leaving)
			close(first)
			arrive(t, reached) // it is committed, and on its way to the target
			if committed {
				w.ok(other.renew(c.LeaseID, 7200), 200)
				close(shorten)
				w.ok(<-shortened, 200)
			} else {
				extend, reached := hold(enginetest.Fault{After: true})
				extended := renewed(other, 7200, reached) // the target has it
				close(shorten)
				w.ok(<-shortened, 200)
				close(extend)
				w.ok(<-extended, 200)
			}
			until, err := w.probe.Expiry(t.Context(), c.Data["username"].(string))
			must(t, err)
			if l := w.lease(c.LeaseID); until.Before(l.ExpiresAt) || l.ExpiresAt.Sub(w.clock.Now()) != 2*time.Hour {
				t.Errorf("target until %s, store until %s", until, l.ExpiresAt)
			}
		})
	}
}

// Many may renew one lease at the same time, through several issuers: each is
// answered with the lease as its own renewal left it.
func TestRenewalsAtTheSameTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.creds()
	before := w.lease(c.LeaseID)
	var all sync.WaitGroup
	const many = 24
	for n, by := range []*world{w, w.another()} {
		for i := range many / 2 {
			all.Go(func() {
				seconds := int64(600 * (1 + n + 2*i))
				if got := w.ok(by.renew(c.LeaseID, int(seconds)), 200).envelope(t); got.LeaseDuration != seconds {
					t.Errorf("renewed to %d s, want %d", got.LeaseDuration, seconds)
				}
			})
		}
	}
	all.Wait()
	l := w.lease(c.LeaseID)
	if l.Version != before.Version+many {
		t.Errorf("%d renewals are committed, want %d", l.Version-before.Version, many)
	}
	until, err := w.probe.Expiry(t.Context(), l.Account)
	must(t, err)
	if until.Before(l.ExpiresAt) {
		t.Errorf("target until %s, store until %s", until, l.ExpiresAt)
	}
}

// B9: who loses the compare-and-swap puts back what the target had, but for what
// others have told it meanwhile; and keeps what may yet be committed.
func TestRenewThatLoses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.creds()
	release, reached := make(chan struct{}), make(chan struct{}, 1)
	w.engine.Inject(enginetest.Fault{Method: enginetest.MethodRenew, Wait: release, Reached: reached, Times: 1})
	late := make(chan response)
	go func() { late <- w.renew(c.LeaseID, 7200) }()
	arrive(t, reached)
	// Meanwhile the lease is revoked: the late renewal must not extend it.
	w.ok(w.do("PUT", "sys/leases/revoke/"+c.LeaseID, `{"sync":false}`), 202)
	close(release)
	w.refused(<-late, 400, "lease not found")
	if l := w.lease(c.LeaseID); l.State != lease.Revoking {
		t.Fatalf("lease is %s", l.State)
	}

	c = w.creds()
	w.store.Break(storetest.Fault{Method: "Apply", Nth: 1})
	w.ok(w.renew(c.LeaseID, 7200), 500)
	until, err := w.probe.Expiry(t.Context(), c.Data["username"].(string))
	must(t, err)
	if l := w.lease(c.LeaseID); until.Before(l.ExpiresAt.Add(time.Hour)) {
		t.Fatalf("target until %s, store until %s: the commit may have gone through", until, l.ExpiresAt)
	}
	// A shorter one is told all the same.
	w.ok(w.renew(c.LeaseID, 60), 200)
	until, err = w.probe.Expiry(t.Context(), c.Data["username"].(string))
	must(t, err)
	if l := w.lease(c.LeaseID); until.Before(l.ExpiresAt) || until.After(l.ExpiresAt.Add(10*time.Second)) {
		t.Fatalf("target until %s, store until %s", until, l.ExpiresAt)
	}
	// Done, but the answer was lost: it is read back (A6).
	w.store.Break(storetest.Fault{Method: "Apply", Nth: 1, Done: true})
	if got := w.ok(w.renew(c.LeaseID, 7200), 200).envelope(t); got.LeaseDuration != 7200 {
		t.Fatalf("renewed to %d", got.LeaseDuration)
	}
}

func TestRevokeSync(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pipeline()
	c := w.creds()
	w.ok(w.do("PUT", "sys/leases/revoke/"+c.LeaseID, `{"sync":true}`), 204)
	if w.exists(c.Data["username"].(string)) {
		t.Fatal("204 before the account was gone")
	}
	w.ok(w.do("PUT", "sys/leases/revoke/"+c.LeaseID, `{"sync":true}`), 204)
	w.ok(w.do("PUT", "sys/leases/revoke/"+c.LeaseID, `{"sync":false}`), 202)
	c = w.creds()
	w.ok(w.do("POST", "sys/leases/revoke", `{"lease_id":"`+c.LeaseID+`"}`), 204)
}

// C9: the reason of a failed attempt is answered, and the revocation goes on.
func TestRevokeSyncThatFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pipeline()
	c := w.creds()
	heal := w.engine.Inject(enginetest.Fault{Method: enginetest.MethodRemove, Err: &engine.Error{
		Kind: engine.Refused, Message: "role cannot be dropped because some objects depend on it (SQLSTATE 2BP01)",
	}})
	const want = "failed to revoke entry: role cannot be dropped because some objects depend on it (SQLSTATE 2BP01)"
	w.refused(w.do("PUT", "sys/leases/revoke/"+c.LeaseID, `{"sync":true}`), 400, want)
	// Parked: shown with its reason, and tried again at once by request.
	data := w.ok(w.lookup(c.LeaseID), 200).envelope(t).Data
	if data["revoke_error"] != want[len("failed to revoke entry: "):] || data["state"] != "revoking" {
		t.Fatalf("lookup: %v", data)
	}
	parked := w.ok(w.do("GET", "sys/leases?type=irrevocable", ""), 200).envelope(t).Data
	if parked["lease_count"] != 1.0 || parked["leases"].([]any)[0].(map[string]any)["lease_id"] != c.LeaseID {
		t.Fatalf("irrevocable: %v", parked)
	}
	counts := w.ok(w.do("GET", "sys/leases/count?type=irrevocable", ""), 200).envelope(t).Data
	if counts["lease_count"] != 1.0 || len(counts["counts"].(map[string]any)) != 1 {
		t.Fatalf("irrevocable count: %v", counts)
	}
	w.refused(w.do("PUT", "sys/leases/revoke/"+c.LeaseID, `{"sync":true}`), 400, want)
	heal()
	w.ok(w.do("PUT", "sys/leases/revoke/"+c.LeaseID, `{"sync":true}`), 204)
}

func TestRevokeSyncDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *issuer.Config) { c.SyncWithin = 20 * time.Millisecond })
	c := w.creds()
	got := w.ok(w.do("PUT", "sys/leases/revoke/"+c.LeaseID, ""), 400).envelope(t)
	if !strings.HasPrefix(got.Errors[0], "failed to revoke entry: no revoker has finished it yet") {
		t.Fatalf("errors %q", got.Errors)
	}
	if l := w.lease(c.LeaseID); l.State != lease.Revoking {
		t.Fatalf("lease is %s", l.State)
	}
}

// A4: what was begun before is taken, what comes later is not.
func TestRevokePrefix(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := w.creds(), w.creds()
	w.role("other", lease.TTLs{Default: time.Hour})
	other := w.ok(w.do("GET", "database/creds/other", ""), 200).envelope(t)
	r := w.ok(w.do("PUT", "sys/leases/revoke-prefix/database/creds/readonly", `{"sync":false}`), 202)
	if r.body != "" {
		t.Errorf("body %q", r.body)
	}
	third := w.creds()
	for id, want := range map[string]lease.State{
		first.LeaseID: lease.Revoking, second.LeaseID: lease.Revoking, other.LeaseID: lease.Active, third.LeaseID: lease.Active,
	} {
		if l := w.lease(id); l.State != want {
			t.Errorf("%s is %s, want %s", id, l.State, want)
		}
	}
	operation := strings.TrimPrefix(r.header.Get("Location"), "/v1/")
	data := w.ok(w.do("GET", operation, ""), 200).envelope(t).Data
	if data["open"] != 2.0 || data["finished"] != false || data["listed"] != true || data["prefix"] != "database/creds/readonly/" {
		t.Fatalf("operation: %v", data)
	}
	w.ok(w.do("LIST", "sys/leases/operations", ""), 200)
	w.pipeline()
	w.ok(w.do("PUT", "sys/leases/revoke-prefix/database/creds", ""), 204)
	if left := w.leases(lease.Intent, lease.Active, lease.Revoking); len(left) != 0 {
		t.Fatalf("%d leases left after a synchronous revocation", len(left))
	}
	if data = w.ok(w.do("GET", operation, ""), 200).envelope(t).Data; data["finished"] != true {
		t.Fatalf("operation: %v", data)
	}
	// Tokens without expiry are out of reach of a prefix.
	w.ok(w.do("PUT", "sys/leases/revoke-prefix/sys", ""), 400)
	w.ok(w.do("PUT", "sys/leases/revoke-prefix/auth", ""), 204)
	w.creds()
}

// A lease that fails never keeps the others, as it does with stock servers.
func TestRevokePrefixThatFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pipeline()
	stuck, fine := w.creds(), w.creds()
	w.engine.Inject(enginetest.Fault{
		Method: enginetest.MethodRemove, Account: stuck.Data["username"].(string),
		Err: &engine.Error{Kind: engine.Refused, Message: "no"},
	})
	w.refused(w.do("PUT", "sys/leases/revoke-prefix/database/creds/readonly", `{"sync":true}`), 400,
		fmt.Sprintf("failed to revoke %q (1 / 2): failed to revoke entry: no", stuck.LeaseID))
	if l := w.lease(fine.LeaseID); l.State != lease.Revoked {
		t.Fatalf("the other lease is %s", l.State)
	}
	w.ok(w.do("PUT", "sys/leases/revoke-force/database/creds/readonly", ""), 204)
	l := w.lease(stuck.LeaseID)
	if l.State != lease.Abandoned || l.Revocation.Reason != "abandoned by force" || l.Revocation.By.DisplayName != "root" {
		t.Fatalf("after force: %s %+v", l.State, l.Revocation)
	}
	w.ok(w.do("LIST", "sys/leases/lookup/database/creds/readonly", ""), 404)
	if n := len(w.events(event.LeaseAbandoned)); n != 1 {
		t.Fatalf("%d abandonments on record", n)
	}
}

// What can be revoked is revoked, also by force.
func TestForceLeavesThePipelineItsChance(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *issuer.Config) { c.ForceAfter = hang })
	w.pipeline()
	c := w.creds()
	w.ok(w.do("PUT", "sys/leases/revoke-force/database/creds/readonly", ""), 204)
	if l := w.lease(c.LeaseID); l.State != lease.Revoked {
		t.Fatalf("lease is %s", l.State)
	}
}

// A revocation whose commit fails is not promised; one whose barrier's answer
// was lost counts.
func TestRevokeWhenTheStoreFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.creds()
	w.store.Break(storetest.Fault{Method: "Apply"})
	w.ok(w.do("PUT", "sys/leases/revoke/"+c.LeaseID, `{"sync":false}`), 500)
	if l := w.lease(c.LeaseID); l.State != lease.Active {
		t.Fatalf("lease is %s", l.State)
	}
	w.store.Break(storetest.Fault{Method: "Raise"})
	w.ok(w.do("PUT", "sys/leases/revoke-prefix/database", `{"sync":false}`), 500)
	w.store.Break(storetest.Fault{Method: "Raise", Done: true})
	w.ok(w.do("PUT", "sys/leases/revoke-prefix/database", `{"sync":false}`), 202)
	if l := w.lease(c.LeaseID); l.State != lease.Revoking {
		t.Fatalf("lease is %s", l.State)
	}
	// The listing fails after the mark: promised all the same, a sweep lists.
	w.creds()
	w.store.Break(storetest.Fault{Method: "Find"})
	w.ok(w.do("PUT", "sys/leases/revoke-prefix/database", `{"sync":false}`), 202)
	entries, err := w.fake.List(t.Context(), store.KindBarrier, "", "", false, 0)
	must(t, err)
	unlisted := 0
	for _, e := range entries {
		b, err := store.DecodeBarrier(e.Value)
		must(t, err)
		if !b.Listed {
			unlisted++
		}
	}
	if unlisted != 1 {
		t.Fatalf("%d operations are left to the sweep, want 1", unlisted)
	}
}
