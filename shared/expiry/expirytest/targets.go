package expirytest

import (
	"errors"
	"slices"
	"time"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
)

func wantUpcoming(t T, x expiry.Index, until int, want ...expiry.Upcoming) {
	t.Helper()
	got, err := x.Upcoming(t.Context(), at(until))
	if err != nil {
		t.Fatalf("upcoming: %v", err)
	}
	same := slices.EqualFunc(got, want, func(a, b expiry.Upcoming) bool { return a.Target == b.Target && a.At.Equal(b.At) })
	if !same {
		t.Errorf("upcoming is %v, want %v", got, want)
	}
}

func wantLen(t T, x expiry.Index, want int) {
	t.Helper()
	if n, err := x.Len(t.Context()); err != nil || n != want {
		t.Errorf("Len is %d, %v; want %d", n, err, want)
	}
}

func upcoming(t T, x expiry.Index) {
	offer(t, x, member("a", 1, 40), member("a", 2, 30), member("b", 3, 20), member("c", 4, 99))
	wantUpcoming(t, x, 50, expiry.Upcoming{Target: "b", At: at(20)}, expiry.Upcoming{Target: "a", At: at(30)})
}

// A target that was looked at while it had nothing due is found again when it
// has.
func upcomingFollows(t T, x expiry.Index) {
	first, second := member("a", 1, 10), member("a", 2, 20)
	offer(t, x, first, second)
	c := claim(t, x, "a", 10, 10)
	wantUpcoming(t, x, 50, expiry.Upcoming{Target: "a", At: at(20)})
	d := claim(t, x, "a", 20, 10)
	wantUpcoming(t, x, 50)
	first.At = at(45)
	complete(t, x, c, first)
	wantUpcoming(t, x, 44)
	wantUpcoming(t, x, 50, expiry.Upcoming{Target: "a", At: at(45)})
	second.At = at(40)
	complete(t, x, d, second)
	wantUpcoming(t, x, 50, expiry.Upcoming{Target: "a", At: at(40)})
	complete(t, x, claim(t, x, "a", 50, 10))
	wantUpcoming(t, x, 50)
	wantLen(t, x, 0)
	offer(t, x, first)
	wantUpcoming(t, x, 50, expiry.Upcoming{Target: "a", At: at(45)})
	c = claim(t, x, "a", 45, 10)
	wantUpcoming(t, x, 50)
	pass(t, x, hold)
	lapse(t, x, at(45).Add(hold+time.Second), 1)
	wantUpcoming(t, x, 50, expiry.Upcoming{Target: "a", At: at(45)})
	if err := x.Complete(t.Context(), c); !errors.Is(err, expiry.ErrLapsed) {
		t.Errorf("complete of a lapsed claim: %v, want ErrLapsed", err)
	}
	wantUpcoming(t, x, 50, expiry.Upcoming{Target: "a", At: at(45)})
}

func tokens(t T, x expiry.Index) {
	m := member("a", 1, 10)
	offer(t, x, m)
	c := claim(t, x, "a", 10, 10)
	forged := c
	forged.Token = "forged"
	for what, err := range map[string]error{
		"complete by another token": x.Complete(t.Context(), forged, m),
		"extend by another token":   x.Extend(t.Context(), forged, at(10), hold),
	} {
		if !errors.Is(err, expiry.ErrLapsed) {
			t.Errorf("%s: %v, want ErrLapsed", what, err)
		}
	}
	wantIDs(t, claim(t, x, "a", 99, 10))
	complete(t, x, c)
	if err := x.Complete(t.Context(), c, m); !errors.Is(err, expiry.ErrLapsed) {
		t.Errorf("second completion: %v, want ErrLapsed", err)
	}
	if err := x.Extend(t.Context(), c, at(10), hold); !errors.Is(err, expiry.ErrLapsed) {
		t.Errorf("extend after completion: %v, want ErrLapsed", err)
	}
	wantLen(t, x, 0)
	empty := claim(t, x, "a", 99, 10)
	if empty.Token != "" {
		t.Errorf("an empty claim has token %q", empty.Token)
	}
	complete(t, x, empty)
}

func lapsedKeepsTime(t T, x expiry.Index) {
	m := member("a", 1, 10)
	offer(t, x, m)
	claim(t, x, "a", 30, 10)
	offer(t, x, member("a", 1, 70), member("a", 1, 5))
	pass(t, x, hold)
	lapse(t, x, at(30).Add(hold+time.Second), 1)
	wantMembers(t, claim(t, x, "a", 10, 10), m)
}

