package storetest

import (
	"errors"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

func guardLaws() []law {
	return []law{
		{"A3 a guard refuses the beginning", lawGuardBegin},
		{"A3 a guard turns an activation into a revocation", lawGuardActivate},
		{"A3 a guard is ignored by other changes", lawGuardOther},
		{"A3 a guard that finds all well lets pass", lawGuardPasses},
		{"A4 a barrier takes what began before it and nothing later", lawBarrier},
		{"A4 a barrier is kept as an entry", lawBarrierEntry},
	}
}

// withdrawals are the ways in which a guard can find something withdrawn; each
// returns a guard, and what withdraws it.
func withdrawals(t T, s *subject) map[string]func() (store.Guard, func()) {
	entry := func(kind store.Kind) func() (store.Guard, func()) {
		return func() (store.Guard, func()) {
			e := s.put(t, kind, lease.RandomBase62(8)+"/")
			return store.Guard{Entries: []store.Ref{ref(s.put(t, store.KindSystem, lease.RandomBase62(8))), ref(e)}}, func() { s.withdraw(t, e) }
		}
	}
	return map[string]func() (store.Guard, func()){
		"mount":      entry(store.KindMount),
		"role":       entry(store.KindRole),
		"connection": entry(store.KindConnection),
		"token": func() (store.Guard, func()) {
			l := s.token(t, term)
			return store.Guard{Token: l.ID}, func() { s.must(t, s.change(l.ID, l.Version, lease.Revoke{})) }
		},
		"token ": func() (store.Guard, func()) { // by time
			return store.Guard{Token: s.token(t, time.Second).ID}, func() { s.clock.Advance(time.Second) }
		},
	}
}

func what(name string) string {
	if name == "token " {
		return store.WithdrawnToken
	}
	return name
}

func lawGuardBegin(t T, s *subject) {
	for name, make := range withdrawals(t, s) {
		guard, withdraw := make()
		withdraw()
		checkRefused(t, s, what(name), guard)
	}
	secretLease := s.active(t, "database/creds/a")
	for name, guard := range map[string]store.Guard{
		"mount": {Entries: []store.Ref{{Kind: store.KindMount, ID: "never made"}}},
		"token": {Token: "auth/token/create/never-made"},
	} {
		checkRefused(t, s, name, guard)
	}
	checkRefused(t, s, "token", store.Guard{Token: secretLease.ID}) // active, but no token
}

func checkRefused(t T, s *subject, name string, guard store.Guard) {
	t.Helper()
	item := s.beginning(lease.NewID("database/creds/a"))
	item.Guard = guard
	item.Also = []event.Event{{Type: event.RequestServed}}
	before, err := s.Backlog(t.Context())
	if err != nil {
		t.Fatalf("Backlog: %v", err)
	}
	out := s.one(t, item)
	if !errors.Is(out.Err, store.ErrWithdrawn) || out.Withdrawn != name {
		t.Errorf("a beginning when the %s is withdrawn: %v, withdrawn %q", name, out.Err, out.Withdrawn)
	}
	if _, err := s.Get(t.Context(), item.Change.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%s: the refused beginning left a row: %v", name, err)
	}
	if after, err := s.Backlog(t.Context()); err != nil || after != before {
		t.Errorf("%s: the refused beginning left %d events: %v", name, after-before, err)
	}
}

func lawGuardActivate(t T, s *subject) {
	ways := withdrawals(t, s)
	ways["prefix"] = func() (store.Guard, func()) {
		return store.Guard{Barriers: true}, func() { s.raise(t, "database/creds/") }
	}
	for name, make := range ways {
		guard, withdraw := make()
		begin := s.beginning(lease.NewID("database/creds/a"))
		begin.Guard = guard
		l := s.must(t, begin)
		withdraw()
		activate := s.change(l.ID, 1, lease.Activate{Handle: []byte("oid")})
		activate.Guard = guard
		out := s.one(t, activate)
		if out.Err != nil || out.Withdrawn != what(name) || out.Lease.State != lease.Revoking || out.Lease.Version != 2 {
			t.Errorf("an activation when the %s is withdrawn: %v, withdrawn %q, state %s", name, out.Err, out.Withdrawn, out.Lease.State)
			continue
		}
		if string(out.Lease.Handle) != "oid" {
			t.Errorf("%s: what the engine saw is lost: %q", name, out.Lease.Handle)
		}
		if out.Lease.Confirmed() {
			t.Errorf("%s: a lease that nobody was given counts as confirmed", name)
		}
		if want := what(name) + " was withdrawn"; out.Lease.Revocation.Reason != want {
			t.Errorf("%s: the reason is %q, want %q", name, out.Lease.Revocation.Reason, want)
		}
		if stored := s.get(t, l.ID); !same(stored, out.Lease) {
			t.Errorf("%s: stored is %s, answered was %s", name, text(stored), text(out.Lease))
		}
		all := s.eventsOf(t, l.ID)
		if len(all) != 2 || all[1].Type != event.LeaseRevoking || all[1].Data.Reason != what(name)+" was withdrawn" {
			t.Errorf("%s: the events are %s", name, text(all))
		}
	}
}

func lawGuardOther(t T, s *subject) {
	guard := store.Guard{Token: "auth/token/create/gone", Entries: []store.Ref{{Kind: store.KindMount, ID: "gone"}}, Barriers: true}
	l := s.active(t, "database/creds/a")
	s.raise(t, "database/")
	for _, do := range []lease.Action{lease.Renew{}, lease.Revoke{}, lease.Retry{}, lease.Finish{To: lease.Revoked}} {
		item := s.change(l.ID, lease.AnyVersion, do)
		item.Guard = guard
		s.must(t, item)
	}
}

func lawGuardPasses(t T, s *subject) {
	mount, role := s.put(t, store.KindMount, "database/"), s.put(t, store.KindRole, "m/r")
	guard := store.Guard{Entries: []store.Ref{ref(mount), ref(role)}, Token: s.token(t, 0).ID, Barriers: true}
	s.raise(t, "database/") // before the beginning
	item := s.beginning(lease.NewID("database/creds/a"))
	item.Guard = guard
	l := s.must(t, item)
	if _, err := s.Write(t.Context(), store.Write{Puts: []store.Entry{{Kind: store.KindRole, Key: "m/r", Revision: 1}}}); err != nil {
		t.Fatalf("edit: %v", err)
	}
	item = s.change(l.ID, 1, lease.Activate{})
	item.Guard = guard
	if l = s.must(t, item); l.State != lease.Active {
		t.Errorf("it is %s", l.State)
	}
}

func (s *subject) raise(t T, prefix string) store.Barrier {
	t.Helper()
	b, err := s.Raise(t.Context(), store.Barrier{Operation: lease.RandomBase62(8), Prefix: prefix, By: someone(), Reason: "a test"})
	if err != nil {
		t.Fatalf("Raise %s: %v", prefix, err)
	}
	return b
}

func lawBarrier(t T, s *subject) {
	begin := func(path string) lease.Lease { return s.begin(t, path) }
	before, sibling := begin("database/creds/a"), begin("database/creds-b")
	b := s.raise(t, "database/creds/")
	later := begin("database/creds/a")
	if before.Position >= b.Position || later.Position <= b.Position {
		t.Errorf("positions: before %d, barrier %d, later %d", before.Position, b.Position, later.Position)
	}
	for _, c := range []struct {
		name string
		l    lease.Lease
		want lease.State
	}{{"before", before, lease.Revoking}, {"another prefix", sibling, lease.Active}, {"later", later, lease.Active}} {
		item := s.change(c.l.ID, 1, lease.Activate{})
		item.Guard.Barriers = true
		if out := s.one(t, item); out.Lease.State != c.want || out.Err != nil {
			t.Errorf("activation of the one %s: %s, %v; want %s", c.name, out.Lease.State, out.Err, c.want)
		}
	}
	listed := s.find(t, store.Query{Prefix: b.Prefix, Before: b.Position, States: []lease.State{lease.Intent, lease.Active, lease.Revoking}})
	if len(listed) != 1 || listed[0].ID != before.ID {
		t.Errorf("listed are %v, want %s only", ids(listed), before.ID)
	}
}

func lawBarrierEntry(t T, s *subject) {
	b, err := s.Raise(t.Context(), store.Barrier{Operation: "op", Prefix: "a/", By: someone(), Reason: "r"},
		event.Event{Type: event.ConfigChanged, Subject: "sys/leases/revoke-prefix/a"})
	if err != nil || !b.RaisedAt.Equal(s.clock.Now()) || b.By != someone() || b.Reason != "r" {
		t.Fatalf("Raise: %+v, %v", b, err)
	}
	e, err := s.Entry(t.Context(), store.KindBarrier, "op")
	if value, _ := b.Encode(); err != nil || string(e.Value) != string(value) || e.Revision != 1 {
		t.Errorf("the entry is %s (%v), want %s", e.Value, err, value)
	}
	if _, err := s.Raise(t.Context(), b); !errors.Is(err, store.ErrExists) {
		t.Errorf("a second barrier of the operation: %v, want ErrExists", err)
	}
	for _, bad := range []store.Barrier{{Operation: "x", Prefix: "a"}, {Prefix: "a/"}, {Operation: "x"}} {
		if _, err := s.Raise(t.Context(), bad); err == nil {
			t.Errorf("the barrier %+v was raised", bad)
		}
	}
	if _, err := s.Write(t.Context(), store.Write{Puts: []store.Entry{{Kind: store.KindBarrier, Key: "forged"}}}); err == nil {
		t.Errorf("a barrier was made by Write")
	}
	b.Listed = true
	value, _ := b.Encode()
	if _, err := s.Write(t.Context(), store.Write{Puts: []store.Entry{{Kind: store.KindBarrier, Key: "op", Revision: 1, Value: value}}}); err != nil {
		t.Errorf("edit: %v", err)
	}
	if all := s.numberAll(t); len(all) != 1 || all[0].Type != event.ConfigChanged {
		t.Errorf("the events are %s, want that of the barrier", text(all))
	}
	l := s.begin(t, "a/b") // begun after the barrier: it stays, whatever became of its entry
	item := s.change(l.ID, 1, lease.Activate{})
	item.Guard.Barriers = true
	if out := s.one(t, item); out.Lease.State != lease.Active {
		t.Errorf("begun after the barrier: %s, %v", out.Lease.State, out.Err)
	}
	intent := s.begin(t, "a/b")
	gone := s.raise(t, "a/")
	e, err = s.Entry(t.Context(), store.KindBarrier, gone.Operation)
	if err != nil {
		t.Fatalf("entry of the barrier: %v", err)
	}
	if _, err := s.Write(t.Context(), store.Write{Deletes: []store.Ref{ref(e)}}); err != nil {
		t.Fatalf("delete: %v", err)
	}
	item = s.change(intent.ID, 1, lease.Activate{})
	item.Guard.Barriers = true
	if out := s.one(t, item); out.Lease.State != lease.Active {
		t.Errorf("a deleted barrier is in force: %s, %v", out.Lease.State, out.Err)
	}
}
