//go:build integration

package main

import (
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/curfew-project/curfew/shared/testkit"
)

// bound is in what time drift is back to 0, and a lease disabled. It is met by
// far: on a busy machine it tells a hang.
const bound = 30 * time.Second

// D2: whatever way the index loses what waits in it, drift goes up, is back to 0
// within 30 s, and nothing is late.
func TestIndexLost(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, r *testkit.RedisServer, p *testkit.Proxy){
		"flushed": func(t *testing.T, r *testkit.RedisServer, _ *testkit.Proxy) { t.Helper(); r.FlushAll(t) },
		"failed over to an empty one": func(t *testing.T, _ *testkit.RedisServer, p *testkit.Proxy) {
			t.Helper()
			p.Redirect(testkit.Redis(t).Address())
		},
		"without its registry": func(t *testing.T, r *testkit.RedisServer, _ *testkit.Proxy) {
			t.Helper()
			// All leases wait, in targets of which no claimer knows.
			c := goredis.NewClient(&goredis.Options{Addr: r.Address(), Protocol: 2, DisableIdentity: true})
			defer func() { _ = c.Close() }()
			if k, err := c.Del(t.Context(), prefix+"{%targets}:at").Result(); err != nil || k != 1 {
				t.Fatalf("delete the registry: %d, %v", k, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := testkit.Redis(t)
			p := testkit.NewProxy(t, r.Address())
			n := 1000
			if name == "flushed" {
				n = 5000
			}
			w := newWorld(t, p.Address(), 2, n, 60*time.Second, 70*time.Second)
			loaded := w.until("the index has all leases", func() bool { return w.aligned(n) })
			var looks []int
			for _, m := range w.watch {
				looks = append(looks, m.looks())
			}
			missing := func() (most int) {
				for i, m := range w.watch {
					k, _ := m.since(looks[i])
					most = max(most, k)
				}
				return most
			}
			lose(t, r, p)
			up := w.until("drift goes up", func() bool { return missing() > 0 })
			back := up + w.until("drift is back to 0", func() bool { return w.aligned(n) })
			if back > bound {
				t.Errorf("drift was back to 0 after %s", back)
			}
			if k := missing(); k > n {
				t.Errorf("%d leases were said to be missing, there are %d", k, n)
			}
			if up, err := w.index.Upcoming(t.Context(), time.Now().Add(time.Minute)); err != nil || len(up) != 3 {
				t.Errorf("a claimer would find %v, %v; want all three targets", up, err)
			}
			late := w.ended()
			t.Logf("loaded in %s, drift up after %s to %d, back to 0 after %s; the last was disabled %s late", loaded, up, missing(), back, late)
		})
	}
}

// Without Redis nothing is known of drift, what falls due goes by the fallback,
// and the rest is there again when Redis is.
func TestIndexAway(t *testing.T) {
	t.Parallel()
	const n = 1000
	for name, empty := range map[string]bool{"and comes back with all": false, "and comes back empty": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := testkit.Redis(t)
			p := testkit.NewProxy(t, r.Address())
			w := newWorld(t, p.Address(), 2, n, 15*time.Second, 45*time.Second)
			w.until("the index has all leases", func() bool { return w.aligned(n) })
			p.Down()
			unknown := w.until("drift is unknown", func() bool {
				for _, m := range w.watch {
					up, there := m.value(t, "curfew_index_up")
					if _, said := m.value(t, "curfew_index_drift"); !there || up != 0 || said {
						return false
					}
				}
				return true
			})
			ended := func() (all float64) {
				for _, m := range w.watch {
					k, _ := m.value(t, "curfew_revocations_total")
					all += k
				}
				return all
			}
			w.until("leases end without Redis", func() bool { return ended() > n/10 })
			if empty {
				r.FlushAll(t)
			}
			without := ended()
			p.Up()
			back := w.until("drift is known and 0", func() bool {
				for _, m := range w.watch {
					if drift, known := m.value(t, "curfew_index_drift"); !known || drift != 0 {
						return false
					}
				}
				return true
			})
			if back > bound {
				t.Errorf("drift was known and 0 after %s", back)
			}
			late := w.ended()
			// What ended in the meantime stays until its time, which has come.
			w.until("the index is empty", func() bool { return w.aligned(0) })
			t.Logf("unknown after %s; %g leases ended without Redis; known and 0 after %s; the last was disabled %s late", unknown, without, back, late)
		})
	}
}
