//go:build integration

package redis

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/testkit"
)

// Eight workers, each with connections of its own, claim 10,000 members of four
// targets; some workers die with a claim in hand. Each member is held by one at
// a time and completed once; only what a dead one held is claimed twice.
func TestWorkers(t *testing.T) {
	t.Parallel()
	forms(t, func(t *testing.T, cfg Config) {
		t.Helper()
		const n = 10_000
		x := fresh(t, cfg)
		targets := []string{"a", "b", "c", "d"}
		var all []expiry.Member
		for i := range n {
			all = append(all, member(targets[i%len(targets)], i, i%50))
		}
		offer(t, x, all...)

		var mu sync.Mutex
		held, done, died := map[lease.ID]bool{}, map[lease.ID]int{}, map[lease.ID]bool{}
		work := func(mortal bool) {
			own := opened(t, Config{Addresses: cfg.Addresses, Cluster: cfg.Cluster, Prefix: x.prefix})
			for {
				up, err := own.Upcoming(t.Context(), at(100))
				if err != nil {
					t.Errorf("upcoming: %v", err)
					return
				}
				if len(up) == 0 {
					return
				}
				target := up[rand.IntN(len(up))].Target
				c, err := own.Claim(t.Context(), target, at(100), 1+rand.IntN(128), time.Hour)
				if err != nil {
					t.Errorf("claim: %v", err)
					return
				}
				mu.Lock()
				die := mortal && len(c.Members) > 0 && rand.IntN(10) == 0
				for _, m := range c.Members {
					if held[m.ID] || done[m.ID] > 0 {
						t.Errorf("%s was claimed while held %v, done %d", m.ID, held[m.ID], done[m.ID])
					}
					held[m.ID], died[m.ID] = !die, die
				}
				mu.Unlock()
				if die {
					continue
				}
				mu.Lock()
				for _, m := range c.Members {
					held[m.ID] = false
					done[m.ID]++
				}
				mu.Unlock()
				if err := own.Complete(t.Context(), c); err != nil {
					t.Errorf("complete: %v", err)
				}
			}
		}
		together := func(mortal bool) {
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() { work(mortal) })
			}
			wg.Wait()
		}
		together(true)
		lost := 0
		for _, d := range died {
			if d {
				lost++
			}
		}
		clocked{x}.Pass(t, time.Hour)
		lapseNow(t, x, lost)
		together(false)
		if len(done) != n {
			t.Errorf("%d members were completed, want %d", len(done), n)
		}
		for id, k := range done {
			if k != 1 {
				t.Errorf("%s was completed %d times", id, k)
			}
		}
		wantLen(t, x, 0)
	})
}

// D1: offers from many sides while nothing is claimed: what is due in the end is
// the earliest time that anybody offered, and at no moment was it later than
// before.
func TestScoresOnlyFall(t *testing.T) {
	t.Parallel()
	forms(t, func(t *testing.T, cfg Config) {
		t.Helper()
		x := fresh(t, cfg)
		const members, offers = 20, 300
		var mu sync.Mutex
		earliest := map[lease.ID]time.Time{}
		var sides, watch sync.WaitGroup
		over := make(chan struct{})
		watch.Go(func() {
			last := map[string]time.Time{}
			for {
				select {
				case <-over:
					return
				default:
				}
				up, err := x.Upcoming(t.Context(), at(1_000_000))
				if err != nil {
					t.Errorf("upcoming: %v", err)
					return
				}
				for _, u := range up {
					if l, ok := last[u.Target]; ok && u.At.After(l) {
						t.Errorf("%s: the earliest moved from %v to %v", u.Target, l, u.At)
					}
					last[u.Target] = u.At
				}
			}
		})
		for range 4 {
			sides.Go(func() {
				for range offers {
					m := member("a", rand.IntN(members), rand.IntN(100_000))
					m.Target = fmt.Sprint("t", m.ID[len(m.ID)-1:])
					if err := x.Offer(t.Context(), m); err != nil {
						t.Errorf("offer: %v", err)
						return
					}
					mu.Lock()
					if e, ok := earliest[m.ID]; !ok || m.At.Before(e) {
						earliest[m.ID] = m.At
					}
					mu.Unlock()
				}
			})
		}
		sides.Wait()
		close(over)
		watch.Wait()
		up, err := x.Upcoming(t.Context(), at(1_000_000))
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range up {
			c := claim(t, x, u.Target, 1_000_000, 100)
			for _, m := range c.Members {
				if !m.At.Equal(earliest[m.ID]) {
					t.Errorf("%s is due at %v, want the earliest offered, %v", m.ID, m.At, earliest[m.ID])
				}
				delete(earliest, m.ID)
			}
		}
		if len(earliest) != 0 {
			t.Errorf("%d members are missing", len(earliest))
		}
	})
}

