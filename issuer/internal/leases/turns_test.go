package leases

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
)

// One has the turn of a lease at a time, also where those who wait give up, and
// nothing is left when all are done.
func TestTurns(t *testing.T) {
	t.Parallel()
	var all turns
	var inside [2]atomic.Int64
	var took atomic.Int64
	var wg sync.WaitGroup
	for n := range 400 {
		wg.Go(func() {
			ctx := t.Context()
			if n%3 == 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(2000))*time.Microsecond)
				defer cancel()
			}
			which := n % 2
			give, err := all.take(ctx, []lease.ID{"a", "b"}[which])
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if inside[which].Add(1) != 1 {
				t.Error("two have the turn of one lease")
			}
			took.Add(1)
			time.Sleep(time.Duration(rand.IntN(50)) * time.Microsecond)
			inside[which].Add(-1)
			give()
		})
	}
	wg.Wait()
	if len(all.waiting) != 0 {
		t.Errorf("%v is left", all.waiting)
	}
	if took.Load() < 200 {
		t.Errorf("only %d of 400 had a turn", took.Load())
	}
}

// They have it in the order in which they came.
func TestTurnsInOrder(t *testing.T) {
	t.Parallel()
	var all turns
	give, err := all.take(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	const many = 20
	order := make(chan int, many)
	var wg sync.WaitGroup
	for n := range many {
		wg.Go(func() {
			give, err := all.take(t.Context(), "a")
			if err != nil {
				t.Error(err)
				return
			}
			order <- n
			give()
		})
		for waiting := 0; waiting <= n; time.Sleep(time.Millisecond) {
			all.mu.Lock()
			waiting = len(all.waiting["a"])
			all.mu.Unlock()
		}
	}
	give()
	wg.Wait()
	for n := range many {
		if got := <-order; got != n {
			t.Fatalf("%d had its turn in place of %d", got, n)
		}
	}
}
