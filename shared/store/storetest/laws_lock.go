package storetest

import (
	"sync"
	"time"

	"github.com/curfew-project/curfew/shared/store"
)

func lockLaws() []law {
	return []law{
		{"locks: one owner at a time, a fence that grows with each change", lawLock},
		{"locks: of many that race one wins", lawLockRace},
	}
}

func lawLock(t T, s *subject) {
	acquire := func(owner string, want bool, fence int64) store.Lock {
		t.Helper()
		l, ok, err := s.Acquire(t.Context(), "name", owner, time.Minute)
		if err != nil || ok != want || ok && l != (store.Lock{Name: "name", Owner: owner, Fence: fence}) {
			t.Errorf("Acquire by %s: %+v, %v, %v; want %v with fence %d", owner, l, ok, err, want, fence)
		}
		return l
	}
	release := func(l store.Lock) {
		t.Helper()
		if err := s.Release(t.Context(), l); err != nil {
			t.Errorf("Release of %+v: %v", l, err)
		}
	}
	a := acquire("a", true, 1)
	acquire("b", false, 0)
	s.clock.Advance(time.Minute - 1)
	acquire("a", true, 1) // extends
	s.clock.Advance(time.Minute - 1)
	acquire("b", false, 0)
	s.clock.Advance(1)
	b := acquire("b", true, 2)
	acquire("a", false, 0)
	release(a) // lost: ignored
	acquire("a", false, 0)
	release(b)
	release(b)
	a = acquire("a", true, 3)
	release(a)
	acquire("a", true, 4) // given up in between: another term
	if _, ok, err := s.Acquire(t.Context(), "name", "", time.Minute); ok || err == nil {
		t.Errorf("a lock without an owner: %v, %v", ok, err)
	}
	if l, ok, err := s.Acquire(t.Context(), "other", "b", time.Minute); !ok || err != nil || l.Fence != 1 {
		t.Errorf("another lock: %+v, %v, %v", l, ok, err)
	}
}

func lawLockRace(t T, s *subject) {
	var mu sync.Mutex
	var winners []store.Lock
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			l, ok, err := s.Acquire(t.Context(), "name", string(rune('a'+i)), time.Minute)
			if err != nil {
				t.Errorf("Acquire: %v", err)
			}
			if ok {
				mu.Lock()
				winners = append(winners, l)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(winners) != 1 || winners[0].Fence != 1 {
		t.Errorf("winners are %+v, want one", winners)
	}
}
