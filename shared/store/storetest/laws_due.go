package storetest

import (
	"slices"
	"strconv"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

func dueLaws() []law {
	return []law{
		{"due: earliest first, only what is due, pages are complete", lawDue},
		{"due: the time follows the lease", lawDueFollows},
		{"prune: only what ended long ago and is in the ledger", lawPrune},
	}
}

func (s *subject) due(t T, until time.Time, limit int) (all []store.Due) {
	t.Helper()
	var after store.Cursor
	for {
		page, err := s.Due(t.Context(), until, after, limit)
		if err != nil || len(page) > limit {
			t.Fatalf("Due: %d of %d, %v", len(page), limit, err)
		}
		if len(page) == 0 {
			return all
		}
		last := page[len(page)-1]
		all, after = append(all, page...), store.Cursor{At: last.At, ID: last.ID}
		if len(all) > 1000 {
			t.Fatalf("Due has no end")
		}
	}
}

func lawDue(t T, s *subject) {
	var want []store.Due
	start := s.clock.Now()
	for i := range 20 {
		l := s.active(t, "database/creds/a", func(l *lease.Lease) {
			l.TTL, l.Target = time.Duration(1+i*7%10)*time.Minute, strconv.Itoa(i%3)
		})
		want = append(want, store.Due{ID: l.ID, Kind: lease.Secret, Target: l.Target, At: l.ExpiresAt})
	}
	s.active(t, "database/creds/a", func(l *lease.Lease) { l.TTL, l.MaxTTL = 0, 0 }) // never
	token := s.token(t, time.Minute)
	want = append(want, store.Due{ID: token.ID, Kind: lease.Token, At: token.ExpiresAt})
	slices.SortFunc(want, func(a, b store.Due) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		return cmpID(a.ID, b.ID)
	})
	for _, after := range []time.Duration{0, time.Minute - 1, time.Minute, 5 * time.Minute, time.Hour} {
		until := start.Add(after)
		n := 0
		for n < len(want) && !want[n].At.After(until) {
			n++
		}
		for _, limit := range []int{1, 3, 100} {
			if got := s.due(t, until, limit); len(got) != n || n > 0 && !same(got, want[:n]) {
				t.Errorf("due after %s in pages of %d: %s, want %s", after, limit, text(got), text(want[:n]))
			}
		}
	}
}

func lawDueFollows(t T, s *subject) {
	end := s.clock.Now().Add(100 * time.Hour)
	check := func(l lease.Lease) {
		t.Helper()
		got := s.due(t, end, 10)
		at := l.DueAt()
		if at.IsZero() != (len(got) == 0) || len(got) > 1 || len(got) == 1 && (!got[0].At.Equal(at) || got[0].ID != l.ID) {
			t.Errorf("%s version %d, due at %s, stands as %s", l.State, l.Version, at, text(got))
		}
	}
	l := s.begin(t, "database/creds/a")
	check(l)
	for _, do := range []lease.Action{
		lease.Activate{},
		lease.Renew{Increment: 90 * time.Minute},
		lease.Revoke{},
		lease.Progress{Failed: true, After: 10 * time.Second},
		lease.Retry{},
		lease.Finish{To: lease.Revoked},
	} {
		s.clock.Advance(time.Second)
		l = s.must(t, s.change(l.ID, l.Version, do))
		check(l)
	}
}

func lawPrune(t T, s *subject) {
	first := s.ended(t, "database/creds/a")
	s.numberAll(t)
	head, err := s.Head(t.Context())
	if err != nil {
		t.Fatalf("Head: %v", err)
	}
	s.clock.Advance(time.Minute)
	second := s.ended(t, "database/creds/a")
	live := s.active(t, "database/creds/a")
	s.numberAll(t)
	s.clock.Advance(time.Hour)
	prune := func(before time.Time, limit, want int) {
		t.Helper()
		if n, err := s.Prune(t.Context(), before, limit); err != nil || n != want {
			t.Errorf("Prune removed %d (%v), want %d", n, err, want)
		}
	}
	now := s.clock.Now()
	prune(now, 10, 0) // the ledger has nothing
	confirm := func(consumer string, p event.Position) {
		if err := s.Confirm(t.Context(), consumer, p); err != nil {
			t.Fatalf("Confirm: %v", err)
		}
	}
	confirm("somebody", head)
	prune(now, 10, 0) // it is the ledger that counts
	confirm(store.Ledger, event.Position{Epoch: head.Epoch, Number: head.Number - 1})
	prune(now, 10, 0)                                 // its last event is missing
	confirm(store.Ledger, head)                       // all of first
	prune(first.Revocation.EndedAt, 10, 0)            // not before itself
	prune(first.Revocation.EndedAt.Add(1), 10, 1)     //
	prune(now, 10, 0)                                 // second is not in the ledger
	if last, _ := s.Head(t.Context()); last != head { // now it is
		confirm(store.Ledger, last)
	}
	third := s.ended(t, "database/creds/a")
	prune(now, 1, 1)
	prune(now, 1, 0)
	for id, there := range map[lease.ID]bool{first.ID: false, second.ID: false, live.ID: true, third.ID: true} {
		if _, err := s.Get(t.Context(), id); (err == nil) != there {
			t.Errorf("Get %s: %v, want it there: %v", id, err, there)
		}
	}
}
