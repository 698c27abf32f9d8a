// Package expirytest is the conformance suite of the expiry index: the laws of
// package expiry, each a subtest named after it. Every implementation passes
// it; broken ones are shown to fail.
package expirytest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
)

// T is the part of *testing.T that a law needs, so that a test can watch a law
// fail.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Context() context.Context
}

// Law is one law of the contract.
type Law struct {
	Name  string
	Check func(t T, x expiry.Index)
}

// Clocked is an index whose claims lapse by a clock of its own instead of the
// time that its callers give (A5): the suite lets time go by on it, too.
type Clocked interface {
	Pass(t T, d time.Duration)
}

// pass lets time go by.
func pass(t T, x expiry.Index, d time.Duration) {
	t.Helper()
	if c, ok := x.(Clocked); ok {
		c.Pass(t, d)
	}
}

// hold is long enough for a clock of the index's own not to reach its end by
// itself while a law is checked.
const hold = 10 * time.Minute

// Laws lists the laws. Each check gets an empty index.
func Laws() []Law {
	return []Law{
		{"D1 a member in due only moves earlier", onlyEarlier},
		{"D1 a put-back loses to an earlier offer", putBackLoses},
		{"D1 a put-back may move later", putBackLater},
		{"C7 a claim takes what is due, earliest first, of one target", claimsDue},
		{"C7 a claimed member is in flight", inFlight},
		{"C7 a lapsed claim is due again and its token is void", lapses},
		{"C7 an extended claim does not lapse", extends},
		{"C7 completed members are gone", completed},
		{"C8 an old offer during flight does not undo the put-back", oldOffer},
		{"an offer during flight outlives completion", offerOutlives},
		{"concurrent claims never share a member", disjoint},
		{"upcoming names the earliest of each target", upcoming},
		{"upcoming follows claims and put-backs", upcomingFollows},
		{"C7 a claim is completed once, by its token only", tokens},
		{"C7 a lapsed member keeps the time for which it was claimed", lapsedKeepsTime},
		{"C7 what lapsed and was claimed again is not the first holder's", twoHolders},
		{"a put-back may name an earlier time", putBackEarlier},
		{"a put-back moves only what the claim holds", putBackOwn},
		{"a claim takes no more than its limit", limits},
		{"an offer may be of any size, with members named twice", manyOffered},
		{"targets are apart, whatever their names", names},
		{"D2 missing is what was never offered, has ended, or waits for later", missing},
		{"D2 what is in flight is not missing", missingInFlight},
		{"D2 missing is told of any number of members, in order", missingMany},
		{"D2 waiting is what is due by then and not in flight, in pages", waiting},
	}
}

var base = time.Unix(1_800_000_000, 0)

func at(seconds int) time.Time { return base.Add(time.Duration(seconds) * time.Second) }

func member(target string, i, due int) expiry.Member {
	return expiry.Member{ID: lease.ID(fmt.Sprintf("m/creds/r/%04d", i)), Target: target, At: at(due)}
}

func offer(t T, x expiry.Index, m ...expiry.Member) {
	t.Helper()
	if err := x.Offer(t.Context(), m...); err != nil {
		t.Fatalf("offer: %v", err)
	}
}

func claim(t T, x expiry.Index, target string, now, limit int) expiry.Claim {
	t.Helper()
	c, err := x.Claim(t.Context(), target, at(now), limit, hold)
	if err != nil {
		t.Fatalf("claim: %v", err)
	}
	return c
}

func complete(t T, x expiry.Index, c expiry.Claim, later ...expiry.Member) {
	t.Helper()
	if err := x.Complete(t.Context(), c, later...); err != nil {
		t.Fatalf("complete: %v", err)
	}
}

func wantIDs(t T, c expiry.Claim, want ...expiry.Member) {
	t.Helper()
	if len(c.Members) != len(want) {
		t.Errorf("claimed %d members, want %d", len(c.Members), len(want))
		return
	}
	for i, m := range c.Members {
		if m.ID != want[i].ID {
			t.Errorf("member %d is %s, want %s", i, m.ID, want[i].ID)
		}
	}
}

func lapse(t T, x expiry.Index, now time.Time, want int) {
	t.Helper()
	if n, err := x.Lapse(t.Context(), now); err != nil || n != want {
		t.Errorf("lapse: %d, %v; want %d", n, err, want)
	}
}

// wantMembers is wantIDs and the times.
func wantMembers(t T, c expiry.Claim, want ...expiry.Member) {
	t.Helper()
	wantIDs(t, c, want...)
	for i, m := range c.Members {
		if i < len(want) && (!m.At.Equal(want[i].At) || m.Target != want[i].Target) {
			t.Errorf("member %d is %v, want %v", i, m, want[i])
		}
	}
}

func onlyEarlier(t T, x expiry.Index) {
	m := member("a", 1, 50)
	offer(t, x, m, member("a", 1, 90))
	wantIDs(t, claim(t, x, "a", 60, 10), m)
	early := member("a", 2, 50)
	offer(t, x, early)
	early.At = at(20)
	offer(t, x, early)
	wantIDs(t, claim(t, x, "a", 20, 10), early)
}

