//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/testkit"
)

// restoration is a server whose store went back to an older copy, while its
// stream and its target did not, and its ledger did or did not (A7).
type restoration struct {
	*testing.T
	server *curfew
	target *target
	client client
	dirs   []string // what goes back
	older  []string // the copies

	kept    credential // short-lived in the copy, prolonged since
	revoked credential // alive in the copy, revoked since
	issued  credential // since
	brief   credential // since, and run out by now
	token   string     // made since
	earlier string     // token of the copy
}

// newRestoration lives through all of that and leaves the server dead, with the
// older store in place, at a time at which that store takes the prolonged lease
// for overdue. Directories beside the store go back with it.
func newRestoration(t *testing.T, connect func(testing.TB, *curfew) client, beside ...string) *restoration {
	t.Helper()
	s := newCurfew(t, sweeping)
	target := articleTarget(t, testkit.CreateRoleAdmin)
	c := connect(t, s)
	r := &restoration{T: t, server: s, target: target, client: c, dirs: []string{s.store()}}
	for _, name := range beside {
		r.dirs = append(r.dirs, filepath.Join(s.dir, name))
	}
	target.setUp(t, c, "database", "1h", "24h")
	target.role(t, c, "database", "brief", s1Creation, "3s", "3s")
	r.kept, r.revoked = issue(t, c, "database/creds/app"), issue(t, c, "database/creds/app")
	a, err := c.createToken("earlier", "1h")
	must(t, err, "create a token")
	r.earlier = a.Token
	_, err = c.renew(r.kept.lease, 30) // soon to end, in the copy
	must(t, err, "shorten a lease")
	ends := r.expiry(r.kept)

	r.older = s.copied(t, r.dirs)
	s.start(t)
	_, err = c.renew(r.kept.lease, 7200)
	must(t, err, "prolong a lease")
	must(t, c.revoke(r.revoked.lease, true), "revoke")
	r.issued, r.brief = issue(t, c, "database/creds/app"), issue(t, c, "database/creds/brief")
	a, err = c.createToken("later", "1h")
	must(t, err, "create a token")
	r.token = a.Token
	target.role(t, c, "database", "app", s1Creation, "2h", "24h")
	eventually(t, hang, func() error { // what is in no record cannot be got back
		for _, e := range s.entries(t, map[string][]string{"type": {"config.changed"}}) {
			if e.Data.Path == "database/roles/app" && e.Time.After(ends.Add(-30*time.Second)) {
				return nil
			}
		}
		return fmt.Errorf("the last change is not on record")
	})
	s.kill(t)
	r.goBack()
	time.Sleep(time.Until(ends.Add(time.Second))) // the store takes it for overdue
	return r
}

// goBack puts the copies in place.
func (r *restoration) goBack() {
	r.Helper()
	for i, dir := range r.dirs {
		putBack(r, r.older[i], dir)
	}
}

// expiry is that of a lease, as the server tells it.
func (r *restoration) expiry(cred credential) time.Time {
	r.Helper()
	a, err := r.client.lookup(cred.lease)
	must(r, err, "look up "+cred.lease)
	at, err := time.Parse(time.RFC3339Nano, a.text("expire_time"))
	must(r, err, "read the expiry")
	return at
}

// recovered fails unless everything is as it was before the store went back, or
// is said to be lost. It returns the report of the last recovery.
func (r *restoration) recovered() recovery {
	t, c := r.T, r.client
	t.Helper()
	i := r.server.installation(t)
	if distributed() { // an auditor is elected first, while the others serve already
		eventually(t, hang, func() error {
			if i = r.server.installation(t); i.Suspended || len(i.Recoveries) == 0 {
				return fmt.Errorf("the store has not recovered: %+v", i)
			}
			return nil
		})
	}
	if i.Suspended || len(i.Recoveries) == 0 {
		t.Fatalf("the store has not recovered: %+v", i)
	}
	want(t, "sweeping", i.Sweeping, "reporting")

	// What a client holds works on, beyond the end that the older store knew.
	want(t, "the prolonged lease works", r.target.works(t, r.kept), true)
	if left := time.Until(r.expiry(r.kept)); left < time.Hour {
		t.Errorf("the prolonged lease has %v left", left)
	}
	// What was taken away is taken away, and known to be.
	r.target.gone(t, r.revoked.user, r.brief.user)
	for _, cred := range []credential{r.revoked, r.brief} {
		eventually(t, hang, func() error {
			if _, err := c.lookup(cred.lease); statusOf(err) != http.StatusBadRequest {
				return fmt.Errorf("looking up %s, which has ended, is answered with status %d", cred.lease, statusOf(err))
			}
			return nil
		})
	}
	// What was issued since is a lease again.
	want(t, "the later lease works", r.target.works(t, r.issued), true)
	if left := time.Until(r.expiry(r.issued)); left < 30*time.Minute || left > 2*time.Hour {
		t.Errorf("the later lease has %v left", left)
	}
	// A token's text is in no record: what was made since is gone, what was
	// there before is not.
	_, err := c.as(t, r.token).lookupSelf()
	want(t, "status of the later token", statusOf(err), http.StatusForbidden)
	_, err = c.as(t, r.earlier).lookupSelf()
	must(t, err, "look up the earlier token")
	role, err := c.read("database/roles/app")
	must(t, err, "read the role")
	want(t, "default_ttl of the role", role.text("default_ttl"), "3600")
	return i.Recoveries[len(i.Recoveries)-1]
}

