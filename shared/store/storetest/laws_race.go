package storetest

import (
	"context"
	"errors"
	"sync"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

func raceLaws() []law {
	return []law{
		{"A1 racing changes leave gapless versions and one event each", lawRace},
		{"A3 a withdrawal and a listing miss no activation", lawWithdrawalRace},
		{"D3 numbers follow the order of commits under a racing load", lawNumbersRace},
	}
}

// lawRace lets 64 goroutines change one version of a lease, again and again: one
// of them makes the next version, and is the one whose key the row has.
func lawRace(t T, s *subject) {
	l := s.active(t, "database/creds/a")
	const rounds = 5
	for range rounds {
		made := s.race(t, l, 64)
		if len(made) != 1 {
			t.Errorf("%d of 64 changes of version %d were applied, want one", len(made), l.Version)
		}
		now := s.get(t, l.ID)
		if now.Version != l.Version+1 || len(made) > 0 && !same(made[0], now) {
			t.Errorf("stored is %s, the one applied made %s", text(now), text(made))
		}
		l = now
	}
	all := s.eventsOf(t, l.ID)
	if len(all) != 2+rounds {
		t.Errorf("%d events of %d transitions", len(all), 2+rounds)
	}
	for i, e := range all {
		if e.Data.Version != int64(i)+1 {
			t.Errorf("event %d is of version %d", i, e.Data.Version)
		}
	}
}

// race applies n changes to the version that l has, at once, and returns what
// those made that were applied.
func (s *subject) race(t T, l lease.Lease, n int) (made []lease.Lease) {
	ctx := t.Context()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			out := s.Apply(ctx, s.change(l.ID, l.Version, lease.Renew{}))[0]
			mu.Lock()
			defer mu.Unlock()
			switch {
			case out.Err == nil:
				made = append(made, out.Lease)
			case !errors.Is(out.Err, lease.ErrVersion):
				t.Errorf("renew: %v", out.Err)
			}
		})
	}
	wg.Wait()
	return made
}

// lawWithdrawalRace plays the issuer against a withdrawal, many times: whatever
// the withdrawal's listing did not see must not become active.
func lawWithdrawalRace(t T, s *subject) {
	for round := range 12 {
		path := "database/creds/" + lease.RandomBase62(6)
		mount := s.put(t, store.KindMount, lease.RandomBase62(6)+"/")
		token := s.token(t, 0)
		guard := store.Guard{Entries: []store.Ref{ref(mount)}, Token: token.ID, Barriers: true}
		started := make(chan struct{}, 8)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { s.issue(t, path, mount.ID, guard, round%2 == 0, started) })
		}
		for range round % 8 { // begin somewhere in the middle
			<-started
		}
		listed := s.takeAway(t, round, path, mount, token)
		wg.Wait()
		for _, l := range s.find(t, store.Query{Prefix: path + "/", Limit: 100}) {
			if l.State != lease.Active {
				continue
			}
			if _, seen := listed[l.ID]; !seen && !s.after(t, round, path, l) {
				t.Errorf("round %d: %s is active and the withdrawal did not see it", round, l.ID)
			}
		}
	}
}

// issue begins and confirms leases until it is refused. A blind one begins
// without the guard, as if its check had just missed the mark: the activation
// alone must then hold.
func (s *subject) issue(t T, path, mountID string, guard store.Guard, blind bool, started chan<- struct{}) {
	ctx := context.WithoutCancel(t.Context())
	for n := range 8 {
		begin := s.beginning(lease.NewID(path), func(l *lease.Lease) { l.MountID, l.TokenID = mountID, guard.Token })
		if !blind {
			begin.Guard = guard
		}
		out := s.Apply(ctx, begin)[0]
		if n == 0 {
			started <- struct{}{}
		}
		if errors.Is(out.Err, store.ErrWithdrawn) {
			return
		}
		activate := s.change(begin.Change.ID, 1, lease.Activate{})
		activate.Guard = guard
		if out := s.Apply(ctx, activate)[0]; out.Err != nil {
			t.Errorf("activate: %v", out.Err)
		}
	}
}

// takeAway withdraws in one of three ways, then lists.
func (s *subject) takeAway(t T, round int, path string, mount store.Entry, token lease.Lease) map[lease.ID]bool {
	t.Helper()
	q := store.Query{States: []lease.State{lease.Intent, lease.Active}, Limit: 7}
	switch round % 3 {
	case 0:
		s.withdraw(t, mount)
		q.MountID = mount.ID
	case 1:
		s.must(t, s.change(token.ID, token.Version, lease.Revoke{}))
		q.Token = token.ID
	case 2:
		b := s.raise(t, path+"/")
		q.Prefix, q.Before = b.Prefix, b.Position
	}
	listed := map[lease.ID]bool{}
	for _, l := range s.find(t, q) {
		listed[l.ID] = true
	}
	return listed
}

// after says whether l may be active since it began after the barrier (A4).
func (s *subject) after(t T, round int, path string, l lease.Lease) bool {
	t.Helper()
	if round%3 != 2 {
		return false
	}
	all, err := s.List(t.Context(), store.KindBarrier, "", "", false, 0)
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	for _, e := range all {
		b, err := store.DecodeBarrier(e.Value)
		if err != nil {
			t.Fatalf("barrier: %v", err)
		}
		if b.Prefix == path+"/" {
			return l.Position > b.Position
		}
	}
	return false
}

// lawNumbersRace numbers and reads while 16 goroutines commit. A reader who
// went by the head must never find something new behind it.
func lawNumbersRace(t T, s *subject) {
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 6 {
				id := lease.NewID("database/creds/a")
				s.Apply(t.Context(), s.beginning(id))
				s.Apply(t.Context(), s.change(id, 1, lease.Activate{}), s.change(id, 2, lease.Renew{}))
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	lock := s.lock(t, "publisher")
	versions, next := map[lease.ID]int64{}, int64(1)
	for open := true; open; {
		select {
		case <-done:
			open = false // what was committed meanwhile comes in this last round
		default:
		}
		limit := 5
		if !open {
			limit = 10_000
		}
		head, _, err := s.Number(t.Context(), lock, limit)
		if err != nil {
			t.Fatalf("Number: %v", err)
		}
		for _, e := range s.events(t, positionBefore(head.Epoch, next)) {
			if e.Position.Number != next {
				t.Fatalf("event %s, want number %d", e.Position, next)
			}
			next++
			if id := e.Data.LeaseID; e.Data.Version != versions[id]+1 {
				t.Errorf("event %s is version %d of a lease at %d", e.Position, e.Data.Version, versions[id])
			}
			versions[e.Data.LeaseID] = e.Data.Version
		}
		if next-1 != head.Number {
			t.Errorf("read up to %d, the head is %s", next-1, head)
		}
	}
	if want := int64(16 * 6 * 3); next-1 != want {
		t.Errorf("%d events, want %d", next-1, want)
	}
}
