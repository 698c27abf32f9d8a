package claim_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/revoker/internal/claim"
	"github.com/curfew-project/curfew/revoker/internal/work"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/expiry/memory"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// world is a claimer whose flights do as the test says.
type world struct {
	*testing.T
	index *memory.Index
	urge  func(target string) // the claimer's
	start time.Time
	do    func(target string, members []expiry.Member) (work.Result, error)
	// early: logins are closed after a while, and what takes its time comes then.
	early  bool
	closes time.Duration

	mu       sync.Mutex
	flights  []flight
	recalled []string
}

type flight struct {
	target string
	at     time.Duration
	leases int
}

func (w *world) Process(_ context.Context, target string, members []expiry.Member, closed func()) (work.Result, error) {
	w.mu.Lock()
	w.flights = append(w.flights, flight{target, time.Since(w.start), len(members)})
	w.mu.Unlock()
	if w.early {
		time.Sleep(w.closes)
		closed()
	}
	return w.do(target, members)
}

func (w *world) Recall(_ context.Context, target string, parked bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recalled = append(w.recalled, fmt.Sprint(target, parked))
	return nil
}

func (w *world) of(target string) (out []flight) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.flights {
		if f.target == target {
			out = append(out, f)
		}
	}
	return out
}

// offer makes n leases of a target due now.
func (w *world) offer(target string, n int) {
	w.Helper()
	members := make([]expiry.Member, n)
	for i := range members {
		members[i] = expiry.Member{ID: lease.ID(fmt.Sprintf("%s/%06d", target, i)), Target: target, At: time.Now()}
	}
	if err := w.index.Offer(w.Context(), members...); err != nil {
		w.Fatal(err)
	}
}

// offerAs makes one lease of a target due now.
func (w *world) offerAs(target, name string) {
	w.Helper()
	if err := w.index.Offer(w.Context(), expiry.Member{ID: lease.ID(target + "/" + name), Target: target, At: time.Now()}); err != nil {
		w.Fatal(err)
	}
	w.urge(target)
}

func (w *world) left() int {
	w.Helper()
	n, err := w.index.Len(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return n
}

// later puts members back at the time of their next try.
func later(members []expiry.Member, after time.Duration) []expiry.Member {
	out := make([]expiry.Member, len(members))
	for i, m := range members {
		m.At = time.Now().Add(after)
		out[i] = m
	}
	return out
}

// silent is an index that never answers.
type silent struct{ expiry.Index }

func (silent) Upcoming(ctx context.Context, _ time.Time) ([]expiry.Upcoming, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// bubble runs a claimer on the world's own index, after those given.
func bubble(t *testing.T, cfg claim.Config, f func(w *world), before ...expiry.Index) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, index: memory.New(), start: time.Now()}
		estimate := store.NewEstimate(storetest.NewFake(clock.System{}), clock.System{})
		c := claim.New(w, w, estimate, clock.System{}, zerolog.Nop(), cfg, append(before, w.index)...)
		w.urge = c.Urge
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = step.New(clock.System{}, zerolog.Nop(), step.Config{}, c.Steps()...).Run(ctx) })
		defer func() {
			cancel()
			wg.Wait()
			c.Wait()
		}()
		f(w)
	})
}

// C8: a target that is down is probed with one lease at a time, the later the
// longer it is down, up to a minute, also where many flights were in the air when it went down;
// its first success wakes the whole backlog, and the other target never waits.
func TestProbe(t *testing.T) {
	bubble(t, claim.Config{}, func(w *world) {
		down := true
		var mu sync.Mutex
		w.do = func(target string, members []expiry.Member) (work.Result, error) {
			time.Sleep(10 * time.Millisecond) // so that the first flights are in the air together
			mu.Lock()
			defer mu.Unlock()
			if target == "a" && down {
				return work.Result{Later: later(members, time.Second), Down: true}, nil
			}
			return work.Result{Ended: len(members), Reached: true}, nil
		}
		w.offer("a", 5000)
		time.Sleep(time.Second)
		first := w.of("a")
		if len(first) < 17 || first[15].leases != 128 || first[16].leases != 1 {
			t.Fatalf("the flights of the first second: %v", first)
		}
		if gap := first[16].at - first[15].at; gap > 300*time.Millisecond {
			t.Errorf("one outage was counted %d times: the first probe came after %s", 16, gap)
		}
		w.offer("b", 300)
		time.Sleep(time.Second)
		if n := len(w.of("b")); n != 3 {
			t.Errorf("the other target had %d flights", n)
		}
		time.Sleep(time.Hour)
		probes := w.of("a")[16:]
		if len(probes) < 300 || len(probes) > 900 {
			t.Errorf("%d probes in an hour", len(probes))
		}
		for i, p := range probes {
			const looks = 500 * time.Millisecond // at the index, and the flight
			longest := min(max(250*time.Millisecond, (p.at-first[0].at)/64), time.Minute)
			if p.leases != 1 || i > 0 && p.at-probes[i-1].at > longest+looks {
				t.Errorf("probe %d: %+v after %+v", i, p, probes[i-1])
			}
		}
		mu.Lock()
		down = false
		mu.Unlock()
		time.Sleep(62 * time.Second)
		if n := w.left(); n != 0 {
			t.Errorf("%d leases wait although the target answers", n)
		}
		if len(w.recalled) != 1 || w.recalled[0] != "afalse" {
			t.Errorf("recalled: %v", w.recalled)
		}
	})
}

