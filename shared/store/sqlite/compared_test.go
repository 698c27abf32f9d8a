package sqlite_test

import (
	"errors"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/sqlite"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// A7: what is opened may be a backup. What must not be decided from one is
// refused until somebody has compared store and record; expiry for a time.
func TestAnOpenedStoreIsCompared(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), storetest.NewClock()
	var s *sqlite.Store
	again := func() {
		t.Helper()
		if s != nil {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		if s, err = sqlite.Open(t.Context(), dir, c, sqlite.Config{Recorded: true}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
	}
	do := func(id lease.ID, what lease.Action) error {
		return s.Apply(t.Context(), store.Transition{Change: lease.Change{
			ID: id, Version: lease.AnyVersion, Key: lease.RandomBase62(16), By: lease.System("test"), Do: what,
		}})[0].Err
	}
	begins := func(id lease.ID) error { return do(id, lease.Begin{Lease: lease.Lease{Kind: lease.Secret}}) }
	want := func(what string, err, wanted error) {
		t.Helper()
		if !errors.Is(err, wanted) {
			t.Errorf("%s: %v, want %v", what, err, wanted)
		}
	}
	again()
	want("a beginning in a store that was not compared", begins("a/1"), store.ErrSuspended)
	why, is := suspended(t, s)
	if !is || why.Started.IsZero() || why.Lost {
		t.Fatalf("suspended: %v, %+v", is, why)
	}
	want("compared", s.Compared(t.Context(), why), nil)
	for _, id := range []lease.ID{"a/1", "a/2", "a/3"} {
		want("a beginning", begins(id), nil)
	}
	lock, ok, err := s.Acquire(t.Context(), "publisher", "test", 24*time.Hour)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	c.Advance(time.Minute)

	again()
	why, _ = suspended(t, s)
	want("a beginning", begins("b/1"), store.ErrSuspended)
	want("an expiry", do("a/1", lease.Revoke{If: lease.IfDue}), store.ErrSuspended)
	want("a revocation by request", do("a/2", lease.Revoke{If: lease.Always}), nil)
	_, _, err = s.Number(t.Context(), lock, 10)
	want("numbering", err, store.ErrSuspended)
	want("resuming what is no loss", s.Resume(t.Context(), 0, event.Position{}, store.Write{}), store.ErrNotSuspended)
	other := why
	other.Started = why.Started.Add(-time.Nanosecond)
	want("comparing what was opened before", s.Compared(t.Context(), other), nil)
	want("a beginning after that", begins("b/1"), store.ErrSuspended)
	c.Advance(store.CompareWithin)
	want("an expiry, later (promise 5)", do("a/1", lease.Revoke{If: lease.IfDue}), nil)
	want("a beginning, later", begins("b/1"), store.ErrSuspended)

	// What is found missing is another matter, and is told first.
	if err := s.Suspend(t.Context(), store.Suspension{Reason: "a test"}); err != nil {
		t.Fatal(err)
	}
	if have, is := suspended(t, s); !is || !have.Started.IsZero() || have.Reason != "a test" {
		t.Errorf("suspended: %v, %+v", is, have)
	}
	want("an expiry from what is suspended", do("a/3", lease.Revoke{If: lease.IfDue}), store.ErrSuspended)
	want("resumed", s.Resume(t.Context(), 0, event.Position{}, store.Write{}), nil)
	want("a beginning in what was resumed and not compared", begins("b/1"), store.ErrSuspended)
	want("compared", s.Compared(t.Context(), why), nil)
	want("a beginning", begins("b/1"), nil)
	if _, n, err := s.Number(t.Context(), lock, 10); err != nil || n == 0 {
		t.Errorf("numbering: %d, %v", n, err)
	}
}