func putBackLoses(t T, x expiry.Index) {
	m := member("a", 1, 10)
	offer(t, x, m)
	c := claim(t, x, "a", 10, 10)
	m.At = at(12)
	offer(t, x, m) // a revoke-now that arrives while a late renewal is put back
	m.At = at(500)
	complete(t, x, c, m)
	wantIDs(t, claim(t, x, "a", 12, 10), m)
}

func putBackLater(t T, x expiry.Index) {
	m := member("a", 1, 10)
	offer(t, x, m)
	c := claim(t, x, "a", 10, 10)
	m.At = at(500)
	complete(t, x, c, m)
	wantIDs(t, claim(t, x, "a", 499, 10))
	wantIDs(t, claim(t, x, "a", 500, 10), m)
}

// The sweep of overdue leases offers what is in flight again and again; the
// attempt's back-off stands. What comes later counts.
func oldOffer(t T, x expiry.Index) {
	m := member("a", 1, 10)
	offer(t, x, m)
	c := claim(t, x, "a", 20, 10)
	offer(t, x, m, member("a", 1, 4))
	m.At = at(500)
	complete(t, x, c, m)
	wantIDs(t, claim(t, x, "a", 499, 10))
	c = claim(t, x, "a", 500, 10)
	wantIDs(t, c, m)
	offer(t, x, m, member("a", 1, 501))
	complete(t, x, c, member("a", 1, 900))
	wantIDs(t, claim(t, x, "a", 501, 10), m)
}

func claimsDue(t T, x expiry.Index) {
	m3, m1, m2 := member("a", 3, 30), member("a", 1, 10), member("a", 2, 20)
	offer(t, x, m3, m1, m2, member("b", 9, 1))
	wantIDs(t, claim(t, x, "a", 9, 10))
	wantIDs(t, claim(t, x, "a", 25, 10), m1, m2)
	wantIDs(t, claim(t, x, "a", 99, 10), m3)
	offer(t, x, member("c", 4, 4), member("c", 5, 5), member("c", 6, 6))
	wantIDs(t, claim(t, x, "c", 99, 2), member("c", 4, 4), member("c", 5, 5))
}

func inFlight(t T, x expiry.Index) {
	offer(t, x, member("a", 1, 10))
	claim(t, x, "a", 10, 10)
	wantIDs(t, claim(t, x, "a", 10, 10))
	offer(t, x, member("a", 1, 5))
	wantIDs(t, claim(t, x, "a", 10, 10))
	if n, err := x.Len(t.Context()); err != nil || n != 1 {
		t.Errorf("Len is %d, %v; want 1", n, err)
	}
}

func lapses(t T, x expiry.Index) {
	m := member("a", 1, 10)
	offer(t, x, m)
	c := claim(t, x, "a", 10, 10)
	pass(t, x, hold/2)
	lapse(t, x, at(10).Add(hold/2), 0)
	pass(t, x, hold/2)
	over := at(10).Add(hold + time.Second)
	lapse(t, x, over, 1)
	if err := x.Complete(t.Context(), c); !errors.Is(err, expiry.ErrLapsed) {
		t.Errorf("complete of a lapsed claim: %v, want ErrLapsed", err)
	}
	if err := x.Extend(t.Context(), c, over, hold); !errors.Is(err, expiry.ErrLapsed) {
		t.Errorf("extend of a lapsed claim: %v, want ErrLapsed", err)
	}
	wantMembers(t, claim(t, x, "a", 21, 10), m)
}

func extends(t T, x expiry.Index) {
	offer(t, x, member("a", 1, 10))
	c := claim(t, x, "a", 10, 10)
	pass(t, x, hold/2)
	half := at(10).Add(hold / 2)
	if err := x.Extend(t.Context(), c, half, 3*hold); err != nil {
		t.Errorf("extend: %v", err)
	}
	pass(t, x, 2*hold)
	lapse(t, x, half.Add(2*hold), 0)
	complete(t, x, c)
}

func completed(t T, x expiry.Index) {
	offer(t, x, member("a", 1, 10), member("a", 2, 10))
	complete(t, x, claim(t, x, "a", 10, 10))
	wantIDs(t, claim(t, x, "a", 9999, 10))
	if n, err := x.Len(t.Context()); err != nil || n != 0 {
		t.Errorf("Len is %d, %v; want 0", n, err)
	}
}

func offerOutlives(t T, x expiry.Index) {
	m := member("a", 1, 10)
	offer(t, x, m)
	c := claim(t, x, "a", 10, 10)
	m.At = at(70)
	offer(t, x, m)
	complete(t, x, c)
	wantIDs(t, claim(t, x, "a", 69, 10))
	wantIDs(t, claim(t, x, "a", 70, 10), m)
}

func disjoint(t T, x expiry.Index) {
	const n = 400
	var all []expiry.Member
	for i := range n {
		all = append(all, member("a", i, 1))
	}
	offer(t, x, all...)
	var mu sync.Mutex
	seen := map[lease.ID]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				c, err := x.Claim(t.Context(), "a", at(5), 7, time.Minute)
				if err != nil {
					t.Errorf("claim: %v", err)
					return
				}
				if len(c.Members) == 0 {
					return
				}
				mu.Lock()
				for _, m := range c.Members {
					seen[m.ID]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != n {
		t.Errorf("%d members were claimed, want %d", len(seen), n)
	}
	for id, k := range seen {
		if k != 1 {
			t.Errorf("%s was claimed %d times", id, k)
		}
	}
}
