package store_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// far is a store's clock that is off the local one, answers after delays, and
// may not answer. It belongs to one test bubble.
type far struct {
	off         atomic.Int64 // nanoseconds
	before, aft time.Duration
	err         error
	hang        bool
	asked       atomic.Int64
}

func (f *far) Now(ctx context.Context) (time.Time, error) {
	f.asked.Add(1)
	if f.hang {
		<-ctx.Done()
		return time.Time{}, ctx.Err()
	}
	time.Sleep(f.before)
	t := time.Now().Add(time.Duration(f.off.Load()))
	time.Sleep(f.aft)
	return t, f.err
}

func (f *far) step(d time.Duration) { f.off.Add(int64(d)) }

func now(t *testing.T, e *store.Estimate) time.Time {
	t.Helper()
	at, err := e.Now(t.Context())
	if err != nil {
		t.Fatalf("now: %v", err)
	}
	return at
}

// A5: a sample more than 2 s off the extrapolation is a jump, either way; after
// 30 s the pause is over, and the new time holds at once.
func TestEstimateJump(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		step  time.Duration
		pause bool
	}{{time.Hour, true}, {-time.Hour, true}, {2100 * time.Millisecond, true}, {-2100 * time.Millisecond, true}, {1900 * time.Millisecond, false}, {-1900 * time.Millisecond, false}} {
		t.Run(c.step.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &far{}
				e := store.NewEstimate(f, clock.System{})
				now(t, e)
				time.Sleep(10 * time.Second)
				f.step(c.step)
				if got, want := now(t, e), time.Now().Add(c.step); !got.Equal(want) {
					t.Errorf("the estimate is %s off", got.Sub(want))
				}
				if e.Paused() != c.pause {
					t.Errorf("paused is %t after a step of %s", e.Paused(), c.step)
				}
				for range 30 {
					time.Sleep(time.Second)
					now(t, e)
				}
				if e.Paused() {
					t.Error("still paused after 30 s")
				}
			})
		})
	}
}

// A5: the pause is at most 30 s; a clock that goes on jumping leaves expiry at
// least half of the time.
func TestEstimateRestlessClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &far{}
		e := store.NewEstimate(f, clock.System{})
		now(t, e)
		run, paused := 0, 0
		for i := range 1000 {
			time.Sleep(time.Second)
			f.step([]time.Duration{time.Minute, -time.Minute}[i%2])
			now(t, e)
			if e.Paused() {
				paused++
			} else {
				run++
			}
		}
		if run < paused-30 {
			t.Errorf("paused for %d of %d seconds", paused, run+paused)
		}
	})
}

// A slow answer is neither a jump nor makes the next prompt one look like one,
// wherever the time was lost; and the estimate is never ahead of the store.
func TestEstimateSlowStore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		delays := rapid.SliceOfN(rapid.IntRange(0, 1900), 1, 30).Draw(rt, "delays")
		parts := rapid.SliceOfN(rapid.IntRange(0, 100), len(delays), len(delays)).Draw(rt, "parts")
		gaps := rapid.SliceOfN(rapid.IntRange(0, 90_000), len(delays), len(delays)).Draw(rt, "gaps")
		synctest.Test(t, func(t *testing.T) {
			f := &far{}
			f.step(17 * time.Hour)
			e := store.NewEstimate(f, clock.System{})
			for i, ms := range delays {
				d := time.Duration(ms) * time.Millisecond
				f.before = d * time.Duration(parts[i]) / 100
				f.aft = d - f.before
				got, want := now(t, e), time.Now().Add(17*time.Hour)
				if got.After(want) {
					rt.Fatalf("the estimate is %s ahead", got.Sub(want))
				}
				if late := want.Sub(got); late > 2*time.Second {
					rt.Fatalf("the estimate is %s late", late)
				}
				if e.Paused() {
					rt.Fatalf("a slow answer (%s) counted as a jump", d)
				}
				time.Sleep(time.Duration(gaps[i]) * time.Millisecond)
			}
		})
	})
}

// While the store does not answer, time goes on by the local clock; it is asked
// at most once a second, and only the one who asks waits for it, for a bounded
// time.
func TestEstimateStoreAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &far{err: errors.New("store is away")}
		e := store.NewEstimate(f, clock.System{})
		if _, err := e.Now(t.Context()); !errors.Is(err, f.err) {
			t.Fatalf("without any sample: %v", err)
		}
		f.err = nil
		now(t, e)
		f.err = errors.New("store is away")
		before := f.asked.Load()
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if got := now(t, e); !got.Equal(time.Now()) {
				t.Fatalf("the estimate is %s off", time.Until(got))
			}
		}
		if n := f.asked.Load() - before; n > 11 {
			t.Errorf("the store was asked %d times in ten seconds", n)
		}
		f.hang = true
		time.Sleep(2 * time.Second)
		began := time.Now()
		asker := make(chan time.Duration)
		go func() {
			now(t, e)
			asker <- time.Since(began)
		}()
		synctest.Wait()
		now(t, e)
		e.Paused()
		if d := time.Since(began); d != 0 {
			t.Errorf("who did not ask waited for %s", d)
		}
		if d := <-asker; d > 5*time.Second {
			t.Errorf("the store's silence was waited for %s", d)
		}
	})
}

// The local wall clock may jump: the monotonic reading counts. storetest's
// clock has none, so a local step shows as one of the store against it.
func TestEstimateOwnSample(t *testing.T) {
	t.Parallel()
	local := storetest.NewClock()
	e := store.NewEstimate(storetest.NewFake(local), local)
	a := now(t, e)
	local.Advance(500 * time.Millisecond)
	if b := now(t, e); b.Sub(a) != 500*time.Millisecond {
		t.Errorf("the estimate went %s in half a second", b.Sub(a))
	}
}
