package issuer_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// operation is the data of the operation that r began.
func (w *world) operation(r response) map[string]any {
	w.t.Helper()
	at, ok := strings.CutPrefix(r.header.Get("Location"), "/v1/")
	if !ok {
		w.t.Fatalf("Location %q", r.header.Get("Location"))
	}
	return w.ok(w.do("GET", at, ""), 200).envelope(w.t).Data
}

// counted fails the test unless an operation counts its leases so.
func (w *world) counted(data map[string]any, total, done, failed, open, abandoned int) {
	w.t.Helper()
	got := fmt.Sprint(data["total"], data["done"], data["failed"], data["open"], data["abandoned"])
	if want := fmt.Sprint(total, done, failed, open, abandoned); got != want {
		w.t.Errorf("total, done, failed, open, abandoned: %s, want %s: %v", got, want, data)
	}
}

// stuck makes the revocation of an account fail.
func (w *world) stuck(c envelope, why string) {
	w.engine.Inject(enginetest.Fault{
		Method: enginetest.MethodRemove, Account: c.Data["username"].(string),
		Err: &engine.Error{Kind: engine.Refused, Message: strings.ReplaceAll(why, "{{name}}", c.Data["username"].(string))},
	})
}

// A4: an operation counts what is done, failed and open, and groups failures by
// their reason, whatever the accounts are called.
func TestOperationCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all []envelope
	for range 7 {
		all = append(all, w.creds())
	}
	for i := range 3 {
		w.stuck(all[i], `role "{{name}}" owns objects`)
	}
	w.stuck(all[3], "no route to host")
	r := w.ok(w.do("PUT", "sys/leases/revoke-prefix/database/creds", `{"sync":false,"reason":"drill"}`), 202)
	data := w.operation(r)
	w.counted(data, 7, 0, 0, 7, 0)
	if data["finished"] != false || data["type"] != "revoke-prefix" || data["reason"] != "revoked by prefix: drill" || data["display_name"] != "root" {
		t.Errorf("operation %v", data)
	}
	w.work(t.Context())
	data = w.operation(r)
	w.counted(data, 7, 3, 4, 0, 0)
	first := data["failures"].([]any)[0].(map[string]any)
	if len(data["failures"].([]any)) != 2 || first["error"] != `role "{{name}}" owns objects` || first["count"] != 3.0 || first["parked"] != 3.0 || len(first["lease_ids"].([]any)) != 3 {
		t.Errorf("failures %v", data["failures"])
	}
	// What the prefix takes of an earlier operation is part of the new one too.
	f := w.ok(w.do("PUT", "sys/leases/revoke-force/database/creds", `{"reason":"the host is gone"}`), 204)
	w.counted(w.operation(f), 4, 0, 0, 0, 4)
	w.counted(w.operation(r), 7, 3, 0, 0, 4)
	if data := w.operation(f); data["type"] != "revoke-force" || data["finished"] != true {
		t.Errorf("operation %v", data)
	}
	l := w.lease(all[0].LeaseID)
	if l.State != lease.Abandoned || l.Revocation.Reason != "abandoned by force: the host is gone" || l.Revocation.By.DisplayName != "root" {
		t.Errorf("after force: %s %+v", l.State, l.Revocation)
	}
	for body, want := range map[string]string{
		`{"reason":"` + strings.Repeat("x", 257) + `"}`: "reason: at most 256 bytes without control characters",
		`{"reason":"a\nb"}`:                             "reason: at most 256 bytes without control characters",
		`{"reason":{}}`:                                 `error converting input for field "reason": expected a string`,
	} {
		w.refused(w.do("PUT", "sys/leases/revoke-force/database/creds", body), 400, want)
		w.refused(w.do("PUT", "sys/leases/revoke-prefix/database/creds", body), 400, want)
	}
}

