//go:build integration

package postgres_test

import (
	"errors"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/postgres"
	"github.com/curfew-project/curfew/shared/testkit"
)

// A7: after a start of the server the files may be those of a backup. What must
// not be decided from one is refused, to processes that remember more and to
// those that have just begun, until somebody has compared store and record.
func TestAStartIsCompared(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t, testkit.Durable())
	cfg := postgres.Config{URL: secret.New(cluster.AdminURL("postgres")), Settle: hangs, Recorded: true}
	running := openReal(t, cfg)
	do := func(s *postgres.Store, id lease.ID, what lease.Action) error {
		return s.Apply(t.Context(), store.Transition{Change: lease.Change{
			ID: id, Version: lease.AnyVersion, Key: lease.RandomBase62(16), By: lease.System("test"), Do: what,
		}})[0].Err
	}
	begins := func(s *postgres.Store) error { return s.Apply(t.Context(), begin(lease.NewID("a")))[0].Err }
	want := func(what string, err, wanted error) {
		t.Helper()
		if !errors.Is(err, wanted) {
			t.Errorf("%s: %v, want %v", what, err, wanted)
		}
	}
	// A new store has nothing to be compared.
	for _, id := range []lease.ID{"due/1", "due/2", "due/3", "kept/running", "kept/new"} {
		if out := running.Apply(t.Context(), begin(id))[0]; out.Err != nil {
			t.Fatal(out.Err)
		}
	}
	lock, ok, err := running.Acquire(t.Context(), "publisher", "test", time.Hour)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	restart := func() store.Suspension {
		t.Helper()
		cluster.Stop(t, testkit.Fast)
		cluster.Start(t)
		var why store.Suspension
		waitFor(t, "the store's answer", func() (suspended bool) {
			why, suspended, err = running.Suspension(t.Context())
			return err == nil && suspended
		})
		if why.Started.IsZero() || why.Lost || why.Reason == "" {
			t.Errorf("after a start: %+v", why)
		}
		return why
	}
	why := restart()
	for name, s := range map[string]*postgres.Store{"running": running, "new": openReal(t, cfg)} {
		want(name+": a beginning", begins(s), store.ErrSuspended)
		want(name+": an expiry", do(s, "due/1", lease.Revoke{If: lease.IfDue}), store.ErrSuspended)
		want(name+": a revocation by request", do(s, lease.ID("kept/"+name), lease.Revoke{If: lease.Always}), nil)
		_, _, err := s.Number(t.Context(), lock, 10)
		want(name+": numbering", err, store.ErrSuspended)
		want(name+": resuming what is no loss", s.Resume(t.Context(), 0, event.Position{}, store.Write{}), store.ErrNotSuspended)
		other := why
		other.Started = why.Started.Add(-time.Microsecond)
		want(name+": comparing an earlier start", s.Compared(t.Context(), other), nil)
		want(name+": a beginning after that", begins(s), store.ErrSuspended)
	}
	want("compared", openReal(t, cfg).Compared(t.Context(), why), nil)
	want("a beginning", begins(running), nil)
	want("an expiry", do(running, "due/1", lease.Revoke{If: lease.IfDue}), nil)
	if _, n, err := running.Number(t.Context(), lock, 10); err != nil || n == 0 {
		t.Errorf("numbering: %d, %v", n, err)
	}

	// Expiry waits for a time only, issuing for as long as it takes (promise 5).
	restart()
	later := opened(t)(postgres.OpenAt(t.Context(), func() time.Time { return time.Now().Add(24 * time.Hour) }, noLog(), cfg))
	want("an expiry, later", do(later, "due/2", lease.Revoke{If: lease.IfDue}), nil)
	want("a beginning, later", begins(later), store.ErrSuspended)

	// What is found missing is another matter, and is told first.
	if err := later.Suspend(t.Context(), store.Suspension{Reason: "a test"}); err != nil {
		t.Fatal(err)
	}
	why, suspended, err := running.Suspension(t.Context())
	if err != nil || !suspended || !why.Started.IsZero() || why.Reason != "a test" {
		t.Errorf("suspended: %v, %+v, %v", suspended, why, err)
	}
	want("an expiry from what is suspended", do(later, "due/3", lease.Revoke{If: lease.IfDue}), store.ErrSuspended)
}
