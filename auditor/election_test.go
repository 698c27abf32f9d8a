package auditor

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// slow is a store's locks as one auditor reaches them: a call takes time on its
// way there and back, may not arrive, and its answer may be lost.
type slow struct {
	*storetest.Faulty
	clock       *storetest.Clock
	there, back time.Duration
	done        func() // called where the answer arrives
}

func (s *slow) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (store.Lock, bool, error) {
	s.clock.Advance(s.there)
	lock, ok, err := s.Faulty.Acquire(ctx, name, owner, ttl)
	s.clock.Advance(s.back)
	s.done()
	return lock, ok, err
}

// candidates are auditors of one ledger, by their elections.
type candidates struct {
	clock *storetest.Clock
	fake  *storetest.Fake
	all   []*election
	links []*slow
	hung  []bool
	born  int
	fence int64   // highest of any term
	terms []*term // the latest of each
}

func newCandidates(n int) *candidates {
	c := storetest.NewClock()
	s := &candidates{clock: c, fake: storetest.NewFake(c), all: make([]*election, n), links: make([]*slow, n), hung: make([]bool, n), terms: make([]*term, n)}
	for i := range n {
		s.start(i)
	}
	return s
}

// start replaces a candidate by one that knows nothing: the other was killed.
func (s *candidates) start(i int) {
	s.born++
	s.hung[i], s.terms[i] = false, nil
	s.links[i] = &slow{Faulty: storetest.NewFaulty(s.fake), clock: s.clock, done: func() {}}
	s.all[i] = &election{
		locks: s.links[i], clock: s.clock, log: zerolog.Nop(), owner: fmt.Sprintf("auditor-%d", s.born),
		hung: func() bool { return s.hung[i] }, wake: step.NewSignal(),
	}
}

// leaders are those that may append now.
func (s *candidates) leaders() (out []int) {
	for i, e := range s.all {
		if e.current() != nil {
			out = append(out, i)
		}
	}
	return out
}

type failing interface {
	Helper()
	Fatalf(format string, args ...any)
}

func (s *candidates) check(t failing) {
	t.Helper()
	if l := s.leaders(); len(l) > 1 {
		t.Fatalf("candidates %v lead at the same time", l)
	}
	for i, e := range s.all {
		now := e.current()
		if now == nil || now == s.terms[i] {
			continue
		}
		again := s.terms[i] != nil && s.terms[i].lock == now.lock // nobody had it meanwhile
		if now.lock.Fence < s.fence || now.lock.Fence == s.fence && !again {
			t.Fatalf("candidate %d leads under fence %d, there was %d", i, now.lock.Fence, s.fence)
		}
		s.fence, s.terms[i] = now.lock.Fence, now
	}
}

// D5: at no time do two lead, whatever calls are lost or slow and whoever is
// killed; fences grow; and when all is well again one leads soon.
func TestOneLeads(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := newCandidates(3)
		ms := func(most int, label string) time.Duration {
			return time.Duration(rapid.IntRange(0, most).Draw(t, label)) * time.Millisecond
		}
		who := rapid.IntRange(0, len(s.all)-1)
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) { s.check(t) },
			"try": func(t *rapid.T) {
				i := who.Draw(t, "who")
				link := s.links[i]
				link.there, link.back = ms(8000, "there"), ms(12000, "back")
				link.done = func() { s.check(t) }
				switch rapid.IntRange(0, 3).Draw(t, "fault") {
				case 0:
					link.Break(storetest.Fault{Method: "Acquire"})
				case 1:
					link.Break(storetest.Fault{Method: "Acquire", Done: true})
				default:
					link.Break()
				}
				_, _ = s.all[i].Do(t.Context())
			},
			"wait":   func(*rapid.T) { s.clock.Advance(ms(6000, "wait")) },
			"kill":   func(t *rapid.T) { s.start(who.Draw(t, "who")) },
			"resign": func(t *rapid.T) { _ = s.all[who.Draw(t, "who")].resign(t.Context()) },
			"hang":   func(t *rapid.T) { s.hung[who.Draw(t, "who")] = rapid.Bool().Draw(t, "hung") },
		})
		for i, link := range s.links {
			s.hung[i], link.there, link.back, link.done = false, 0, 0, func() {}
			link.Break()
		}
		for range 2 { // the lock of one that was killed lapses
			for _, e := range s.all {
				if _, err := e.Do(t.Context()); err != nil {
					t.Fatalf("do: %v", err)
				}
				s.check(t)
			}
			s.clock.Advance(lockTTL)
		}
		for _, e := range s.all {
			if _, err := e.Do(t.Context()); err != nil {
				t.Fatalf("do: %v", err)
			}
		}
		if l := s.leaders(); len(l) != 1 {
			t.Fatalf("leaders: %v, want one", l)
		}
	})
}

