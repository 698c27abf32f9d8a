package measure

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/clock"
)

// A quantile is a sample, at least a share q of all does not exceed it, and what
// is below it is a smaller share.
func TestQuantile(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Map(rapid.IntRange(0, 20), func(n int) time.Duration { return time.Duration(n) }), 1, 50).Draw(t, "samples")
		q := rapid.Float64Range(0.001, 1).Draw(t, "share")
		slices.Sort(all)
		got := Quantile(all, q)
		var below, upTo int
		for _, d := range all {
			if d < got {
				below++
			}
			if d <= got {
				upTo++
			}
		}
		n := float64(len(all))
		const rounding = 1e-9
		if float64(upTo)/n < q-rounding || float64(below)/n >= q+rounding || !slices.Contains(all, got) {
			t.Fatalf("quantile %g of %v is %v", q, all, got)
		}
	})
	if got := Quantile(nil, 0.5); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

// What fails is no latency, what is warm-up is neither, and a count bounds all
// clients together.
func TestClosedLoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		s := Closed(t.Context(), clock.System{}, 4, 2, Bound{Count: 20}, func(context.Context, int) error {
			time.Sleep(10 * time.Millisecond)
			if n := asked.Add(1); n > 8 && n%5 == 0 {
				return errors.New("no")
			}
			return nil
		})
		if asked.Load() != 28 || len(s.Latencies) != 16 || s.Failed() != 4 || s.Errors["no"] != 4 {
			t.Errorf("%d asked, %d latencies, errors %v", asked.Load(), len(s.Latencies), s.Errors)
		}
		if s.Elapsed != 50*time.Millisecond || s.Quantile(1) != 10*time.Millisecond || s.PerSecond() != 320 {
			t.Errorf("took %s, at most %s, %g/s", s.Elapsed, s.Quantile(1), s.PerSecond())
		}
	})
}

// A time bounds a loop, and the end of the context does.
func TestClosedLoopEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		op := func(context.Context, int) error { time.Sleep(time.Second); return nil }
		if s := Closed(t.Context(), clock.System{}, 2, 0, Bound{Time: 5 * time.Second}, op); len(s.Latencies) != 10 {
			t.Errorf("%d in five seconds", len(s.Latencies))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond) // never when one ends
		defer cancel()
		if s := Closed(ctx, clock.System{}, 1, 0, Bound{}, op); len(s.Latencies) != 3 {
			t.Errorf("%d before the context ended", len(s.Latencies))
		}
	})
}

// An open loop counts what a client waits for its turn: ten a second that take
// 200 ms each, one at a time, come ever later.
func TestOpenLoopOmitsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		op := func(context.Context, int) error { time.Sleep(200 * time.Millisecond); return nil }
		s := Open(t.Context(), clock.System{}, 1, 10, time.Second, op)
		if len(s.Latencies) != 10 || s.Quantile(0) != 200*time.Millisecond || s.Quantile(1) != 1100*time.Millisecond {
			t.Errorf("%d, from %s to %s", len(s.Latencies), s.Quantile(0), s.Quantile(1))
		}
		if s = Open(t.Context(), clock.System{}, 8, 10, time.Second, op); s.Quantile(1) != 200*time.Millisecond {
			t.Errorf("with enough clients: %s", s.Quantile(1))
		}
	})
}
