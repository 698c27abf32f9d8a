package storetest

import (
	"errors"
	"slices"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

func changeLaws() []law {
	return []law{
		{"A1 a change applies to the version it names or not at all", lawVersion},
		{"A1 a lease that ended never changes again", lawEnded},
		{"A1 a lease that is not there is not found", lawMissing},
		{"A2 every field is kept as it was frozen", lawFields},
		{"A5 time never goes back and is that of the commit", lawTime},
		{"A5 expiry is refused before its time and applied at it", lawExpiry},
		{"A6 items are independent and answered in order", lawIndependent},
		{"A6 changes of one lease in one call work in order", lawInOrder},
		{"A6 the row says whose commit made its version", lawKey},
		{"A10 the event of a transition says who, why and what", lawEvents},
		{"D6 events that travel along share the fate of their change", lawAlso},
	}
}

func lawVersion(t T, s *subject) {
	l := s.active(t, "database/creds/a")
	for _, version := range []int64{0, 1, 3, -7} {
		out := s.one(t, s.change(l.ID, version, lease.Renew{}))
		if !errors.Is(out.Err, lease.ErrVersion) {
			t.Errorf("a change of version %d at 2: %v, want ErrVersion", version, out.Err)
		}
		if !same(out.Lease, l) {
			t.Errorf("a refused change shows %s, want the row as found %s", text(out.Lease), text(l))
		}
	}
	if out := s.one(t, s.beginning(l.ID)); !errors.Is(out.Err, lease.ErrVersion) {
		t.Errorf("a second beginning: %v, want ErrVersion", out.Err)
	}
	if now := s.get(t, l.ID); !same(now, l) {
		t.Errorf("refused changes made %s of %s", text(now), text(l))
	}
	if n := len(s.eventsOf(t, l.ID)); n != 2 {
		t.Errorf("there are %d events of 2 transitions", n)
	}
	if after := s.must(t, s.change(l.ID, 2, lease.Renew{})); after.Version != 3 {
		t.Errorf("version %d after a change of 2", after.Version)
	}
	if after := s.must(t, s.change(l.ID, lease.AnyVersion, lease.Revoke{})); after.Version != 4 || after.State != lease.Revoking {
		t.Errorf("a change of any version made %s version %d", after.State, after.Version)
	}
}

func lawEnded(t T, s *subject) {
	l := s.ended(t, "database/creds/a")
	for _, do := range []lease.Action{
		lease.Activate{},
		lease.Renew{},
		lease.Revoke{},
		lease.Retry{},
		lease.Progress{},
		lease.Finish{To: lease.Abandoned},
		lease.Begin{Lease: secret(l.ID)},
	} {
		if out := s.one(t, s.change(l.ID, lease.AnyVersion, do)); out.Err == nil {
			t.Errorf("%T of a lease that ended was applied", do)
		}
	}
	if now := s.get(t, l.ID); !same(now, l) {
		t.Errorf("it became %s", text(now))
	}
}

func lawMissing(t T, s *subject) {
	id := lease.NewID("database/creds/a")
	if _, err := s.Get(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get: %v, want ErrNotFound", err)
	}
	for _, version := range []int64{1, lease.AnyVersion} {
		if out := s.one(t, s.change(id, version, lease.Revoke{})); !errors.Is(out.Err, store.ErrNotFound) {
			t.Errorf("a change of version %d: %v, want ErrNotFound", version, out.Err)
		}
	}
}

func lawFields(t T, s *subject) {
	l := s.begin(t, "database/creds/a")
	want := secret(l.ID)
	want.ID, want.State, want.Version, want.IssuedBy = l.ID, lease.Intent, 1, someone()
	want.LastKey, want.Position = l.LastKey, l.Position
	want.IssuedAt = s.clock.Now()
	want.ConfirmBy = want.IssuedAt.Add(grace)
	want.CreateDeadline = want.ConfirmBy
	if l.Position <= 0 || !same(l, want) {
		t.Errorf("the intent is %s, want %s", text(l), text(want))
	}
	if stored := s.get(t, l.ID); !same(stored, l) {
		t.Errorf("stored is %s, answered was %s", text(stored), text(l))
	}
	l = s.must(t, s.change(l.ID, 1, lease.Activate{Handle: []byte{0, 1, 0xff}}))
	if stored := s.get(t, l.ID); !same(stored, l) || !slices.Equal(stored.Handle, []byte{0, 1, 0xff}) {
		t.Errorf("stored is %s, answered was %s", text(stored), text(l))
	}
}

func lawTime(t T, s *subject) {
	start := s.clock.Now()
	before := s.begin(t, "database/creds/a")
	if !before.IssuedAt.Equal(start) {
		t.Errorf("begun at %s by a clock at %s", before.IssuedAt, start)
	}
	for _, d := range []time.Duration{time.Second, -time.Hour, 0, time.Minute} {
		s.clock.Advance(d)
		now, err := s.Now(t.Context())
		after := s.begin(t, "database/creds/a")
		if err != nil || now.Before(before.IssuedAt) || after.IssuedAt.Before(now) {
			t.Errorf("after %s: begun at %s, now %s (%v), begun at %s", d, before.IssuedAt, now, err, after.IssuedAt)
		}
		before = after
	}
}

func lawExpiry(t T, s *subject) {
	l := s.active(t, "database/creds/a")
	revoke := s.change(l.ID, l.Version, lease.Revoke{If: lease.IfDue})
	s.clock.Advance(term - 1)
	if out := s.one(t, revoke); !errors.Is(out.Err, lease.ErrNotDue) {
		t.Errorf("a nanosecond before its time: %v, want ErrNotDue", out.Err)
	}
	s.clock.Advance(1)
	if out := s.one(t, s.change(l.ID, l.Version, lease.Renew{})); !errors.Is(out.Err, lease.ErrOver) {
		t.Errorf("a renewal at the expiry: %v, want ErrOver", out.Err)
	}
	after := s.must(t, revoke)
	if !after.Revocation.DueAt.Equal(l.ExpiresAt) {
		t.Errorf("due at %s, want the expiry %s", after.Revocation.DueAt, l.ExpiresAt)
	}
	intent := s.begin(t, "database/creds/a")
	rollback := s.change(intent.ID, 1, lease.Revoke{If: lease.IfDue})
	s.clock.Advance(grace - 1)
	if out := s.one(t, rollback); !errors.Is(out.Err, lease.ErrNotDue) {
		t.Errorf("an intent before ConfirmBy: %v, want ErrNotDue", out.Err)
	}
	s.clock.Advance(1)
	s.must(t, rollback)
}

func lawIndependent(t T, s *subject) {
	var items []store.Transition
	for i := range 600 {
		item := s.beginning(lease.NewID("database/creds/a"))
		if i%3 == 1 {
			item.Change.Version = 5 // nothing is there
		}
		items = append(items, item)
	}
	items[3].Change.Do = lease.Begin{Lease: lease.Lease{Kind: "nonsense"}}
	out := s.Apply(t.Context(), items...)
	if len(out) != len(items) {
		t.Fatalf("%d outcomes of %d items", len(out), len(items))
	}
	for i := range out {
		bad := i%3 == 1 || i == 3
		if bad != (out[i].Err != nil) {
			t.Errorf("item %d: %v", i, out[i].Err)
		}
		_, err := s.Get(t.Context(), items[i].Change.ID)
		if bad != errors.Is(err, store.ErrNotFound) || !bad && out[i].Lease.ID != items[i].Change.ID {
			t.Errorf("item %d: stored %v, outcome of %q", i, err, out[i].Lease.ID)
		}
	}
	if out := s.Apply(t.Context()); len(out) != 0 {
		t.Errorf("%d outcomes of nothing", len(out))
	}
}

func lawInOrder(t T, s *subject) {
	id := lease.NewID("database/creds/a")
	out := s.Apply(
		t.Context(),
		s.beginning(id),
		s.change(id, 1, lease.Activate{}),
		s.change(id, 1, lease.Activate{}), // too late
		s.change(id, 2, lease.Revoke{}),
		s.change(id, 3, lease.Finish{To: lease.Revoked}),
	)
	for i, want := range []struct {
		version int64
		refused bool
	}{{1, false}, {2, false}, {2, true}, {3, false}, {4, false}} {
		if out[i].Lease.Version != want.version || (out[i].Err != nil) != want.refused {
			t.Errorf("item %d made version %d, error %v; want %+v", i, out[i].Lease.Version, out[i].Err, want)
		}
	}
	if l := s.get(t, id); l.State != lease.Revoked || l.Version != 4 {
		t.Errorf("it ended as %s, version %d", l.State, l.Version)
	}
}

func lawKey(t T, s *subject) {
	item := s.beginning(lease.NewID("database/creds/a"))
	s.must(t, item)
	again := s.one(t, item) // its answer was lost: the caller asks again
	if !errors.Is(again.Err, lease.ErrVersion) || again.Lease.LastKey != item.Change.Key || again.Lease.Version != 1 {
		t.Errorf("the second try: %v, key %q, version %d", again.Err, again.Lease.LastKey, again.Lease.Version)
	}
}

func lawEvents(t T, s *subject) {
	l := s.active(t, "database/creds/a")
	s.clock.Advance(time.Second)
	s.must(t, s.change(l.ID, 2, lease.Renew{}))
	s.must(t, s.change(l.ID, 3, lease.Revoke{}))
	s.must(t, s.change(l.ID, 4, lease.Progress{Failed: true, Error: "target is away", After: time.Second}))
	s.must(t, s.change(l.ID, 5, lease.Finish{To: lease.Revoked}))
	all := s.eventsOf(t, l.ID)
	want := []event.Type{
		event.LeaseIntent, event.LeaseCreated, event.LeaseRenewed, event.LeaseRevoking,
		event.LeaseRevocationFailed, event.LeaseRevoked,
	}
	if len(all) != len(want) {
		t.Fatalf("%d events of %d transitions", len(all), len(want))
	}
	start := s.clock.Now().Add(-time.Second)
	for i, e := range all {
		at := start
		if i >= 2 {
			at = s.clock.Now()
		}
		if e.Type != want[i] || e.Data.Version != int64(i)+1 || e.Subject != string(l.ID) || !e.Time.Equal(at) {
			t.Errorf("event %d is %s of version %d at %s, want %s at %s", i, e.Type, e.Data.Version, e.Time, want[i], at)
		}
		if e.Data.Actor != someone() || e.Data.Reason != "a test" || e.Data.Target != l.Target || e.Data.Account != l.Account {
			t.Errorf("event %d does not say who and what: %s", i, text(e))
		}
	}
	if all[4].Data.Error != "target is away" {
		t.Errorf("the failure's event has error %q", all[4].Data.Error)
	}
}

func lawAlso(t T, s *subject) {
	request := event.Event{Type: event.RequestServed, Subject: "database/creds/a", Data: event.Data{Status: 200, Actor: someone()}}
	item := s.beginning(lease.NewID("database/creds/a"))
	item.Also = []event.Event{request}
	s.must(t, item)
	if out := s.one(t, item); out.Err == nil {
		t.Fatalf("a second beginning was applied")
	}
	all := s.numberAll(t)
	if len(all) != 2 || all[0].Type != event.LeaseIntent || all[1].Type != event.RequestServed {
		t.Fatalf("stored are %s, want the intent and its request", text(all))
	}
	if all[1].Data.Status != 200 || !all[1].Time.Equal(s.clock.Now()) {
		t.Errorf("the request's event is %s", text(all[1]))
	}
}
