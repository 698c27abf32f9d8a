package issuer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

const suspendedText = "the store is suspended: it has lost commits, or its server was started and nobody has compared it with the audit log since; " +
	"nothing is issued or renewed until that is done; see sys/installation"

// resume ends a suspension in which nothing was lost.
func (w *world) resume() {
	w.t.Helper()
	must(w.t, w.fake.Resume(w.t.Context(), 0, event.Position{}, store.Write{}))
}

// run does the issuer's background work until the test ends.
func (w *world) run() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.issuer.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		must(w.t, <-ended)
	})
}

// installation is the data of sys/installation.
func (w *world) installation() map[string]any {
	w.t.Helper()
	return w.ok(w.do("GET", "sys/installation", ""), 200).envelope(w.t).Data
}

// A7: a store that is suspended issues and renews nothing, and the target does
// not hear of what was refused. What takes access away is served.
func TestSuspended(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	w.pipeline()
	kept, given := w.creds(), w.creds()
	child := w.token(`{"ttl":"1h"}`).Auth.ClientToken
	user := fmt.Sprint(kept.Data["username"])
	until, err := w.probe.Expiry(t.Context(), user)
	must(t, err)
	accounts := len(w.probe.Names())
	must(t, w.fake.Suspend(t.Context(), store.Suspension{Reason: "older than its record"}))

	for _, r := range []response{
		w.do("GET", "database/creds/readonly", ""),
		w.do("PUT", "database/creds/readonly", "{}"),
		w.renew(kept.LeaseID, 7200),
		w.renew(kept.LeaseID, 1), // a shortening, too: what is shortened may be an older expiry
		w.do("POST", "auth/token/create", `{"ttl":"1h"}`),
		w.as(child, "PUT", "auth/token/renew-self", `{"increment":0}`),
	} {
		w.refused(r, 503, suspendedText)
		if got := r.header.Get("Retry-After"); got != "5" {
			t.Errorf("Retry-After %q", got)
		}
	}
	if n := len(w.probe.Names()); n != accounts {
		t.Errorf("%d accounts, want %d", n, accounts)
	}
	if n := w.engine.Calls(enginetest.MethodRenew); n != 0 {
		t.Errorf("the target was told of %d renewals", n)
	}
	w.ok(w.lookup(kept.LeaseID), 200)
	w.ok(w.do("POST", "sys/mounts/other", `{"type":"database"}`), 204)
	w.ok(w.do("PUT", "sys/leases/revoke", `{"lease_id":"`+given.LeaseID+`","sync":true}`), 204)
	if w.exists(fmt.Sprint(given.Data["username"])) {
		t.Error("a lease that was revoked by request has its account")
	}
	data := w.installation()
	if data["suspended"] != true || data["suspended_reason"] != "older than its record" ||
		data["suspended_since"] != w.clock.Now().Format(time.RFC3339Nano) || data["sweeping"] != "reporting" {
		t.Errorf("installation %v", data)
	}
	eventually(t, "health says suspended", func() bool {
		return strings.HasSuffix(w.ok(w.do("GET", "sys/health", ""), 200).body, `,"suspended":true}`+"\n")
	})

	w.resume()
	if got, err := w.probe.Expiry(t.Context(), user); err != nil || !got.Equal(until) {
		t.Errorf("the account runs out at %s (%v), want %s", got, err, until)
	}
	w.ok(w.renew(kept.LeaseID, 7200), 200)
	w.creds()
	if data := w.installation(); data["suspended"] != false || data["suspended_since"] != nil || data["sweeping"] != "acting" {
		t.Errorf("installation %v", data)
	}
	var refused int
	for _, e := range w.requests() {
		if e.Data.Status == 503 {
			refused++
		}
	}
	if refused != 6 {
		t.Errorf("%d refused requests are on record, want 6 (D6)", refused)
	}
}

// A7, B9: a suspension that comes while the target is told of a renewal leaves
// the later expiry there: it may be what the client was promised.
func TestSuspendedWhileRenewing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.creds()
	release, reached := make(chan struct{}), make(chan struct{}, 1)
	w.engine.Inject(enginetest.Fault{Method: enginetest.MethodRenew, Wait: release, Reached: reached, Times: 1})
	got := make(chan response)
	go func() { got <- w.renew(c.LeaseID, 7200) }()
	arrive(t, reached)
	must(t, w.fake.Suspend(t.Context(), store.Suspension{Reason: "older than its record"}))
	close(release)
	w.refused(<-got, 503, suspendedText)
	until, err := w.probe.Expiry(t.Context(), fmt.Sprint(c.Data["username"]))
	must(t, err)
	if l := w.lease(c.LeaseID); until.Sub(l.ExpiresAt) < 30*time.Minute {
		t.Errorf("the account runs out at %s, the lease at %s: the target was told an earlier expiry again", until, l.ExpiresAt)
	}
}

