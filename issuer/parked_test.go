package issuer_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// connection gives the target of a lease a name.
func (w *world) connection(leaseID, name string) {
	w.t.Helper()
	l := w.lease(leaseID)
	_, err := w.fake.Write(w.t.Context(), store.Write{Puts: []store.Entry{
		{Kind: store.KindConnection, Key: l.MountID + "/" + name, ID: l.Target, Value: []byte("{}")},
	}})
	must(w.t, err)
}

// parked are n credentials whose revocation needs a person.
func (w *world) parked(n int) (all []envelope) {
	w.t.Helper()
	for range n {
		c := w.creds()
		w.stuck(c, `role "{{name}}" owns objects`)
		all = append(all, c)
	}
	w.ok(w.do("PUT", "sys/leases/revoke-prefix/database", `{"sync":false}`), 202)
	w.work(w.t.Context())
	return all
}

func (w *world) listed(query string) (ids []string, data map[string]any) {
	w.t.Helper()
	data = w.ok(w.do("GET", "sys/leases?type=irrevocable"+query, ""), 200).envelope(w.t).Data
	for _, one := range data["leases"].([]any) {
		ids = append(ids, one.(map[string]any)["lease_id"].(string))
	}
	return ids, data
}

// C8: what needs a person is shown with all that the person has to know.
func TestParkedIsShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	began := w.clock.Now()
	c := w.parked(1)[0]
	w.connection(c.LeaseID, "my-postgres")
	w.creds() // lives
	w.clock.Advance(time.Minute)
	w.ok(w.do("PUT", "sys/leases/retry/"+c.LeaseID, `{"reason":"dropped its table"}`), 200)
	w.work(t.Context())
	_, data := w.listed("")
	name := c.Data["username"].(string)
	one := data["leases"].([]any)[0].(map[string]any)
	l := w.lease(c.LeaseID)
	at := func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
	for field, want := range map[string]any{
		"lease_id": c.LeaseID, "error": fmt.Sprintf("role %q owns objects", name), "username": name,
		"mount": "database/", "connection": "my-postgres", "role": "readonly", "display_name": "root", "reason": "revoked by prefix",
		"attempts": 2.0, "first_failure": at(began), "last_failure": at(began.Add(time.Minute)),
		"next_attempt": at(l.Revocation.NextTryAt), "since": at(began),
	} {
		if one[field] != want {
			t.Errorf("%s is %v, want %v", field, one[field], want)
		}
	}
	if data["lease_count"] != 1.0 {
		t.Errorf("%v leases", data["lease_count"])
	}
}

// The list of parked revocations is narrowed by path and by connection.
func TestParkedIsNarrowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.parked(3)
	w.connection(all[0].LeaseID, "my-postgres")
	for query, want := range map[string]int{
		"": 3, "&prefix=database": 3, "&prefix=database/creds/readonly/": 3, "&prefix=database/creds/read": 0, "&prefix=other": 0,
		"&connection=my-postgres": 3, "&connection=database/my-postgres": 3, "&connection=other": 0, "&connection=other/my-postgres": 0,
		"&connection=my-postgres&prefix=other": 0, "&connection=my-postgres&limit=2": 2,
	} {
		ids, data := w.listed(query)
		total := float64(want)
		if strings.Contains(query, "limit") {
			total = 3
		}
		if len(ids) != want || data["lease_count"] != total {
			t.Errorf("%q: %d of %v", query, len(ids), data["lease_count"])
		}
	}
}