// The registry misses no target, whatever changes while others look at it and
// drop what is empty: in the end every target with due members is found, and no
// other; when all are done, nothing is left of any.
func TestRegistry(t *testing.T) {
	t.Parallel()
	forms(t, func(t *testing.T, cfg Config) {
		t.Helper()
		x := fresh(t, cfg)
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				for range 300 {
					if err := wander(t, x); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		due := map[string]bool{}
		for i := range few {
			keys := x.targetKeys(name(i))
			n, err := x.client.ZCard(t.Context(), keys[0]).Result()
			if err != nil {
				t.Fatal(err)
			}
			due[name(i)] = n > 0
		}
		up, err := x.Upcoming(t.Context(), at(1_000_000))
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range up {
			if !due[u.Target] {
				t.Errorf("%s is upcoming and has nothing due", u.Target)
			}
			delete(due, u.Target)
		}
		for target, is := range due {
			if is {
				t.Errorf("%s has due members and is not upcoming", target)
			}
		}
		for _, u := range up {
			complete(t, x, claim(t, x, u.Target, 1_000_000, 1000))
		}
		wantUpcoming(t, x)
		lapseNow(t, x, 0)
		for _, key := range x.registryKeys() {
			if n, err := x.client.Exists(t.Context(), key).Result(); err != nil || n != 0 {
				t.Errorf("%s is left: %d, %v", key, n, err)
			}
		}
	})
}

const few = 4

func name(i int) string { return fmt.Sprint("target ", i) }

// wander does one thing at random; a claim is always ended.
func wander(t *testing.T, x *Index) error {
	t.Helper()
	target := name(rand.IntN(few))
	switch rand.IntN(5) {
	case 0:
		return x.Offer(t.Context(), member(target, rand.IntN(3), rand.IntN(100)))
	case 1:
		_, err := x.Upcoming(t.Context(), at(1000))
		return err
	case 2:
		_, err := x.Lapse(t.Context(), at(1000))
		return err
	}
	c, err := x.Claim(t.Context(), target, at(1000), 2, time.Hour)
	if err != nil {
		return err
	}
	var later []expiry.Member
	if len(c.Members) > 0 && rand.IntN(3) == 0 {
		m := c.Members[0]
		m.At = at(rand.IntN(100))
		later = append(later, m)
	}
	if err := x.Complete(t.Context(), c, later...); err != nil {
		return errors.Join(errors.New("complete"), err)
	}
	return nil
}

// Who looked at a target before it changed, and corrects the registry after,
// corrects nothing: neither the time of a target nor its place there is lost.
func TestStaleLook(t *testing.T) {
	t.Parallel()
	x := fresh(t, single(testkit.Redis(t)))
	look := func() []settlement {
		t.Helper()
		entries, err := x.soon(t.Context(), nowScore(at(1_000_000)), 0)
		if err != nil {
			t.Fatal(err)
		}
		found, err := x.look(t.Context(), entries)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	settle := func(found []settlement) {
		t.Helper()
		if err := x.settle(t.Context(), found); err != nil {
			t.Fatal(err)
		}
	}
	offer(t, x, member("a", 1, 10), member("a", 2, 50))
	c := claim(t, x, "a", 10, 1)
	stale := look() // the earliest is 50 now, the registry still says 10
	offer(t, x, member("a", 3, 20))
	settle(stale)
	if up, err := x.Upcoming(t.Context(), at(30)); err != nil || len(up) != 1 || !up[0].At.Equal(at(20)) {
		t.Errorf("after an offer behind a look: %v, %v", up, err)
	}
	complete(t, x, c)
	complete(t, x, claim(t, x, "a", 100, 10))
	stale = look() // empty
	offer(t, x, member("a", 4, 20))
	settle(stale)
	wantUpcoming(t, x, "a")
	c = claim(t, x, "a", 100, 10)
	stale = look() // in flight only
	complete(t, x, c, member("a", 4, 30))
	settle(stale)
	wantUpcoming(t, x, "a")

	complete(t, x, claim(t, x, "a", 100, 10))
	offer(t, x, member("a", 5, 20), member("a", 6, 10))
	complete(t, x, claim(t, x, "a", 10, 1))
	flying, err := x.flying(t.Context(), first)
	if err != nil || len(flying) != 1 {
		t.Fatalf("flying: %v, %v", flying, err)
	}
	found, err := x.look(t.Context(), flying) // no claim
	if err != nil {
		t.Fatal(err)
	}
	claim(t, x, "a", 100, 10)
	settle(found)
	clocked{x}.Pass(t, time.Hour)
	lapseNow(t, x, 1)
	// What nothing came between is dropped.
	complete(t, x, claim(t, x, "a", 100, 10))
	settle(look())
	lapseNow(t, x, 0)
	if n := keys(t, x); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

// Announcements may overtake each other: the earlier time stands.
func TestAnnouncementsOvertake(t *testing.T) {
	t.Parallel()
	x := fresh(t, single(testkit.Redis(t)))
	offered := func(m expiry.Member) standing {
		t.Helper()
		values, err := x.one(t.Context(), x.scripts.offer, x.targetKeys("a"), pairs([]expiry.Member{m})...)
		s, err := stands("a", answer{values: values, err: err}, 2)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	late := offered(member("a", 1, 50))
	early := offered(member("a", 2, 20))
	if err := x.announce(t.Context(), early); err != nil {
		t.Fatal(err)
	}
	if err := x.announce(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	if up, err := x.Upcoming(t.Context(), at(30)); err != nil || len(up) != 1 || !up[0].At.Equal(at(20)) {
		t.Errorf("upcoming: %v, %v; want a at 20", up, err)
	}
}