func (s *candidates) do(t *testing.T, i int) time.Duration {
	t.Helper()
	rest, err := s.all[i].Do(t.Context())
	if err != nil {
		t.Fatalf("do: %v", err)
	}
	return rest
}

func (s *candidates) leads(t *testing.T, want ...int) {
	t.Helper()
	if got := s.leaders(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("leaders: %v, want %v", got, want)
	}
}

// After an orderly stop another leads without any lock lapsing; after a crash
// when it has.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	s := newCandidates(3)
	if rest := s.do(t, 0); rest >= lockTTL/2 {
		t.Errorf("it extends after %s", rest)
	}
	s.do(t, 1)
	s.leads(t, 0)
	for range 2 { // it may be called again
		if err := s.all[0].resign(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.leads(t)
	if rest := s.do(t, 1); rest > lockTTL/2 {
		t.Errorf("it extends after %s", rest)
	}
	s.leads(t, 1)

	s.start(1) // a crash
	s.clock.Advance(lockTTL - time.Nanosecond)
	if rest := s.do(t, 2); rest != lockEvery {
		t.Errorf("it tries again after %s", rest)
	}
	s.leads(t)
	s.clock.Advance(time.Nanosecond)
	s.do(t, 2)
	s.leads(t, 2)
}

// A leader that does not reach the store leads until its time is over, counted
// from before its last good attempt; then not any more, and again when it does.
func TestStoreOutOfReach(t *testing.T) {
	t.Parallel()
	for name, done := range map[string]bool{"not called": false, "answer lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newCandidates(1)
			s.links[0].there, s.links[0].back = time.Second, 2*time.Second
			s.do(t, 0)
			first := s.all[0].current()
			s.links[0].there, s.links[0].back = 0, 0
			s.links[0].Break(storetest.Fault{Method: "Acquire", Done: done})
			s.clock.Advance(lockTTL - 3*time.Second - 1)
			if _, err := s.all[0].Do(t.Context()); err == nil {
				t.Fatal("a broken call succeeded")
			}
			s.leads(t, 0)
			s.clock.Advance(1)
			s.leads(t)
			s.links[0].Break()
			s.do(t, 0)
			s.leads(t, 0)
			if now := s.all[0].current(); now == first || now.lock != first.lock {
				t.Errorf("the term is %v, want another one of the same lock", now)
			}
		})
	}
}

// An answer that took longer than the lock is good for elects nobody.
func TestLateAnswer(t *testing.T) {
	t.Parallel()
	s := newCandidates(1)
	s.links[0].back = lockTTL
	s.do(t, 0)
	s.leads(t)
	if len(s.all[0].wake) > 0 {
		t.Error("it woke the appender")
	}
}

// One whose ledger hangs gives way, and does not take the lock again before the
// ledger answers.
func TestHungLedgerGivesWay(t *testing.T) {
	t.Parallel()
	s := newCandidates(2)
	s.do(t, 0)
	over := s.all[0].current().over
	s.hung[0] = true
	for range 2 {
		if _, err := s.all[0].Do(t.Context()); err == nil {
			t.Fatal("it says nothing")
		}
		s.leads(t)
		s.clock.Advance(lockTTL)
	}
	select {
	case <-over:
	default:
		t.Error("the term goes on")
	}
	s.do(t, 1)
	s.leads(t, 1)
	s.hung[0] = false
	s.do(t, 0)
	s.leads(t, 1)
}

// Where another had the lock meanwhile, because the store's clock jumped, a new
// term begins although the old one is trusted: the ledger is read anew.
func TestLockChangedHands(t *testing.T) {
	t.Parallel()
	s := newCandidates(1)
	s.do(t, 0)
	first := s.all[0].current()
	if err := s.fake.Release(t.Context(), first.lock); err != nil {
		t.Fatal(err)
	}
	other, ok, err := s.fake.Acquire(t.Context(), lockName, "other", lockTTL)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := s.fake.Release(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	s.do(t, 0)
	select {
	case <-first.over:
	default:
		t.Error("the first term goes on")
	}
	if now := s.all[0].current(); now == nil || now.lock.Fence <= other.Fence {
		t.Errorf("the term is %v, want one with a fence above %d", now, other.Fence)
	}
}