// C8, A10: a retry makes the next try due now, by a transition that says who
// asked and why; what has not failed, or is over, is left alone.
func TestRetryNow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.parked(3)
	w.connection(all[0].LeaseID, "my-postgres")
	live := w.creds()
	due := func(c envelope) bool { return !w.lease(c.LeaseID).Revocation.NextTryAt.After(w.clock.Now()) }
	for path, want := range map[string]int{
		"retry/" + all[0].LeaseID: 1, "retry-prefix/database/creds": 3, "retry-connection/database/my-postgres": 3,
		"retry-connection/other/my-postgres": 0, "retry-prefix/other": 0,
	} {
		w.clock.Advance(time.Minute)
		before := len(w.events(event.LeaseProgress))
		got := w.ok(w.do("PUT", "sys/leases/"+path, `{"reason":"the grant is back"}`), 200).envelope(t).Data
		if got["retried"] != float64(want) {
			t.Errorf("%s: %v", path, got)
		}
		said := w.events(event.LeaseProgress)[before:]
		if len(said) != want {
			t.Fatalf("%s: %d transitions, want %d", path, len(said), want)
		}
		for _, e := range said {
			if e.Data.Actor.RequestID == "" || e.Data.Actor.DisplayName != "root" || e.Data.Reason != "tried again by request: the grant is back" {
				t.Errorf("%s: %+v", path, e.Data)
			}
		}
		if want == len(all) {
			for _, c := range all {
				if !due(c) {
					t.Errorf("%s: %s is not due", path, c.LeaseID)
				}
			}
		}
		w.work(t.Context()) // fails again, and waits
	}
	w.refused(w.do("PUT", "sys/leases/retry", `{"lease_id":"`+live.LeaseID+`"}`), 400, "the lease is not being revoked (it is active): there is nothing to try again")
	w.refused(w.do("PUT", "sys/leases/retry/database/creds/readonly/none", ""), 400, "invalid lease")
	w.refused(w.do("PUT", "sys/leases/retry", ""), 400, "lease_id must be specified")
	if l := w.lease(live.LeaseID); l.State != lease.Active {
		t.Errorf("what lives is %s", l.State)
	}
}

// A retry that has no time for all says where the next request goes on.
func TestRetryInParts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.parked(3)
	ids, _ := w.listed("")
	got := w.ok(w.do("PUT", "sys/leases/retry-prefix/database", `{"after":"`+ids[0]+`"}`), 200).envelope(t).Data
	if got["retried"] != 2.0 || got["next"] != "" {
		t.Errorf("%v", got)
	}
	w.store.Break(storetest.Fault{Method: "Apply"})
	if r := w.do("PUT", "sys/leases/retry-prefix/database", ""); r.code < 500 {
		t.Errorf("without the store: %d %s", r.code, r.body)
	}
}

// A1, A10: one lease is abandoned only with a reason, only where the pipeline
// does not end it, and never a token or a stray account.
func TestAbandonOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *issuer.Config) { c.ForceAfter = 50 * time.Millisecond })
	c := w.parked(1)[0]
	at := "sys/leases/abandon/" + c.LeaseID
	const without = "reason must be specified: it is kept with the lease and on record, with who gave it"
	w.refused(w.do("PUT", at, ""), 400, without)
	w.refused(w.do("PUT", at, `{"reason":""}`), 400, without)
	r := w.ok(w.do("PUT", "sys/leases/revoke-prefix/database", `{"sync":false}`), 202)
	got := w.ok(w.do("PUT", at, `{"reason":"the server is gone"}`), 200).envelope(t).Data
	if got["state"] != "abandoned" || got["lease_id"] != c.LeaseID {
		t.Errorf("%v", got)
	}
	l := w.lease(c.LeaseID)
	if l.State != lease.Abandoned || l.Revocation.Reason != "abandoned by force: the server is gone" || l.Revocation.By.DisplayName != "root" {
		t.Errorf("%+v", l.Revocation)
	}
	said := w.events(event.LeaseAbandoned)
	if len(said) != 1 || said[0].Data.Reason != l.Revocation.Reason || said[0].Data.Actor.RequestID == "" {
		t.Errorf("events %+v", said)
	}
	w.counted(w.operation(r), 1, 0, 0, 0, 1)
	w.token(`{"ttl":"1h"}`)
	tokens, err := w.fake.Find(t.Context(), store.Query{Prefix: "auth/token/", Kind: lease.Token})
	must(t, err)
	w.refused(w.do("PUT", "sys/leases/abandon/"+string(tokens[len(tokens)-1].ID), `{"reason":"x"}`), 400, "a token has nothing that could fail: revoke it")
	w.refused(w.do("PUT", "sys/leases/abandon/none/x", `{"reason":"x"}`), 400, "invalid lease")

	// What can be revoked is.
	w.pipeline()
	c = w.creds()
	if got := w.ok(w.do("PUT", "sys/leases/abandon/"+c.LeaseID, `{"reason":"x"}`), 200).envelope(t).Data; got["state"] != "revoked" || w.exists(c.Data["username"].(string)) {
		t.Errorf("%v", got)
	}
}

