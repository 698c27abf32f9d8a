package expirytest

import (
	"github.com/curfew-project/curfew/shared/expiry"
)

// waiting checks the list of what waits, where the index has that ability.
func waiting(t T, x expiry.Index) {
	l, ok := x.(expiry.Lister)
	if !ok {
		return
	}
	want := func(until, skip, limit int, members ...expiry.Member) {
		t.Helper()
		got, err := l.Waiting(t.Context(), "a", at(until), skip, limit)
		if err != nil {
			t.Fatalf("waiting: %v", err)
		}
		wantIDs(t, expiry.Claim{Members: got}, members...)
		for i, m := range got {
			if i < len(members) && (!m.At.Equal(members[i].At) || m.Target != "a") {
				t.Errorf("waiting is %v, want %v", m, members[i])
			}
		}
	}
	want(100, 0, 10)
	one, two, three := member("a", 1, 10), member("a", 2, 20), member("a", 3, 30)
	offer(t, x, three, one, two, member("b", 4, 5))
	want(100, 0, 10, one, two, three)
	want(20, 0, 10, one, two)
	want(100, 1, 1, two)
	want(100, 3, 1)
	c := claim(t, x, "a", 10, 10)
	want(100, 0, 10, two, three)
	complete(t, x, c)
	want(100, 0, 10, two, three)
	wantLen(t, x, 3) // nothing was changed
}