// C8: who wants another try is not kept waiting by what is known of the target.
func TestUrge(t *testing.T) {
	bubble(t, claim.Config{MinProbe: time.Minute}, func(w *world) {
		w.do = func(_ string, members []expiry.Member) (work.Result, error) {
			return work.Result{Later: later(members, 0), Down: true}, nil
		}
		w.offer("a", 1)
		time.Sleep(time.Second)
		for want := 1; want < 5; want++ {
			if n := len(w.of("a")); n != want {
				t.Fatalf("%d flights after %d requests", n, want-1)
			}
			w.urge("unknown")
			w.urge("a")
			time.Sleep(time.Second)
		}
	})
}

// C8: so it is where a probe is under way that set out before the target was back.
func TestUrgeDuringAProbe(t *testing.T) {
	bubble(t, claim.Config{MinProbe: time.Second}, func(w *world) {
		w.do = func(_ string, members []expiry.Member) (work.Result, error) {
			time.Sleep(5 * time.Second)
			return work.Result{Later: later(members, 0), Down: true}, nil
		}
		w.offer("a", 1)
		time.Sleep(2 * time.Hour) // the delay is a minute by now
		n := len(w.of("a"))
		for len(w.of("a")) == n {
			time.Sleep(time.Second)
		}
		w.urge("a") // it is in the air
		time.Sleep(8 * time.Second)
		if got := len(w.of("a")); got != n+2 {
			t.Errorf("%d probes, want %d", got, n+2)
		}
		time.Sleep(20 * time.Second) // once
		if got := len(w.of("a")); got != n+2 {
			t.Errorf("%d probes later, want %d", got, n+2)
		}
	})
}

// Promise 6: an index that is silent keeps no lease waiting that another has.
func TestSilentIndex(t *testing.T) {
	bubble(t, claim.Config{}, func(w *world) {
		w.do = func(_ string, members []expiry.Member) (work.Result, error) {
			return work.Result{Ended: len(members), Reached: true}, nil
		}
		for i := range 10 {
			w.offer("a", 1)
			time.Sleep(300 * time.Millisecond)
			if n := w.left(); n > 0 || len(w.of("a")) != i+1 {
				t.Fatalf("%d leases wait for an index that does not answer, after %d flights", n, len(w.of("a")))
			}
		}
	}, silent{})
}

// A target of which some leases fail is not down: the others go on in batches.
func TestMixedFailures(t *testing.T) {
	bubble(t, claim.Config{}, func(w *world) {
		w.do = func(_ string, members []expiry.Member) (work.Result, error) {
			return work.Result{Later: later(members[:1], time.Minute), Ended: len(members) - 1, Reached: true, Down: true}, nil
		}
		w.offer("a", 1280)
		time.Sleep(time.Second)
		if f := w.of("a"); len(f) != 10 || f[9].leases != 128 || len(w.recalled) != 0 {
			t.Errorf("flights %v, recalled %v", f, w.recalled)
		}
	})
}

// A flight that breaks down, or whose store does not answer, loses no lease,
// ends no process and is tried again about a second later, not at once.
func TestBrokenFlight(t *testing.T) {
	for name, broken := range map[string]func([]expiry.Member) (work.Result, error){
		"panic": func([]expiry.Member) (work.Result, error) { panic("a bug") },
		"store away": func(members []expiry.Member) (work.Result, error) {
			return work.Result{Later: later(members, time.Second)}, errors.New("store is away")
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, claim.Config{}, func(w *world) {
				n := 0
				var mu sync.Mutex
				w.do = func(_ string, members []expiry.Member) (work.Result, error) {
					mu.Lock()
					defer mu.Unlock()
					if n++; n <= 5 {
						return broken(members)
					}
					return work.Result{Ended: len(members), Reached: true}, nil
				}
				w.offer("a", 100)
				time.Sleep(3500 * time.Millisecond)
				if f := w.of("a"); len(f) != 4 || w.left() != 100 {
					t.Errorf("flights %v, %d leases left", f, w.left())
				}
				time.Sleep(3 * time.Second)
				if f := w.of("a"); len(f) != 6 || w.left() != 0 {
					t.Errorf("flights %v, %d leases left", f, w.left())
				}
			})
		})
	}
}