// What a person sees of a recovery, doubts, and targets; confirming ends the
// doubts in one commit with the event of its request (B3, D6).
func TestInstallation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	ctx := t.Context()
	w.refused(w.as("", "GET", "sys/installation", ""), 403, "permission denied")
	w.ok(w.do("DELETE", "sys/installation", ""), 405)
	if text := string(w.json("sys/installation")); text !=
		`{"contested":[],"doubts":[],"id":"6315a266-0021-c10a-e55a-784f32f63b7f","processes":[],"recoveries":[],"strays":[],`+
			`"suspended":false,"suspended_reason":"","suspended_since":null,"sweeping":"acting"}` {
		t.Errorf("an installation in order is %s", text)
	}

	must(t, installation.Raise(ctx, w.fake, "it was moved"))
	w.contest(target, "curfew:other:7")
	must(t, installation.ReportStrays(ctx, w.fake, target, installation.Strays{Count: 2, Accounts: []string{"v-a", "v-b"}}))
	must(t, installation.ReportStrays(ctx, w.fake, "gone-target", installation.Strays{Count: 1, Accounts: []string{"v-c"}}))
	report, err := installation.Reporting(installation.Restored{Epoch: 2, Reason: "restored", At: w.clock.Now(), Returned: 3})
	must(t, err)
	_, err = w.fake.Write(ctx, store.Write{Puts: []store.Entry{report}})
	must(t, err)
	at := w.clock.Now()
	must(t, installation.Beat(ctx, w.fake, installation.Process{
		Name: "one-7", Program: "curfew-revoker", Version: "1.2.4", Started: at.Add(-time.Hour), Seen: at, Skew: -1234567 * time.Microsecond,
	}))
	data := w.installation()
	for key, want := range map[string]string{
		"processes": `[{"clock_skew_ms":-1234,"name":"one-7","program":"curfew-revoker","seen":"` + at.Format(time.RFC3339Nano) +
			`","started":"` + at.Add(-time.Hour).Format(time.RFC3339Nano) + `","version":"1.2.4"}]`,
		"sweeping":  `"reporting"`,
		"doubts":    `["it was moved"]`,
		"contested": `[{"connection":"my-postgres","found":"curfew:other:7","mount":"database/","target":"target-1"}]`,
		"strays": `[{"accounts":["v-c"],"connection":"","count":1,"mount":"","target":"gone-target"},` +
			`{"accounts":["v-a","v-b"],"connection":"my-postgres","count":2,"mount":"database/","target":"target-1"}]`,
		"recoveries": `[{"at":"` + w.clock.Now().Format(time.RFC3339Nano) + `","epoch":2,"from":"","lost":[],"lost_count":0,` +
			`"prolonged":0,"reason":"restored","returned":3,"revoked":0,"to":""}]`,
	} {
		if got, err := json.Marshal(data[key]); err != nil || string(got) != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	eventually(t, "health says doubted", func() bool {
		return strings.HasSuffix(w.ok(w.do("GET", "sys/health", ""), 200).body, `,"clock_skew_ms":1234,"doubted":true}`+"\n")
	})

	w.refused(w.as("", "PUT", "sys/installation/confirm", ""), 403, "permission denied")
	w.ok(w.do("GET", "sys/installation/confirm", ""), 405)
	if data := w.installation(); data["sweeping"] != "reporting" {
		t.Fatal("a refused request confirmed the installation")
	}
	w.store.Break()
	w.ok(w.do("PUT", "sys/installation/confirm", ""), 204)
	if n := w.store.Calls("Append"); n != 0 {
		t.Errorf("the event of the request had a commit of its own: %d", n)
	}
	data = w.installation()
	if data["sweeping"] != "acting" || len(data["doubts"].([]any)) != 0 || len(data["contested"].([]any)) != 0 {
		t.Errorf("after the confirmation: %v", data)
	}
	if o, _, err := installation.Owned(ctx, w.fake, target); err != nil || !o.Adopt {
		t.Errorf("the contested target is not to be taken over: %+v, %v", o, err)
	}
	confirmed := w.events(event.InstallationConfirmed)
	if len(confirmed) != 1 || confirmed[0].Data.Actor.DisplayName != "root" {
		t.Fatalf("confirmations on record: %+v", confirmed)
	}
	served := w.requests()
	if last := served[len(served)-1]; last.Data.Path != "sys/installation" || served[len(served)-2].Data.Path != "sys/installation/confirm" ||
		served[len(served)-2].Data.Status != 204 {
		t.Errorf("requests on record: %+v", served[len(served)-2:])
	}

	again := w.ok(w.do("POST", "sys/installation/confirm", "null"), 200).envelope(t)
	if len(again.Warnings) != 1 || again.Warnings[0] != "there was nothing to confirm: stray accounts are taken away already" {
		t.Errorf("warnings %q", again.Warnings)
	}
	if n := len(w.events(event.InstallationConfirmed)); n != 1 {
		t.Errorf("%d confirmations on record", n)
	}
}

