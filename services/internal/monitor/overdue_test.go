package monitor

import (
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/revoker"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// site is a store with one mount and one connection.
type site struct {
	*testing.T
	*storetest.Faulty
	clock      *storetest.Clock
	mount, own store.Entry
	url        string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{T: t, clock: storetest.NewClock()}
	s.Faulty = storetest.NewFaulty(storetest.NewFake(s.clock))
	s.mount = s.put(store.KindMount, "database/")
	s.own = s.put(store.KindConnection, s.mount.ID+"/pg")
	m := New("curfew-test", "1.2.3")
	m.Register(Store(s, s.clock))
	url, stop := serve(t, m)
	s.url = url
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *site) put(kind store.Kind, key string) store.Entry {
	s.Helper()
	put, err := s.Write(s.Context(), store.Write{Puts: []store.Entry{{Kind: kind, Key: key, Value: []byte("{}")}}})
	check(s.T, err)
	return put[0]
}

func (s *site) change(id lease.ID, do lease.Action) lease.Lease {
	s.Helper()
	o := s.Apply(s.Context(), store.Transition{Change: lease.Change{
		ID: id, Version: lease.AnyVersion, Key: lease.RandomBase62(8), By: lease.System("tester"), Do: do,
	}})[0]
	check(s.T, o.Err)
	return o.Lease
}

func (s *site) issue(ttl time.Duration) lease.Lease {
	s.Helper()
	id := lease.NewID("database/creds/app")
	s.change(id, lease.Begin{Grace: time.Hour, Lease: lease.Lease{
		Kind: lease.Secret, MountID: s.mount.ID, Mount: "database/", Target: s.own.ID, Account: "v-app", TTL: ttl,
	}})
	return s.change(id, lease.Activate{})
}

// scrape is a look behind what was sampled.
func (s *site) scrape() map[string]string {
	s.Helper()
	s.clock.Advance(time.Minute)
	return scraped(s.T, s.url)
}

// What waits to be taken away is counted by target, with how late it is, and is
// gone from the metrics when it is done; what lives is no part of it.
func TestWhatIsOverdue(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const at = `{mount="database/",target="database/pg"}`
	s.issue(24 * time.Hour)
	want(t, s.scrape(), map[string]string{
		"curfew_revocations_open" + at: "", "curfew_overdue_oldest_seconds" + at: "", "curfew_leases": "1", "curfew_store_up": "1",
	})
	due, parked, failing := s.issue(30*time.Second), s.issue(24*time.Hour), s.issue(24*time.Hour)
	for l, stuck := range map[lease.ID]bool{parked.ID: true, failing.ID: false} {
		s.change(l, lease.Revoke{})
		s.change(l, lease.Progress{Failed: true, Parked: stuck, Error: "no", After: 15 * time.Minute})
	}
	want(t, s.scrape(), map[string]string{
		"curfew_revocations_open" + at: "2", "curfew_revocations_parked" + at: "1", "curfew_overdue_leases" + at: "1",
		"curfew_overdue_oldest_seconds" + at: "60", "curfew_leases": "4",
	})
	// The connection is deleted and made anew: to a person it is the same.
	_, err := s.Write(t.Context(), store.Write{Withdrawals: []store.Ref{{Kind: s.own.Kind, ID: s.own.ID}}})
	check(t, err)
	s.own = s.put(store.KindConnection, s.own.Key)
	other := s.issue(time.Hour)
	s.change(other.ID, lease.Revoke{})
	s.change(other.ID, lease.Progress{Failed: true, Error: "no", After: time.Hour})
	want(t, s.scrape(), map[string]string{"curfew_revocations_open" + at: "3", "curfew_overdue_oldest_seconds" + at: "120"})
	for _, l := range []lease.Lease{due, parked, failing, other} {
		if l.ID == due.ID {
			s.change(l.ID, lease.Revoke{})
		}
		s.change(l.ID, lease.Finish{To: lease.Revoked})
	}
	want(t, s.scrape(), map[string]string{"curfew_revocations_open" + at: "", "curfew_overdue_oldest_seconds" + at: "", "curfew_leases": "1"})
}

// However often it is scraped, the store is asked what is overdue every few
// seconds at most.
func TestLooksAreRare(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Break()
	for range 5 {
		scraped(t, s.url)
		s.clock.Advance(900 * time.Millisecond)
	}
	if n := s.Calls("Revoking"); n != 1 {
		t.Errorf("%d looks within 5 s", n)
	}
	s.clock.Advance(time.Second)
	scraped(t, s.url)
	if n := s.Calls("Revoking"); n != 2 {
		t.Errorf("%d looks after 5 s", n)
	}
}

// What the store does not say of leases is left out, and curfew_store_up says so.
func TestOverdueWithoutTheStore(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Revoking", "Due", "Living", "Head", "Events"} {
		s := newSite(t)
		l := s.issue(time.Hour)
		s.change(l.ID, lease.Revoke{})
		s.Break(storetest.Fault{Method: method})
		got := s.scrape()
		want(t, got, map[string]string{"curfew_store_up": "0"})
		if n := len(got); n < 8 {
			t.Errorf("without %s %d metrics are left", method, n)
		}
		s.Break()
		want(t, s.scrape(), map[string]string{"curfew_store_up": "1", `curfew_revocations_open{mount="database/",target="database/pg"}`: "1"})
	}
}