// The reasons that an operation shows are bounded, the leases that it counts
// are not.
func TestOperationReasonsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const all = 30
	for i := range all {
		w.stuck(w.creds(), fmt.Sprint("reason ", i))
	}
	r := w.ok(w.do("PUT", "sys/leases/revoke-prefix/database", `{"sync":false}`), 202)
	w.work(t.Context())
	data := w.operation(r)
	if n := len(data["failures"].([]any)); n != 20 || data["failed"] != 30.0 || data["other_failures"] != 10.0 {
		t.Errorf("%d reasons shown, %v failed, %v for others", n, data["failed"], data["other_failures"])
	}
}

// An operation is read by the token that began it, and by who may list leases.
func TestOperationsOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.creds()
	mine := w.holder(rule("sys/leases/revoke-prefix/*", "update", "sudo"))
	theirs := w.holder(rule("sys/leases/revoke-prefix/*", "update", "sudo") + rule("sys/leases/operations/*", "read"))
	operator := w.holder(rule("sys/leases/operations", "list", "sudo") + rule("sys/leases/operations/*", "read", "sudo"))
	r := w.ok(w.as(mine, "PUT", "sys/leases/revoke-prefix/database", `{"sync":false}`), 202)
	at := strings.TrimPrefix(r.header.Get("Location"), "/v1/")
	w.ok(w.as(mine, "GET", at, ""), 200)
	w.ok(w.as(operator, "GET", at, ""), 200)
	w.refused(w.as(theirs, "GET", at, ""), 403, lacks)
	w.refused(w.as(theirs, "LIST", "sys/leases/operations", ""), 403, lacks)
	w.refused(w.as(mine, "LIST", "sys/leases/operations", ""), 403, lacks)
	// One that is not there looks like one of another's.
	w.refused(w.as(theirs, "GET", "sys/leases/operations/none", ""), 403, lacks)
	w.refused(w.as(mine, "GET", "sys/leases/operations/none", ""), 403, lacks)
	w.ok(w.as(operator, "GET", "sys/leases/operations/none", ""), 404)
	if keys := fmt.Sprint(w.ok(w.as(operator, "LIST", "sys/leases/operations", ""), 200).envelope(t).Data["keys"]); keys != "["+at[len("sys/leases/operations/"):]+"]" {
		t.Errorf("operations %s", keys)
	}
}

// An operation whose mark as listed is lost is listed again by the sweep; until
// then its numbers are not known, and it is not finished.
func TestOperationThatIsNotListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.creds()
	w.store.Break(storetest.Fault{Method: "Find"})
	r := w.ok(w.do("PUT", "sys/leases/revoke-prefix/database", `{"sync":false}`), 202)
	w.store.Break()
	data := w.operation(r)
	if data["listed"] != false || data["total"] != nil || data["done"] != nil || data["finished"] != false || data["open"] != 1.0 {
		t.Errorf("operation %v", data)
	}
}

// What a stock server's list of irrevocable leases takes and tells.
func TestIrrevocable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *issuer.Config) { c.ForceAfter = time.Millisecond })
	const all = 4
	for range all {
		w.stuck(w.creds(), "no")
	}
	w.ok(w.do("PUT", "sys/leases/revoke-prefix/database", `{"sync":false}`), 202)
	w.work(t.Context())
	accessor := w.ok(w.do("GET", "sys/mounts/database", ""), 200).envelope(t).Data["accessor"]
	for query, want := range map[string]int{"": all, "&limit=none": all, "&limit=NONE&include_child_namespaces=true": all, "&limit=3": 3, "&limit=9": all} {
		e := w.ok(w.do("GET", "sys/leases?type=Irrevocable"+query, ""), 200).envelope(t)
		list := e.Data["leases"].([]any)
		if len(list) != want || e.Data["lease_count"] != float64(all) || (len(e.Warnings) > 0) != (want < all) {
			t.Errorf("%q: %d listed of %v, warnings %q", query, len(list), e.Data["lease_count"], e.Warnings)
		}
		if one := list[0].(map[string]any); one["mount_id"] != accessor || one["error"] != "no" || w.lease(one["lease_id"].(string)).State != lease.Revoking {
			t.Errorf("%q: %v", query, one)
		}
	}
	for query, text := range map[string]string{
		"limit=0": "limit must be 'none' or a positive integer", "limit=x": `invalid 'limit' provided: "x"`,
		"include_child_namespaces=x": `error converting input for field "include_child_namespaces": "x" is neither true nor false`,
	} {
		if r := w.do("GET", "sys/leases?type=irrevocable&"+query, ""); r.code != 400 || r.envelope(t).Errors[0] != text {
			t.Errorf("%s: %d %s", query, r.code, r.body)
		}
	}
	counts := w.ok(w.do("GET", "sys/leases/count?type=irrevocable&include_child_namespaces=true", ""), 200).envelope(t).Data
	if counts["lease_count"] != float64(all) || fmt.Sprint(counts["counts"]) != fmt.Sprintf("map[%s:%d]", accessor, all) {
		t.Errorf("counts %v", counts)
	}
	for _, path := range []string{"sys/leases", "sys/leases?type=all", "sys/leases/count", "sys/leases/count?type=x"} {
		if r := w.ok(w.do("GET", path, ""), 404); r.body != `{"errors":[]}`+"\n" {
			t.Errorf("%s: %s", path, r.body)
		}
	}
	if e := w.ok(w.do("PUT", "sys/leases/tidy", ""), 202).envelope(t); len(e.Warnings) != 1 || e.Data != nil {
		t.Errorf("tidy: %+v", e)
	}
}

