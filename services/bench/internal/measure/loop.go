package measure

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
)

// Op is one operation of a client; clients are numbered from 0.
type Op func(ctx context.Context, client int) error

// Bound ends a closed loop: after Time, or Count operations, whichever is first;
// a zero bounds nothing.
type Bound struct {
	Time  time.Duration
	Count int
}

// Closed runs op in a loop in each client, after warm unmeasured operations of
// each. It returns when all have ended, early where ctx ends.
func Closed(ctx context.Context, c clock.Clock, clients, warm int, b Bound, op Op) Samples {
	each(clients, func(i int) {
		for range warm {
			_ = op(ctx, i) // what fails now fails again when it counts
		}
	})
	parts := make([]collector, clients)
	var begun atomic.Int64
	start := c.Now()
	each(clients, func(i int) {
		for ctx.Err() == nil {
			before := c.Now()
			if b.Time > 0 && before.Sub(start) >= b.Time || b.Count > 0 && begun.Add(1) > int64(b.Count) {
				return
			}
			err := op(ctx, i)
			parts[i].add(c.Now().Sub(before), err)
		}
	})
	return merge(parts, c.Now().Sub(start))
}

// Open begins operations at a fixed rate for a time, with at most as many under
// way as there are clients. A latency counts from when its operation was due.
func Open(ctx context.Context, c clock.Clock, clients int, rate float64, d time.Duration, op Op) Samples {
	parts := make([]collector, clients)
	var begun atomic.Int64
	start := c.Now()
	each(clients, func(i int) {
		for {
			due := time.Duration(float64(begun.Add(1)-1) / rate * float64(time.Second))
			if due >= d || !wait(ctx, c, due-c.Now().Sub(start)) {
				return
			}
			err := op(ctx, i)
			parts[i].add(c.Now().Sub(start)-due, err)
		}
	})
	return merge(parts, c.Now().Sub(start))
}

// wait reports false where ctx has ended.
func wait(ctx context.Context, c clock.Clock, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	return clock.Sleep(ctx, c, d) == nil
}

func each(clients int, work func(client int)) {
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() { work(i) })
	}
	all.Wait()
}