// Accounts that are only reported are counted by target.
func TestReportedStrays(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	check(t, installation.ReportStrays(t.Context(), s, s.own.ID, installation.Strays{Count: 3, Accounts: []string{"v-a", "v-b", "v-c"}}))
	got := s.scrape()
	want(t, got, map[string]string{`curfew_strays_reported{mount="database/",target="database/pg"}`: "3"})
	for name := range got {
		if strings.Contains(name, "v-a") {
			t.Errorf("%s names an account", name)
		}
	}
}

// A revoker's failures are counted by what people call the target.
func TestFailuresByTarget(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	watch := Revoker(s)
	m := New("curfew-test", "1.2.3")
	m.Register(watch)
	url, stop := serve(t, m)
	l := s.issue(time.Hour)
	l.Revocation.Attempts = 1
	watch.Failed(&l)
	l.Revocation.Attempts = 2
	watch.Failed(&l)
	l.Revocation.Parked = true
	l.Revocation.Attempts = 3
	watch.Failed(&l)
	l.State, l.Revocation.DueAt = lease.Revoked, s.clock.Now()
	l.Revocation.DisabledAt, l.Revocation.EndedAt = s.clock.Now().Add(time.Second), s.clock.Now().Add(3*time.Second)
	watch.Ended(&l)
	watch.Lapsed(7)
	watch.Recounted(2)
	watch.RotationsDue(4)
	watch.Stray(engine.Target{Mount: "database/", Name: "pg"})
	watch.Compared(revoker.Drift{Known: true, Missing: 2, Members: 9})
	const at = `mount="database/",target="database/pg"`
	want(t, scraped(t, url), map[string]string{
		`curfew_revocation_failures_total{fate="retry",` + at + `}`: "2", `curfew_revocation_failures_total{fate="park",` + at + `}`: "1",
		`curfew_revocation_retries_total{outcome="failed"}`: "2", `curfew_revocation_retries_total{outcome="ended"}`: "1",
		`curfew_expiry_lag_seconds_sum{mount="database/",stage="gone"}`: "3", `curfew_expiry_lag_seconds_sum{mount="database/",stage="disabled"}`: "1",
		"curfew_claims_lapsed_total": "7", "curfew_recount_mended_total": "2", "curfew_recounts_total": "1", "curfew_rotations_due": "4",
		`curfew_strays_found_total{` + at + `}`: "1", "curfew_index_drift": "2", "curfew_index_members": "9",
	})
	if err := stop(); err != nil {
		t.Error(err)
	}
}