// json is the data of a path as it came.
func (w *world) json(path string) json.RawMessage {
	w.t.Helper()
	var body struct{ Data json.RawMessage }
	must(w.t, json.Unmarshal([]byte(w.ok(w.do("GET", path, ""), 200).body), &body))
	return body.Data
}

// contest notes another's mark in a target.
func (w *world) contest(target, found string) {
	w.t.Helper()
	o, e, err := installation.Owned(w.t.Context(), w.fake, target)
	must(w.t, err)
	o.Contested = found
	must(w.t, installation.Own(w.t.Context(), w.fake, e, o))
}

// A confirmation whose commit fails confirms nothing.
func TestConfirmationIsNotCommitted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	must(t, installation.Raise(t.Context(), w.fake, "it was moved"))
	w.store.Break(storetest.Fault{Method: "Write"})
	w.ok(w.do("PUT", "sys/installation/confirm", ""), 500)
	w.store.Break()
	if data := w.installation(); data["sweeping"] != "reporting" {
		t.Errorf("installation %v", data)
	}
	w.ok(w.do("PUT", "sys/installation/confirm", ""), 204)
	if n := len(w.events(event.InstallationConfirmed)); n != 1 {
		t.Errorf("%d confirmations on record", n)
	}
}

// Where the store is silent, health says so soon and answers at once, whatever
// codes the question wishes for; it says so no more when the store is back.
// Nobody who asks makes the store be read.
func TestHealthWithoutTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	w.store.Break(storetest.Fault{Method: "Suspension"})
	eventually(t, "health says that the store is away", func() bool { return w.as("", "GET", "sys/health", "").code == 503 })
	for _, query := range []string{"", "?sealedcode=299&uninitcode=298&activecode=200&standbyok=true"} {
		r := w.as("", "GET", "sys/health"+query, "")
		w.refused(r, 503, "the store does not answer")
		if r.header.Get("Retry-After") != "1" {
			t.Errorf("headers %v", r.header)
		}
	}
	if r := w.as("", "HEAD", "sys/health", ""); r.code != 503 || r.body != "" {
		t.Errorf("HEAD: %d %q", r.code, r.body)
	}
	w.ok(w.as("", "GET", "sys/seal-status", ""), 200) // it is not sealed
	// Steps read entries now and then, a few times a second; between two of these
	// health is asked and nothing is read.
	reads := func() int { return w.store.Calls("Now") + w.store.Calls("List") }
	eventually(t, "ten answers without reading the store", func() bool {
		before := reads()
		for range 10 {
			w.as("", "GET", "sys/health", "")
		}
		return reads() == before
	})
	w.store.Break()
	eventually(t, "health is well again", func() bool { return w.as("", "GET", "sys/health", "").code == 200 })
}

// What load balancers ask all the time is logged for who debugs, with its path;
// initialising is not one of that.
func TestProbesAreDebugLines(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// A request is logged after its answer: the last one of the beginning, too.
	eventually(t, "the mount's line", func() bool { return strings.Contains(w.logs.String(), `"path":"sys/mounts/database"`) })
	from := len(w.logs.String())
	for _, sealed := range []bool{false, true} {
		w.seal.set(func(s *issuer.SealStatus) { s.Initialized, s.Sealed = !sealed, sealed })
		for _, path := range []string{"sys/health", "sys/seal-status", "sys/leader", "sys/init"} {
			w.as("", "GET", path, "")
			w.as("", "HEAD", path, "")
			eventually(t, "a line of "+path, func() bool { return strings.Contains(w.logs.String()[from:], `"path":"`+path+`"`) })
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(w.logs.String()[from:]), "\n") {
		if !strings.HasPrefix(line, `{"level":"debug",`) {
			t.Errorf("a probe's line is %s", line)
		}
	}
	from = len(w.logs.String())
	w.ok(w.as("", "PUT", "sys/init", ""), 200)
	eventually(t, "initialising is logged", func() bool { return strings.Contains(w.logs.String()[from:], `{"level":"info",`) })
}
