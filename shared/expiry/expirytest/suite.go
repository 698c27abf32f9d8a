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
	c, err := x.Claim(t.Context(), target, at(now), limit, 10*time.Second)
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
	if n, err := x.Lapse(t.Context(), at(19)); err != nil || n != 0 {
		t.Errorf("lapse before the end of the claim: %d, %v; want 0", n, err)
	}
	if n, err := x.Lapse(t.Context(), at(21)); err != nil || n != 1 {
		t.Errorf("lapse: %d, %v; want 1", n, err)
	}
	if err := x.Complete(t.Context(), c); !errors.Is(err, expiry.ErrLapsed) {
		t.Errorf("complete of a lapsed claim: %v, want ErrLapsed", err)
	}
	if err := x.Extend(t.Context(), c, at(21), time.Second); !errors.Is(err, expiry.ErrLapsed) {
		t.Errorf("extend of a lapsed claim: %v, want ErrLapsed", err)
	}
	wantIDs(t, claim(t, x, "a", 21, 10), m)
}

func extends(t T, x expiry.Index) {
	offer(t, x, member("a", 1, 10))
	c := claim(t, x, "a", 10, 10)
	if err := x.Extend(t.Context(), c, at(15), 100*time.Second); err != nil {
		t.Errorf("extend: %v", err)
	}
	if n, err := x.Lapse(t.Context(), at(60)); err != nil || n != 0 {
		t.Errorf("lapse: %d, %v; want 0", n, err)
	}
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
	for i := range n {
		offer(t, x, member("a", i, 1))
	}
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

func upcoming(t T, x expiry.Index) {
	offer(t, x, member("a", 1, 40), member("a", 2, 30), member("b", 3, 20), member("c", 4, 99))
	got, err := x.Upcoming(t.Context(), at(50))
	if err != nil {
		t.Fatalf("upcoming: %v", err)
	}
	want := []expiry.Upcoming{{Target: "b", At: at(20)}, {Target: "a", At: at(30)}}
	if len(got) != 2 || got[0].Target != want[0].Target || got[1].Target != want[1].Target ||
		!got[0].At.Equal(want[0].At) || !got[1].At.Equal(want[1].At) {
		t.Errorf("upcoming is %v, want %v", got, want)
	}
}