// finish: issuing works, everything can be taken back, and the record is whole.
func (r *restoration) finish() {
	t, s, c := r.T, r.server, r.client
	t.Helper()
	fresh := issue(t, c, "database/creds/app")
	want(t, "a lease issued after the recovery works", r.target.works(t, fresh), true)
	_, err := c.renew(fresh.lease, 7200)
	must(t, err, "renew a lease issued after the recovery")
	_, err = c.renew(r.issued.lease, 7200) // how to do so is in no record
	want(t, "status of a renewal of the lease that came back", statusOf(err), http.StatusBadRequest)
	_, err = c.renew(r.kept.lease, 4*3600)
	must(t, err, "renew the lease that was prolonged")
	must(t, c.revoke(r.issued.lease, true), "revoke the lease that came back")
	want(t, "its account is there", r.target.exists(t, r.issued.user), false)
	must(t, c.revoke(r.kept.lease, true), "revoke the prolonged lease")
	want(t, "its account is there", r.target.exists(t, r.kept.user), false)
	must(t, c.revoke(fresh.lease, true), "revoke")
	s.confirm(t)
	r.target.gone(t, r.target.stray(t, c))
	only(t, r.target, "v-", hang)
	for _, cred := range []credential{r.kept, r.revoked, r.issued, r.brief} {
		rising(t, s, cred.lease)
	}
	verified(t, s)
	want(t, "exit code", first(s.stop(t)), 0)
	out, code := s.run(t, "audit", "verify", "-data-dir="+s.dir)
	if code != 0 {
		t.Errorf("verify of a server that has stopped ended with %d:\n%s", code, out)
	}
}

func first[A, B any](a A, _ B) A { return a }

// TestStoreRestored puts an older copy of the store back under a newer ledger, a
// newer stream, or both. The server recovers by itself: the more revoked state
// wins, then the later expiry; what cannot come back is named; stray sweeps wait
// for a person.
func TestStoreRestored(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ back, lost []string }{
		"from ledger and stream": {},
		"from the ledger alone":  {lost: []string{"nats"}},
		"from the stream alone":  {back: []string{"audit"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRestoration(t, newBao, c.back...)
			s := r.server
			for _, dir := range c.lost {
				must(t, os.RemoveAll(filepath.Join(s.dir, dir)), "delete what is lost")
			}
			if p, far := s.form.(*place); far && len(c.back) > 0 {
				p.startBrokers(t)
			}
			began := time.Now()
			s.start(t)
			t.Logf("the server served after %v", time.Since(began).Round(time.Millisecond))
			report := r.recovered()
			want(t, "epoch that began", report.Epoch, 2)
			if report.Returned < 1 || report.Prolonged < 1 || report.Revoked < 1 {
				t.Errorf("the report counts %+v", report)
			}
			want(t, "the token is named as lost", report.lost("token", ""), true)
			want(t, "the change of the role is named as lost", report.lost("configuration", "roles/app"), true)
			out, code := s.run(t, "operator", "installation")
			if code != 0 || !strings.Contains(out, "Epoch 2 began") || !strings.Contains(out, "curfew operator confirm") {
				t.Errorf("operator installation ended with %d:\n%s", code, out)
			}
			r.target.onlyReports(t, s, r.client)
			want(t, "the prolonged lease works after more sweeps", r.target.works(t, r.kept), true)
			// A restart in between changes nothing.
			s.kill(t)
			s.start(t)
			want(t, "recoveries after a restart", len(s.installation(t).Recoveries), 1)
			r.recovered()
			want(t, "last epoch of the record", epochs(t, s), 2)
			r.finish()
		})
	}
}