func twoHolders(t T, x expiry.Index) {
	m := member("a", 1, 10)
	offer(t, x, m)
	c := claim(t, x, "a", 10, 10)
	pass(t, x, hold)
	lapse(t, x, at(10).Add(hold+time.Second), 1)
	d, err := x.Claim(t.Context(), "a", at(2000), 10, hold)
	if err != nil {
		t.Fatalf("claim: %v", err)
	}
	wantIDs(t, d, m)
	if err := x.Complete(t.Context(), c, member("a", 1, 11)); !errors.Is(err, expiry.ErrLapsed) {
		t.Errorf("complete by the first holder: %v, want ErrLapsed", err)
	}
	wantIDs(t, claim(t, x, "a", 3000, 10))
	wantLen(t, x, 1)
	complete(t, x, d)
	wantLen(t, x, 0)
}

func putBackEarlier(t T, x expiry.Index) {
	m := member("a", 1, 10)
	offer(t, x, m)
	c := claim(t, x, "a", 10, 10)
	m.At = at(3)
	complete(t, x, c, m)
	wantIDs(t, claim(t, x, "a", 2, 10))
	wantMembers(t, claim(t, x, "a", 3, 10), m)
}

func putBackOwn(t T, x expiry.Index) {
	mine, other := member("a", 1, 10), member("a", 2, 20)
	offer(t, x, mine, other)
	c := claim(t, x, "a", 10, 10)
	d := claim(t, x, "a", 20, 10)
	complete(t, x, c, member("a", 2, 11), member("a", 3, 11))
	wantLen(t, x, 1)
	wantIDs(t, claim(t, x, "a", 99, 10))
	other.At = at(30)
	complete(t, x, d, other)
	wantMembers(t, claim(t, x, "a", 99, 10), other)
}

func limits(t T, x expiry.Index) {
	offer(t, x, member("a", 1, 1), member("a", 2, 2), member("a", 3, 3))
	if c := claim(t, x, "a", 99, 0); len(c.Members) != 0 || c.Token != "" {
		t.Errorf("a claim of nothing holds %d members, token %q", len(c.Members), c.Token)
	}
	wantMembers(t, claim(t, x, "a", 99, 1), member("a", 1, 1))
	wantMembers(t, claim(t, x, "a", 99, 5), member("a", 2, 2), member("a", 3, 3))
}

func manyOffered(t T, x expiry.Index) {
	const n = 2500
	targets := []string{"a", "b", "c"}
	var all []expiry.Member
	for i := range n {
		all = append(all, member(targets[i%3], i, 1+i%7), member(targets[i%3], i, 50))
	}
	offer(t, x, all...)
	offer(t, x)
	wantLen(t, x, n)
	seen := map[lease.ID]bool{}
	for _, target := range targets {
		last := at(0)
		for range n {
			c := claim(t, x, target, 10, 200)
			if len(c.Members) == 0 {
				break
			}
			for _, m := range c.Members {
				if m.At.Before(last) || m.Target != target || seen[m.ID] {
					t.Errorf("claimed %v after %v", m, last)
				}
				last = m.At
				seen[m.ID] = true
			}
		}
	}
	if len(seen) != n {
		t.Errorf("%d members were claimed, want %d", len(seen), n)
	}
}

func names(t T, x expiry.Index) {
	targets := []string{"", "a", "a:due", "{a}", "}", "{}", "%7B", "a}b", "zwei Wörter\n\x00\xff", "%", "%targets"}
	for i, target := range targets {
		offer(t, x, expiry.Member{ID: lease.ID("odd {id}\n\x00\xff " + target), Target: target, At: at(i)})
	}
	wantLen(t, x, len(targets))
	var want []expiry.Upcoming
	for i, target := range targets {
		want = append(want, expiry.Upcoming{Target: target, At: at(i)})
	}
	wantUpcoming(t, x, 99, want...)
	var claims []expiry.Claim
	for i, target := range targets {
		c := claim(t, x, target, 99, 10)
		wantMembers(t, c, expiry.Member{ID: lease.ID("odd {id}\n\x00\xff " + target), Target: target, At: at(i)})
		claims = append(claims, c)
	}
	for i, c := range claims[1:] {
		if i%2 == 0 {
			complete(t, x, c, c.Members...)
		}
	}
	pass(t, x, hold)
	lapse(t, x, at(99).Add(hold+time.Second), len(targets)-len(targets)/2)
	for i, target := range targets {
		wantMembers(t, claim(t, x, target, 99, 10), expiry.Member{ID: lease.ID("odd {id}\n\x00\xff " + target), Target: target, At: at(i)})
	}
}