// A2: how far the disabling of a mount has come is read as an operation; a client
// is answered as ever.
func TestDisablingIsAnOperation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 3 {
		w.creds()
	}
	stuck := w.creds()
	w.stuck(stuck, `role "{{name}}" owns objects`)
	owner := w.holder(rule("sys/mounts/database", "delete"))
	r := w.ok(w.as(owner, "DELETE", "sys/mounts/database", ""), 204)
	if r.body != "" {
		t.Errorf("answered %q", r.body)
	}
	data := w.operation(r)
	w.counted(data, 4, 0, 0, 4, 0)
	if data["type"] != "disable" || data["prefix"] != "database/" || data["reason"] != "mount was disabled" || data["listed"] != true {
		t.Errorf("operation %v", data)
	}
	w.work(t.Context())
	data = w.operation(r)
	w.counted(data, 4, 3, 1, 0, 0)
	if why := data["failures"].([]any)[0].(map[string]any); why["error"] != `role "{{name}}" owns objects` || why["parked"] != 1.0 {
		t.Errorf("failures %v", data["failures"])
	}
	at := strings.TrimPrefix(r.header.Get("Location"), "/v1/")
	w.ok(w.as(owner, "GET", at, ""), 200) // who began it
	w.refused(w.as(w.holder(rule("x", "read")), "GET", at, ""), 403, lacks)
	if keys := fmt.Sprint(w.ok(w.do("LIST", "sys/leases/operations", ""), 200).envelope(t).Data["keys"]); keys != "["+data["operation"].(string)+"]" {
		t.Errorf("operations %s", keys)
	}
	// Of a mount that is made anew there, nothing is counted or taken.
	w.ok(w.do("POST", "sys/mounts/database", `{"type":"database"}`), 204)
	w.counted(w.operation(r), 4, 3, 1, 0, 0)
	w.ok(w.do("PUT", "sys/leases/abandon/"+stuck.LeaseID, `{"reason":"gone"}`), 200)
	data = w.operation(r)
	w.counted(data, 4, 3, 0, 0, 1)
	if data["finished"] != true {
		t.Errorf("operation %v", data)
	}
	// None there: nothing to follow.
	if r := w.ok(w.do("DELETE", "sys/mounts/none", ""), 204); r.header.Get("Location") != "" {
		t.Errorf("an operation %q for nothing", r.header.Get("Location"))
	}
}

// A recount that is asked for is kept for the revoker, and on record.
func TestRecountIsAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if data := w.ok(w.do("GET", "sys/leases/recount", ""), 200).envelope(t).Data; data["asked_at"] != nil || data["finished_at"] != nil {
		t.Errorf("before: %v", data)
	}
	w.ok(w.do("PUT", "sys/leases/recount", ""), 202)
	last, _, err := store.ReadRecount(t.Context(), w.fake)
	must(t, err)
	if !last.AskedAt.Equal(w.clock.Now()) || !last.At.IsZero() {
		t.Errorf("%+v", last)
	}
	if data := w.ok(w.do("GET", "sys/leases/recount", ""), 200).envelope(t).Data; data["asked_at"] == nil {
		t.Errorf("after: %v", data)
	}
	for _, done := range []bool{false, true} {
		w.store.Break(storetest.Fault{Method: "Write", Done: done})
		if r := w.do("PUT", "sys/leases/recount", ""); r.code < 500 {
			t.Errorf("done=%t: %d %s", done, r.code, r.body)
		}
		w.store.Break()
	}
}