// C7: the claim of a long flight is extended; it does not lapse under it.
func TestHeartbeat(t *testing.T) {
	bubble(t, claim.Config{Hold: time.Minute}, func(w *world) {
		w.do = func(_ string, members []expiry.Member) (work.Result, error) {
			time.Sleep(10 * time.Minute)
			return work.Result{Ended: len(members), Reached: true}, nil
		}
		w.offer("a", 1)
		for range 9 {
			time.Sleep(time.Minute)
			if n, err := w.index.Lapse(t.Context(), time.Now()); n != 0 || err != nil {
				t.Errorf("%d claims lapsed, %v", n, err)
			}
		}
		time.Sleep(2 * time.Minute)
		if f := w.of("a"); len(f) != 1 || w.left() != 0 {
			t.Errorf("flights %v, %d leases left", f, w.left())
		}
	})
}

// E: a target has a bounded number of flights; another does not wait for them.
func TestFlightsAreBounded(t *testing.T) {
	bubble(t, claim.Config{Flights: 3, Batch: 10}, func(w *world) {
		w.do = func(target string, members []expiry.Member) (work.Result, error) {
			if target == "a" {
				time.Sleep(time.Minute)
			}
			return work.Result{Ended: len(members), Reached: true}, nil
		}
		w.offer("a", 100)
		w.offer("b", 100)
		time.Sleep(time.Second)
		if a, b := len(w.of("a")), len(w.of("b")); a != 3 || b != 10 {
			t.Errorf("%d flights of the slow target, %d of the other", a, b)
		}
		time.Sleep(5 * time.Minute)
		if n := w.left(); n != 0 {
			t.Errorf("%d leases left", n)
		}
	})
}

// Where the lanes of all targets are bounded, each target gets one before any gets
// a second, whatever it has due; what is down keeps none.
func TestLanes(t *testing.T) {
	bubble(t, claim.Config{Flights: 8, Batch: 10, Lanes: 4, MinProbe: 100 * time.Millisecond, MaxProbe: 100 * time.Millisecond}, func(w *world) {
		w.do = func(target string, members []expiry.Member) (work.Result, error) {
			if target == "down" {
				time.Sleep(time.Second)
				return work.Result{Later: later(members, 0), Down: true}, nil
			}
			time.Sleep(10 * time.Second)
			return work.Result{Ended: len(members), Reached: true}, nil
		}
		w.offer("down", 1)
		time.Sleep(5 * time.Second)
		w.offer("a", 1000)
		for _, target := range []string{"b", "c"} {
			w.offer(target, 1)
		}
		w.urge("a")
		time.Sleep(5 * time.Second)
		if a, b, c := len(w.of("a")), len(w.of("b")), len(w.of("c")); a != 2 || b != 1 || c != 1 {
			t.Errorf("%d, %d, %d flights; want 2, 1, 1", a, b, c)
		}
		before := len(w.of("down"))
		time.Sleep(4 * time.Second)
		if after := len(w.of("down")); before < 3 || after < before+2 {
			t.Errorf("%d probes of what is down, then %d", before, after)
		}
		time.Sleep(10 * time.Minute)
		if n := w.left(); n != 1 {
			t.Errorf("%d leases left, want that of the target that is down", n)
		}
	})
}

// A target that fills all lanes, of which one at a time becomes free, does not get
// it back while another waits.
func TestLanesLandOneByOne(t *testing.T) {
	bubble(t, claim.Config{Flights: 16, Batch: 10, Lanes: 4}, func(w *world) {
		var n atomic.Int64
		w.do = func(_ string, members []expiry.Member) (work.Result, error) {
			time.Sleep(9*time.Second + time.Duration(n.Add(1)%7)*100*time.Millisecond)
			return work.Result{Ended: len(members), Reached: true}, nil
		}
		w.offer("a", 1000)
		w.urge("a")
		time.Sleep(time.Second)
		w.offer("b", 1)
		w.urge("b")
		time.Sleep(20 * time.Second)
		if b := w.of("b"); len(b) != 1 || b[0].at > 10*time.Second {
			t.Errorf("flights of b: %v, want one when the first of a lands", b)
		}
		time.Sleep(10 * time.Minute)
	})
}