// TestKilledInRecovery kills the server at random instants while its store
// recovers, and puts the older store back again in between. It ends in the same
// state.
func TestKilledInRecovery(t *testing.T) {
	t.Parallel()
	r := newRestoration(t, newVault)
	s := r.server
	began := time.Now()
	s.start(t)
	usual := time.Since(began)
	r.recovered()
	for round := range 4 {
		s.kill(t)
		r.goBack()
		for range 6 {
			after := rand.N(usual)
			s.launch(t)
			time.Sleep(after) // any instant will do
			s.kill(t)
			t.Logf("round %d: killed after %v of about %v", round+1, after.Round(time.Millisecond), usual.Round(time.Millisecond))
		}
		s.start(t)
		r.recovered()
	}
	epochs(t, s)
	r.finish()
}

// TestInstallationRestored puts back an older copy of the whole data directory:
// nothing knows what was issued since. It is reported, not taken away, until a
// person confirms (B3).
func TestInstallationRestored(t *testing.T) {
	t.Parallel()
	s := newCurfew(t, sweeping)
	target := articleTarget(t, testkit.CreateRoleAdmin)
	c := newVault(t, s)
	target.setUp(t, c, "database", "1h", "24h")
	known := issue(t, c, "database/creds/app")
	older := s.saved(t)
	s.start(t)
	target.gone(t, target.stray(t, c)) // the sweep was here and left its mark
	unknown := issue(t, c, "database/creds/app")
	s.kill(t)
	s.restored(t, older)
	s.start(t)
	s.reports(t, unknown.user)
	target.onlyReports(t, s, c)
	for _, cred := range []credential{known, unknown} {
		want(t, cred.user+" works", target.works(t, cred), true)
	}
	s.doubts(t)
	if i := s.installation(t); slices.Contains(i.reported(), known.user) {
		t.Errorf("an account that has a lease is reported: %+v", i)
	}
	s.confirm(t)
	only(t, target, "v-", hang, known.user)
	want(t, "the known lease works", target.works(t, known), true)
	eventually(t, hang, func() error {
		if left := s.installation(t).reported(); len(left) > 0 {
			return fmt.Errorf("what is gone is still reported: %q", left)
		}
		return nil
	})
	verified(t, s)
	// A restart in the same place doubts nothing.
	must(t, c.revoke(known.lease, true), "revoke")
	s.kill(t)
	s.start(t)
	target.gone(t, target.stray(t, c))
	want(t, "sweeping", s.installation(t).Sweeping, "acting")
}

// TestCopyOfInstallation starts a copy of the data directory beside the
// original. It takes nothing away that the original issues since (B3).
func TestCopyOfInstallation(t *testing.T) {
	t.Parallel()
	s := newCurfew(t, sweeping)
	target := articleTarget(t, testkit.CreateRoleAdmin)
	c := newBao(t, s)
	target.setUp(t, c, "database", "1h", "24h")
	known := issue(t, c, "database/creds/app")
	copied := newCurfew(t, sweeping) // an installation of its own, until it is replaced
	copied.kill(t)
	copied.restored(t, s.saved(t))
	s.start(t)
	held := []credential{known, issue(t, c, "database/creds/app")}
	target.gone(t, target.stray(t, c)) // the original's sweep acts

	copied.root = s.root
	copied.start(t)
	for range 3 { // each is seen by a later round of the copy
		cred := issue(t, c, "database/creds/app")
		held = append(held, cred)
		copied.reports(t, cred.user)
	}
	copied.doubts(t)
	works := func(when string) {
		t.Helper()
		for _, cred := range held {
			if !target.works(t, cred) {
				t.Errorf("%s: %s does not work, though a client holds it", when, cred.user)
			}
		}
	}
	works("beside a copy")
	eventually(t, hang, func() error {
		if i := s.installation(t); len(i.Contested) == 0 {
			return fmt.Errorf("the original has not noticed the copy: %+v", i)
		}
		return nil
	})
	target.onlyReports(t, s, c)
	// An operator of the original looks, and says which one counts.
	copied.kill(t)
	s.confirm(t)
	target.gone(t, target.stray(t, c))
	works("after the copy has ended")
	// The copy, started again, meets a target that is not its own.
	copied.start(t)
	cred := issue(t, c, "database/creds/app")
	held = append(held, cred)
	copied.reports(t, cred.user)
	target.gone(t, target.stray(t, c)) // it is the original's
	works("beside the copy again")
	copied.kill(t)
	s.confirm(t)
	for _, cred := range held {
		must(t, c.revoke(cred.lease, true), "revoke")
	}
	only(t, target, "v-", hang)
	verified(t, s)
}