// A force whose count is not kept counts its leases as done, never as open: the
// record says that they were abandoned.
func TestForceWhenTheStoreFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *issuer.Config) { c.ForceAfter = time.Millisecond })
	c := w.creds()
	w.store.Break(storetest.Fault{Method: "Write", Nth: 2}) // the first marks it as listed
	r := w.do("PUT", "sys/leases/revoke-force/database", "")
	w.store.Break()
	if r.code < 500 || w.lease(c.LeaseID).State != lease.Abandoned {
		t.Errorf("%d %s, lease %s", r.code, r.body, w.lease(c.LeaseID).State)
	}
	entries, err := w.fake.List(t.Context(), store.KindBarrier, "", "", false, 0)
	must(t, err)
	data := w.ok(w.do("GET", "sys/leases/operations/"+entries[0].Key, ""), 200).envelope(t).Data
	w.counted(data, 1, 1, 0, 0, 0)
}

// Operations are listed by pages.
func TestOperationsByPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok(w.do("LIST", "sys/leases/operations", ""), 404)
	const all = 5
	for range all {
		w.ok(w.do("PUT", "sys/leases/revoke-prefix/none", `{"sync":false}`), 202)
	}
	seen, after := map[any]bool{}, ""
	for {
		r := w.do("LIST", "sys/leases/operations?limit=2&after="+after, "")
		if r.code == 404 {
			break
		}
		keys := w.ok(r, 200).envelope(t).Data["keys"].([]any)
		if len(keys) > 2 {
			t.Fatalf("a page of %d", len(keys))
		}
		for _, key := range keys {
			seen[key], after = true, key.(string)
		}
	}
	if len(seen) != all {
		t.Errorf("%d operations were listed, want %d", len(seen), all)
	}
}

// Where the store does not answer, a preview or an operation is an error, never
// a count.
func TestCountsWhenTheStoreFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.creds()
	r := w.ok(w.do("PUT", "sys/leases/revoke-prefix/database", `{"sync":false}`), 202)
	at := strings.TrimPrefix(r.header.Get("Location"), "/v1/")
	for _, method := range []string{"Find", "Now", "Entry", "Count", "Revoking"} {
		w.store.Break(storetest.Fault{Method: method})
		for path, reads := range map[string]string{
			"sys/leases/preview/database": "Find Now", at: "Find Entry", "sys/leases?type=irrevocable": "Find Count", "sys/leases/count?type=irrevocable": "Revoking",
		} {
			if got := w.do("GET", path, ""); got.code < 500 && slices.Contains(strings.Fields(reads), method) {
				t.Errorf("%s without %s: %d %s", path, method, got.code, got.body)
			}
		}
		w.store.Break()
	}
	w.ok(w.do("GET", at, ""), 200)
}
