package storetest

import (
	"errors"
	"sync"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

func recoveryLaws() []law {
	return []law{
		{"A7 a suspended store refuses what it must not decide", lawSuspendedRefuses},
		{"A7 a suspended store does everything else", lawSuspendedAllows},
		{"A7 nothing is begun behind a suspension", lawSuspendedRace},
		{"A7 a suspension numbers all there is", lawSuspendNumbers},
		{"A7 the first suspension stays, a loss is joined", lawSuspendAgain},
		{"A7 comparing ends no suspension of another kind", lawCompared},
		{"A7 restoring brings back what is known elsewhere", lawRestore},
		{"A7 restoring teaches nothing twice", lawRestoreNothing},
	}
}

func (s *subject) suspend(t T) {
	t.Helper()
	if err := s.Suspend(t.Context(), store.Suspension{Reason: "a test"}); err != nil {
		t.Fatalf("Suspend: %v", err)
	}
}

func (s *subject) resume(t T, epoch int64, after event.Position, events ...event.Event) {
	t.Helper()
	if err := s.Resume(t.Context(), epoch, after, store.Write{Events: events}); err != nil {
		t.Fatalf("Resume in epoch %d after %s: %v", epoch, after, err)
	}
}

func (s *subject) suspended(t T) (store.Suspension, bool) {
	t.Helper()
	have, suspended, err := s.Suspension(t.Context())
	if err != nil {
		t.Fatalf("Suspension: %v", err)
	}
	return have, suspended
}

func (s *subject) head(t T) event.Position {
	t.Helper()
	head, err := s.Head(t.Context())
	if err != nil {
		t.Fatalf("Head: %v", err)
	}
	return head
}

func (s *subject) backlog(t T) int64 {
	t.Helper()
	n, err := s.Backlog(t.Context())
	if err != nil {
		t.Fatalf("Backlog: %v", err)
	}
	return n
}

// lawSuspendedRefuses tries every transition that must not be decided: it is
// refused without a trace, and done as soon as the store has resumed.
func lawSuspendedRefuses(t T, s *subject) {
	lock := s.lock(t, "suite")
	running := s.active(t, "database/creds/a", func(l *lease.Lease) { l.TTL = 3 * time.Hour; l.MaxTTL = 0 })
	token := s.must(t, s.change(lease.NewID("auth/token/create"), 0, lease.Begin{Lease: lease.Lease{Kind: lease.Token, TTL: 3 * time.Hour, Renewable: true, Uses: 9}}))
	due, unconfirmed := s.active(t, "database/creds/a"), s.begin(t, "database/creds/a")
	s.clock.Advance(term)
	items := map[string]store.Transition{
		"a secret":                     s.beginning(lease.NewID("database/creds/a")),
		"a token":                      s.change(lease.NewID("auth/token/create"), 0, lease.Begin{Lease: lease.Lease{Kind: lease.Token}}),
		"a renewal of a secret":        s.change(running.ID, 2, lease.Renew{}),
		"a renewal of a token":         s.change(token.ID, lease.AnyVersion, lease.Renew{}),
		"a use of a token":             s.change(token.ID, lease.AnyVersion, lease.Use{}),
		"the expiry of a secret":       s.change(due.ID, 2, lease.Revoke{If: lease.IfDue}),
		"the roll-back of an intent":   s.change(unconfirmed.ID, 1, lease.Revoke{If: lease.IfDue}),
		"a renewal of nothing":         s.change("database/creds/a/none", lease.AnyVersion, lease.Renew{}),
		"an expiry that is not due":    s.change(running.ID, 2, lease.Revoke{If: lease.IfDue}),
		"a beginning of what is there": s.beginning(running.ID),
	}
	s.suspend(t)
	before := s.backlog(t)
	for name, item := range items {
		if !item.Suspended() {
			t.Errorf("%s: the contract lets it pass", name)
		}
		row, rowErr := s.Get(t.Context(), item.Change.ID)
		item.Also = []event.Event{{Type: event.RequestServed}}
		if out := s.one(t, item); !errors.Is(out.Err, store.ErrSuspended) || !same(out.Lease, row) {
			t.Errorf("%s: %v, %s; want ErrSuspended and the row as found", name, out.Err, text(out.Lease))
		}
		if now, err := s.Get(t.Context(), item.Change.ID); !same(now, row) || errors.Is(err, store.ErrNotFound) != errors.Is(rowErr, store.ErrNotFound) {
			t.Errorf("%s was refused, but %s became %s", name, text(row), text(now))
		}
	}
	if after := s.backlog(t); after != before {
		t.Errorf("what was refused left %d events", after-before)
	}
	s.append(t, 1)
	head := s.head(t)
	if _, n, err := s.Number(t.Context(), lock, 10); !errors.Is(err, store.ErrSuspended) || n != 0 || s.head(t) != head {
		t.Errorf("Number: %d, %v, the head is %s; want ErrSuspended and %s", n, err, s.head(t), head)
	}
	s.lock(t, "suite") // an hour has passed: take it again, then lose it
	forged := store.Lock{Name: lock.Name, Owner: "nobody", Fence: lock.Fence}
	if _, _, err := s.Number(t.Context(), forged, 10); !errors.Is(err, store.ErrLost) {
		t.Errorf("Number by who has not the lock: %v, want ErrLost", err)
	}
	s.resume(t, 0, event.Position{})
	for _, name := range []string{
		"a secret", "a token", "a renewal of a secret", "a renewal of a token", "the expiry of a secret", "the roll-back of an intent",
	} {
		if out := s.one(t, items[name]); out.Err != nil {
			t.Errorf("%s after the suspension: %v", name, out.Err)
		}
	}
	if _, n, err := s.Number(t.Context(), lock, 100); err != nil || n == 0 {
		t.Errorf("Number after the suspension: %d, %v", n, err)
	}
}

func lawSuspendedAllows(t T, s *subject) {
	intent, running, old := s.begin(t, "database/creds/a"), s.active(t, "database/creds/a"), s.ended(t, "database/creds/a")
	entry := s.put(t, store.KindRole, "m/r")
	s.suspend(t)
	for _, do := range []lease.Action{
		lease.Activate{}, lease.Revoke{}, lease.Progress{Failed: true, Error: "e"}, lease.Retry{}, lease.Finish{To: lease.Revoked},
	} {
		s.must(t, s.change(intent.ID, lease.AnyVersion, do))
	}
	begin := lease.Begin{Lease: lease.Lease{Kind: lease.Stray, Target: "target-1", Account: "v-stray"}}
	if l := s.must(t, s.change(lease.NewID("stray/target-1"), 0, begin)); l.State != lease.Revoking {
		t.Errorf("a stray account is %s", l.State)
	}
	guarded := s.change(s.restored(t, "database/creds/a", lease.Intent).ID, 2, lease.Activate{})
	guarded.Guard = store.Guard{Entries: []store.Ref{{Kind: store.KindMount, ID: "gone"}}}
	if out := s.one(t, guarded); out.Err != nil || out.Withdrawn != "mount" || out.Lease.State != lease.Revoking {
		t.Errorf("an activation that a guard turns: %s, %q, %v", out.Lease.State, out.Withdrawn, out.Err)
	}
	entry.Value = []byte(`{"v":2}`)
	if _, err := s.Write(t.Context(), store.Write{Puts: []store.Entry{entry}, Events: []event.Event{{Type: event.ConfigChanged}}}); err != nil {
		t.Errorf("Write: %v", err)
	}
	if b := s.raise(t, "database/"); b.Position <= running.Position {
		t.Errorf("the barrier is at %d", b.Position)
	}
	s.append(t, 1)
	head := s.head(t)
	if err := s.Confirm(t.Context(), store.Ledger, head); err != nil {
		t.Errorf("Confirm: %v", err)
	}
	s.clock.Advance(time.Second)
	if n, err := s.Prune(t.Context(), s.clock.Now(), 10); err != nil || n != 1 {
		t.Errorf("Prune: %d, %v; want the one that ended before", n, err)
	}
	if _, err := s.Get(t.Context(), old.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get of what was pruned: %v", err)
	}
	if n, err := s.Trim(t.Context(), head, 100); err != nil || int64(n) != head.Number {
		t.Errorf("Trim: %d, %v; want %d", n, err, head.Number)
	}
	s.lock(t, "suite")
	if _, suspended := s.suspended(t); !suspended {
		t.Errorf("something of this ended the suspension")
	}
}

// lawSuspendedRace suspends in the middle of a load, which may have beginnings
// that wait for their commit: what is acknowledged was committed before the
// suspension, so it has a number, and what starts later is refused.
func lawSuspendedRace(t T, s *subject) {
	for range 8 {
		var mu sync.Mutex
		var wg sync.WaitGroup
		begun := map[lease.ID]bool{}
		const workers = 16
		started := make(chan struct{}, 2*workers)
		for range workers {
			wg.Go(func() {
				defer func() { started <- struct{}{} }()
				for n := range 100 {
					item := s.beginning(lease.NewID("database/creds/a"))
					if n == 1 {
						started <- struct{}{}
					}
					out := s.Apply(t.Context(), item)[0]
					if errors.Is(out.Err, store.ErrSuspended) {
						return
					}
					if out.Err != nil {
						t.Errorf("begin: %v", out.Err)
						return
					}
					mu.Lock()
					begun[item.Change.ID] = true
					mu.Unlock()
				}
			})
		}
		<-started
		s.suspend(t)
		out := s.one(t, s.beginning(lease.NewID("database/creds/a")))
		if !errors.Is(out.Err, store.ErrSuspended) {
			t.Errorf("a beginning after the suspension: %v", out.Err)
		}
		wg.Wait()
		for _, e := range s.events(t, event.Position{}) {
			delete(begun, e.Data.LeaseID)
		}
		if len(begun) > 0 {
			t.Errorf("%d leases were begun behind the suspension", len(begun))
		}
		s.resume(t, 0, event.Position{})
	}
}

func lawSuspendNumbers(t T, s *subject) {
	if have, suspended := s.suspended(t); suspended {
		t.Errorf("a new store is suspended: %s", text(have))
	}
	s.append(t, 7)
	if _, _, err := s.Number(t.Context(), s.lock(t, "suite"), 2); err != nil {
		t.Fatalf("Number: %v", err)
	}
	epoch := s.head(t).Epoch
	s.suspend(t)
	if head, want := s.head(t), (event.Position{Epoch: epoch, Number: 7}); head != want {
		t.Errorf("the head is %s, want %s", head, want)
	}
	s.append(t, 3)
	all := s.events(t, event.Position{})
	for i, e := range all {
		if want := (event.Position{Epoch: epoch, Number: int64(i) + 1}); e.Position != want || e.Data.Count != i {
			t.Errorf("event %d is %s, want number %s", i, text(e), want)
		}
	}
	if n := s.backlog(t); len(all) != 7 || n != 10 {
		t.Errorf("%d events have a number, %d are stored; want 7, 10", len(all), n)
	}
}

func lawSuspendAgain(t T, s *subject) {
	at := s.clock.Now()
	for _, c := range []struct {
		given store.Suspension
		lost  bool
	}{
		{store.Suspension{Reason: "first", Since: at.Add(time.Hour)}, false},
		{store.Suspension{Reason: "second"}, false},
		{store.Suspension{Reason: "third", Lost: true}, true},
		{store.Suspension{Reason: "fourth"}, true},
	} {
		if err := s.Suspend(t.Context(), c.given); err != nil {
			t.Fatalf("Suspend: %v", err)
		}
		have, suspended := s.suspended(t)
		if !suspended || have.Reason != "first" || !have.Since.Equal(at) || have.Lost != c.lost {
			t.Errorf("after the %s one: %s, lost must be %v", c.given.Reason, text(have), c.lost)
		}
		s.append(t, 1)
		if head := s.head(t); head.Number != 0 {
			t.Errorf("the %s one numbered what was committed during the suspension: the head is %s", c.given.Reason, head)
		}
		s.clock.Advance(time.Minute)
	}
	s.resume(t, 0, event.Position{})
	if have, suspended := s.suspended(t); suspended || have != (store.Suspension{}) {
		t.Errorf("after Resume: %s", text(have))
	}
	if err := s.Suspend(t.Context(), store.Suspension{Reason: "anew"}); err != nil {
		t.Fatalf("Suspend: %v", err)
	}
	if have, _ := s.suspended(t); have.Reason != "anew" || have.Lost || !have.Since.Equal(s.clock.Now()) {
		t.Errorf("a new suspension is %s", text(have))
	}
}

// known is what a record elsewhere says of a lease: version 7, without a plan.
func known(id lease.ID, state lease.State, now time.Time) lease.Lease {
	l := secret(id)
	l.State, l.Version, l.Plan = state, 7, nil
	l.IssuedAt, l.ActivatedAt, l.ExpiresAt = now.Add(-time.Minute), now.Add(-time.Minute), now.Add(5*time.Hour)
	return l
}

// restored brings a lease in that the store does not have; its version is 2.
func (s *subject) restored(t T, path string, state lease.State) lease.Lease {
	t.Helper()
	id := lease.NewID(path)
	k := known(id, state, s.clock.Now())
	k.Version, k.ConfirmBy = 1, s.clock.Now().Add(grace)
	return s.must(t, s.change(id, 0, lease.Restore{Known: k}))
}

// lawRestore: rows that are there and rows that are not, in one commit with
// their event, also while the store is suspended.
func lawRestore(t T, s *subject) {
	s.begin(t, "database/creds/a") // takes a position
	behind, running := s.begin(t, "database/creds/a"), s.active(t, "database/creds/a")
	s.suspend(t)
	later := s.clock.Now().Add(5 * time.Hour)
	for _, c := range []struct {
		name        string
		id          lease.ID
		known, want lease.State
	}{
		{"an intent that was confirmed", behind.ID, lease.Active, lease.Active},
		{"one that was revoked", running.ID, lease.Revoked, lease.Revoking},
		{"one that is gone", lease.NewID("database/creds/b"), lease.Active, lease.Active},
		{"one that is gone and was being revoked", lease.NewID("database/creds/b"), lease.Revoking, lease.Revoking},
	} {
		row, err := s.Get(t.Context(), c.id)
		item := s.change(c.id, lease.AnyVersion, lease.Restore{Known: known(c.id, c.known, s.clock.Now())})
		item.Also = []event.Event{{Type: event.RequestServed, Subject: string(c.id)}}
		l := s.must(t, item)
		if l.State != c.want || l.Version != 8 || l.LastKey != item.Change.Key || l.ID != c.id {
			t.Errorf("%s is %s", c.name, text(l))
		}
		if c.want == lease.Active && !l.ExpiresAt.Equal(later) {
			t.Errorf("%s expires at %s, want %s", c.name, l.ExpiresAt, later)
		}
		if gone := errors.Is(err, store.ErrNotFound); gone == (l.Position == row.Position) || l.Position == 0 {
			t.Errorf("%s has position %d, had %d", c.name, l.Position, row.Position)
		}
		if stored := s.get(t, c.id); !same(stored, l) {
			t.Errorf("%s: stored is %s, answered was %s", c.name, text(stored), text(l))
		}
		if found := s.find(t, store.Query{Prefix: string(c.id), States: []lease.State{c.want}}); len(found) != 1 {
			t.Errorf("%s: found are %v", c.name, ids(found))
		}
	}
	s.resume(t, 0, event.Position{})
	all := s.numberAll(t)[4:] // behind those of the beginnings and the activation
	if len(all) != 8 {
		t.Fatalf("%d events of 4 restored leases, want 2 each", len(all))
	}
	for i, e := range all {
		if i%2 == 0 && (e.Type != event.LeaseRestored || e.Data.Version != 8 || e.Data.Actor != someone() || e.Data.Reason != "a test") {
			t.Errorf("event %d is %s", i, text(e))
		}
		if i%2 == 1 && e.Subject != string(all[i-1].Data.LeaseID) {
			t.Errorf("event %d is %s, want what came along", i, text(e))
		}
	}
	due, err := s.Due(t.Context(), s.clock.Now(), store.Cursor{}, 10)
	if err != nil || len(due) != 2 {
		t.Errorf("due are %s, %v; want the two that are to be revoked again", text(due), err)
	}
}

func lawRestoreNothing(t T, s *subject) {
	over, running, id := s.ended(t, "database/creds/a"), s.active(t, "database/creds/a"), lease.NewID("database/creds/a")
	s.suspend(t)
	k := known(running.ID, lease.Active, s.clock.Now())
	s.must(t, s.change(running.ID, lease.AnyVersion, lease.Restore{Known: k}))
	before := s.backlog(t)
	for name, item := range map[string]store.Transition{
		"one that ended":          s.change(over.ID, lease.AnyVersion, lease.Restore{Known: known(over.ID, lease.Active, s.clock.Now())}),
		"the same a second time":  s.change(running.ID, lease.AnyVersion, lease.Restore{Known: k}),
		"one that ended and gone": s.change(id, lease.AnyVersion, lease.Restore{Known: known(id, lease.Revoked, s.clock.Now())}),
	} {
		if out := s.one(t, item); !errors.Is(out.Err, lease.ErrOver) {
			t.Errorf("%s: %v, want ErrOver", name, out.Err)
		}
	}
	if after := s.backlog(t); after != before {
		t.Errorf("nothing was restored, and %d events are there", after-before)
	}
	if _, err := s.Get(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a lease that ended was made anew: %v", err)
	}
	if now := s.get(t, over.ID); !same(now, over) {
		t.Errorf("what ended became %s", text(now))
	}
}

// lawCompared says that store and record agree, of suspensions that are not
// there, are made up, or are no consequence of a start.
func lawCompared(t T, s *subject) {
	compared := func(what store.Suspension) {
		t.Helper()
		if err := s.Compared(t.Context(), what); err != nil {
			t.Errorf("Compared of %+v: %v", what, err)
		}
	}
	forged := store.Suspension{Reason: "a test", Started: s.clock.Now()}
	compared(store.Suspension{})
	compared(forged)
	if have, suspended := s.suspended(t); suspended {
		t.Errorf("it is suspended: %+v", have)
	}
	if err := s.Suspend(t.Context(), forged); err != nil {
		t.Fatalf("Suspend: %v", err)
	}
	have, _ := s.suspended(t)
	compared(have)
	compared(forged)
	after, suspended := s.suspended(t)
	if !suspended || after != have || !after.Started.IsZero() {
		t.Errorf("it was suspended: %+v; and is: %v, %+v", have, suspended, after)
	}
	if out := s.one(t, s.beginning(lease.NewID("database/creds/a"))); !errors.Is(out.Err, store.ErrSuspended) {
		t.Errorf("a beginning: %v, want ErrSuspended", out.Err)
	}
}
