package expirytest

import (
	"slices"
	"time"

	"github.com/curfew-project/curfew/shared/expiry"
)

// wantMissing checks what the index says is missing of asked, where it has that
// ability.
func wantMissing(t T, x expiry.Index, asked []expiry.Member, want ...expiry.Member) {
	t.Helper()
	c, ok := x.(expiry.Comparer)
	if !ok {
		return
	}
	got, err := c.Missing(t.Context(), asked...)
	if err != nil {
		t.Fatalf("missing: %v", err)
	}
	same := slices.EqualFunc(got, want, func(a, b expiry.Member) bool {
		return a.ID == b.ID && a.Target == b.Target && a.At.Equal(b.At)
	})
	if !same {
		t.Errorf("missing of %v is %v, want %v", asked, got, want)
	}
}

func missing(t T, x expiry.Index) {
	never, late, there := member("a", 1, 10), member("a", 2, 20), member("b", 3, 30)
	all := []expiry.Member{never, late, there}
	wantMissing(t, x, nil)
	wantMissing(t, x, all, all...)
	offer(t, x, member("a", 2, 25), there)
	wantMissing(t, x, all, never, late)
	offer(t, x, member("a", 2, 15))
	wantMissing(t, x, all, never)
	complete(t, x, claim(t, x, "b", 30, 10))
	wantMissing(t, x, all, never, there)
	c := claim(t, x, "a", 15, 10)
	complete(t, x, c, member("a", 2, 40)) // put back later: the caller has read the store
	wantMissing(t, x, []expiry.Member{member("a", 2, 40)})
	wantMissing(t, x, []expiry.Member{late}, late)
	wantLen(t, x, 1) // nothing was changed
}

func missingInFlight(t T, x expiry.Index) {
	m := member("a", 1, 10)
	offer(t, x, m)
	c := claim(t, x, "a", 10, 10)
	wantMissing(t, x, []expiry.Member{m})
	wantMissing(t, x, []expiry.Member{member("a", 1, 5)}) // its flight finds out
	pass(t, x, hold)
	lapse(t, x, at(10).Add(hold+time.Second), 1)
	wantMissing(t, x, []expiry.Member{m})
	_ = x.Complete(t.Context(), c) // it has lapsed
	wantMissing(t, x, []expiry.Member{m})
	complete(t, x, claim(t, x, "a", 10, 10))
	wantMissing(t, x, []expiry.Member{m}, m)
}

func missingMany(t T, x expiry.Index) {
	const n = 2500
	targets := []string{"a", "b", "{c}"}
	var all, even, odd []expiry.Member
	for i := range n {
		m := member(targets[i%3], i, 10+i%7)
		all = append(all, m)
		if i%2 == 0 {
			even = append(even, m)
		} else {
			odd = append(odd, m)
		}
	}
	offer(t, x, even...)
	wantMissing(t, x, all, odd...)
	offer(t, x, odd...)
	wantMissing(t, x, all)
}
