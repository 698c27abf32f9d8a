package issuer_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
)

func (w *world) preview(prefix string) envelope {
	w.t.Helper()
	return w.ok(w.do("GET", "sys/leases/preview/"+prefix, ""), 200).envelope(w.t)
}

// A4: a preview counts what a revocation of the prefix would take, by role and
// by who created it, and takes nothing.
func TestPreview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.role("other", lease.TTLs{Default: 2 * time.Hour, Max: 24 * time.Hour})
	app := w.token(`{"ttl":"5h","policies":["a"],"display_name":"app"}`).Auth
	w.creds()
	w.clock.Advance(time.Minute)
	for _, path := range []string{"readonly", "other", "other"} {
		w.ok(w.as(app.ClientToken, "GET", "database/creds/"+path, ""), 200)
	}
	gone := w.creds()
	w.ok(w.do("PUT", "sys/leases/revoke/"+gone.LeaseID, `{"sync":false}`), 202)
	before := len(w.leases(lease.Active))
	e := w.preview("database")
	d := e.Data
	for field, want := range map[string]any{
		"prefix": "database/", "total": 4.0, "revoking": 1.0, "tokens": 0.0, "never_expire": 0.0,
		"oldest_issue_time": "2030-01-02T03:04:05Z", "newest_issue_time": "2030-01-02T03:05:05Z", "as_of": "2030-01-02T03:05:05Z",
		"roles":        "[map[count:2 path:database/creds/other] map[count:2 path:database/creds/readonly]]",
		"owners":       fmt.Sprintf("[map[accessor:%s count:3 display_name:token-app] map[accessor:%s count:1 display_name:root]]", app.Accessor, w.self(w.root)["accessor"]),
		"other_owners": "map[at_least:false count:0 leases:0]", "other_roles": "map[at_least:false count:0 leases:0]",
	} {
		if fmt.Sprint(d[field]) != fmt.Sprint(want) {
			t.Errorf("%s is %v, want %v", field, d[field], want)
		}
	}
	first, last := time.Time{}, time.Time{}
	for _, l := range w.leases(lease.Active) {
		if first.IsZero() || l.ExpiresAt.Before(first) {
			first = l.ExpiresAt
		}
		if l.ExpiresAt.After(last) {
			last = l.ExpiresAt
		}
	}
	if d["earliest_expire_time"] != first.Format(time.RFC3339Nano) || d["latest_expire_time"] != last.Format(time.RFC3339Nano) {
		t.Errorf("expiry from %v to %v, want %s to %s", d["earliest_expire_time"], d["latest_expire_time"], first, last)
	}
	if n := len(w.leases(lease.Active)); n != before || len(e.Warnings) != 0 {
		t.Errorf("%d of %d leases are active after a preview, warnings %q", n, before, e.Warnings)
	}
	if strings.Contains(fmt.Sprint(d), app.ClientToken) || strings.Contains(fmt.Sprint(d), "hvs.") {
		t.Error("a preview shows a token")
	}
}

// A prefix takes whole elements, and tokens as well as secrets.
func TestPreviewOfPrefixes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.creds()
	w.token(`{"ttl":"1h"}`)
	for prefix, want := range map[string]float64{
		"database": 1, "database/": 1, "database/creds": 1, "database/creds/readonly": 1, "database/creds/read": 0, "data": 0, "auth/token": 1, "none/x": 0,
	} {
		if got := w.preview(prefix).Data["total"]; got != want {
			t.Errorf("%s takes %v, want %v", prefix, got, want)
		}
	}
	if e := w.preview("auth"); len(e.Warnings) != 1 || e.Data["tokens"] != 1.0 {
		t.Errorf("tokens: %v %q", e.Data["tokens"], e.Warnings)
	}
	if d := w.preview("none").Data; d["oldest_issue_time"] != nil || d["latest_expire_time"] != nil || fmt.Sprint(d["roles"]) != "[]" {
		t.Errorf("of nothing: %v", d)
	}
	const hidden = "tokens without expiry cannot be revoked by prefix: use auth/token/revoke-accessor"
	w.refused(w.do("GET", "sys/leases/preview/sys", ""), 400, hidden)
	w.refused(w.do("PUT", "sys/leases/revoke-prefix/sys", ""), 400, hidden)
	w.ok(w.do("GET", "sys/leases/preview", ""), 404)
	w.ok(w.do("PUT", "sys/leases/preview/database", ""), 405)
}