// With as many lanes as targets that fill them, who waited longest is next.
func TestLanesForAsManyTargets(t *testing.T) {
	bubble(t, claim.Config{Flights: 16, Batch: 10, Lanes: 2}, func(w *world) {
		w.do = func(_ string, members []expiry.Member) (work.Result, error) {
			time.Sleep(9 * time.Second)
			return work.Result{Ended: len(members), Reached: true}, nil
		}
		w.offer("a", 1000)
		w.offer("c", 1000)
		w.urge("a")
		time.Sleep(time.Second)
		w.offer("b", 1)
		w.urge("b")
		time.Sleep(20 * time.Second)
		if b := w.of("b"); len(b) != 1 || b[0].at > 10*time.Second {
			t.Errorf("flights of b: %v, want one when the first of the others land", b)
		}
		time.Sleep(30 * time.Minute)
	})
}

// hollow is an index whose claims fail, or find nothing, though something is due.
type hollow struct {
	expiry.Index
	claims atomic.Int64
}

func (*hollow) Upcoming(_ context.Context, until time.Time) ([]expiry.Upcoming, error) {
	return []expiry.Upcoming{{Target: "hollow", At: until.Add(-time.Hour)}}, nil
}

func (h *hollow) Claim(context.Context, string, time.Time, int, time.Duration) (expiry.Claim, error) {
	if h.claims.Add(1)%2 == 0 {
		return expiry.Claim{}, errors.New("away")
	}
	return expiry.Claim{}, nil
}

// Lanes come back from flights that break down, and from claims that fail or find
// nothing.
func TestLanesComeBack(t *testing.T) {
	h := &hollow{}
	bubble(t, claim.Config{Batch: 10, Lanes: 2}, func(w *world) {
		var n atomic.Int64
		w.do = func(_ string, members []expiry.Member) (work.Result, error) {
			if n.Add(1) <= 5 {
				panic("a bug")
			}
			return work.Result{Ended: len(members), Reached: true}, nil
		}
		w.offer("a", 100)
		time.Sleep(time.Minute)
		if left := w.left(); left != 0 || h.claims.Load() < 5 {
			t.Errorf("%d leases left after %d claims that found nothing", left, h.claims.Load())
		}
	}, h)
}

// B7: flights whose logins are closed make room for others while their removal
// takes its time; how many are in the air stays bounded.
func TestSlowRemovalsKeepNobodyOpen(t *testing.T) {
	bubble(t, claim.Config{Flights: 3, Aloft: 24, Batch: 10}, func(w *world) {
		w.early = true
		w.do = func(_ string, members []expiry.Member) (work.Result, error) {
			time.Sleep(time.Minute)
			return work.Result{Ended: len(members), Reached: true}, nil
		}
		w.offer("a", 300)
		time.Sleep(time.Second)
		if n := len(w.of("a")); n != 24 {
			t.Errorf("%d flights in the air, want 24", n)
		}
		time.Sleep(5 * time.Minute)
		if n := w.left(); n != 0 {
			t.Errorf("%d leases left", n)
		}
	})
}

// Law: a lease that is due alone flies at once; what falls due while a flight that
// is not full closes its logins goes together, when it has closed them or after
// Gather, whatever comes first; a full one keeps nobody waiting.
func TestGather(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		closes time.Duration // after so long
		want   string
	}{
		{"closes soon", 2 * time.Millisecond, "[0ms:1 2ms:4 20ms:8 20ms:8 20ms:2]"},
		{"closes late", time.Minute, "[0ms:1 5ms:4 20ms:8 20ms:8 20ms:2]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, claim.Config{Batch: 8, Gather: 5 * time.Millisecond}, func(w *world) {
				w.early, w.closes = true, c.closes
				w.do = func(_ string, members []expiry.Member) (work.Result, error) {
					time.Sleep(time.Hour - c.closes)
					return work.Result{Ended: len(members), Reached: true}, nil
				}
				synctest.Wait() // the claimer rests
				start := time.Since(w.start)
				for i := range 5 {
					w.offerAs("a", fmt.Sprint("one by one ", i))
					time.Sleep(200 * time.Microsecond)
				}
				time.Sleep(19 * time.Millisecond)
				w.offer("a", 18)
				w.urge("a")
				time.Sleep(time.Second)
				flights := w.of("a") // those of one moment in no order
				slices.SortFunc(flights, func(f, g flight) int {
					return cmp.Or(cmp.Compare(f.at.Milliseconds(), g.at.Milliseconds()), cmp.Compare(g.leases, f.leases))
				})
				var got []string
				for _, f := range flights {
					got = append(got, fmt.Sprintf("%dms:%d", (f.at-start).Milliseconds(), f.leases))
				}
				if got := fmt.Sprint(got); got != c.want {
					t.Errorf("flights were %s, want %s", got, c.want)
				}
			})
		})
	}
}
