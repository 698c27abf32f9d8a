//go:build integration

package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/revoker"
	"github.com/curfew-project/curfew/services/internal/monitor"
	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/expiry/memory"
	"github.com/curfew-project/curfew/shared/expiry/redis"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
	"github.com/curfew-project/curfew/shared/testkit"
)

func TestMain(m *testing.M) {
	redis.LogTo(zerolog.Nop())
	testkit.Main(m)
}

const prefix = "curfew:test:"

// hangs bounds every wait: it is no measurement.
const hangs = 2 * time.Minute

// world is a store, targets that answer at once, and revokers on a Redis that
// the test breaks. Nothing is on the stream: what the index has it has from the
// store.
type world struct {
	*testing.T
	store  *storetest.Fake
	engine *enginetest.Fake
	index  *redis.Index // the test's own
	leases []lease.ID
	watch  []*watch
}

// watch is the metrics of one revoker, and what they were told.
type watch struct {
	*monitor.RevokerMetrics
	registry *prometheus.Registry
	mu       sync.Mutex
	told     []revoker.Drift
}

func (w *watch) Compared(d revoker.Drift) {
	w.RevokerMetrics.Compared(d)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, d)
}

// since is what was told after a number of looks: how many leases were missing,
// and how often nothing was known.
func (w *watch) since(looks int) (missing, unknown int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.told[looks:] {
		missing += d.Missing
		if !d.Known {
			unknown++
		}
	}
	return missing, unknown
}

func (w *watch) looks() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.told)
}

// values are the samples of a metric, summed over its labels; of a histogram,
// their number.
func (w *watch) value(t *testing.T, name string) (v float64, there bool) {
	t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			there = true
			v += m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return v, there
}

// newWorld issues n leases that run out between from and to from now, and runs
// revokers on the Redis at address.
func newWorld(t *testing.T, address string, revokers, n int, from, to time.Duration) *world {
	t.Helper()
	w := &world{T: t, store: storetest.NewFake(clock.System{})}
	w.engine = enginetest.NewFake(enginetest.FakeConfig{Clock: clock.System{}, Grace: time.Minute})
	for _, target := range []string{"a", "b", "c"} {
		w.engine.AddTarget(engine.Target{ID: target, MountID: "m", Mount: "database/", Name: target})
		w.engine.AddRole(target, enginetest.FakeRole{MountID: "m", Target: target})
	}
	const batch = 500
	for i := 0; i < n; i += batch {
		w.issue(min(batch, n-i), func(k int) (string, time.Duration) {
			return []string{"a", "b", "c"}[(i+k)%3], from + (to-from)*time.Duration(i+k)/time.Duration(n)
		})
	}
	w.index = w.open(address)
	for i := range revokers {
		w.revoker(fmt.Sprint("revoker-", i), w.open(address))
	}
	return w
}

func (w *world) open(address string) *redis.Index {
	w.Helper()
	x, err := redis.New(redis.Config{Addresses: []string{address}, Prefix: prefix, Timeout: 10 * time.Second})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := x.Close(); err != nil {
			w.Error(err)
		}
	})
	return x
}

// issue issues n leases as the issuer does.
func (w *world) issue(n int, of func(k int) (target string, ttl time.Duration)) {
	w.Helper()
	plans, begin, activate := make([]*engine.Plan, n), make([]store.Transition, n), make([]store.Transition, n)
	for k := range n {
		target, ttl := of(k)
		id := lease.NewID("database/creds/" + target)
		p, err := w.engine.Plan(w.Context(), &engine.Request{
			Operation: engine.Read, MountID: "m", Mount: "database/", Path: "creds/" + target, LeaseID: id,
		})
		if err != nil || p == nil {
			w.Fatalf("plan: %v", err)
		}
		plans[k] = p
		begin[k] = change(id, lease.Begin{Grace: time.Minute, Lease: lease.Lease{
			Kind: lease.Secret, MountID: "m", Mount: "database/", Role: target, Engine: w.engine.Type(), Target: p.Target,
			Account: p.Account, Plan: p.Frozen, TTL: ttl, Renewable: true,
		}})
		w.leases = append(w.leases, id)
	}
	for k, l := range w.apply(begin) {
		made := w.engine.Create(w.Context(), l.Target, []engine.Creation{{Lease: l, Secret: plans[k].Secret}})[0]
		if made.Err != nil {
			w.Fatalf("create: %v", made.Err)
		}
		activate[k] = change(l.ID, lease.Activate{Handle: made.Handle})
	}
	w.apply(activate)
}

func change(id lease.ID, do lease.Action) store.Transition {
	return store.Transition{Change: lease.Change{
		ID: id, Version: lease.AnyVersion, Key: lease.RandomBase62(8), By: lease.System("tester"), Do: do,
	}}
}

func (w *world) apply(items []store.Transition) []lease.Lease {
	w.Helper()
	out := make([]lease.Lease, len(items))
	for i, o := range w.store.Apply(w.Context(), items...) {
		if o.Err != nil {
			w.Fatalf("%T: %v", items[i].Change.Do, o.Err)
		}
		out[i] = o.Lease
	}
	return out
}

// revoker runs a revoker, wired as the program does, until the test ends.
func (w *world) revoker(name string, index *redis.Index) {
	w.Helper()
	m := &watch{RevokerMetrics: monitor.Revoker(w.store), registry: prometheus.NewRegistry()}
	m.registry.MustRegister(m.RevokerMetrics)
	w.watch = append(w.watch, m)
	r, err := revoker.New(revoker.Deps{
		Store: w.store, Stream: bus.Nop{}, Index: index, Engines: []engine.Engine{w.engine}, Clock: clock.System{}, Log: zerolog.Nop(),
	}, revoker.Config{
		Name: name, Observer: m, Ahead: revoker.Everything, Fallback: memory.New(),
		Window: 5 * time.Minute, // so that all wait in it, however long the test takes to make them
	})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.Run(ctx); err != nil {
			w.Errorf("run: %v", err)
		}
	})
	w.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

// until waits until done says so and returns how long it took.
func (w *world) until(what string, done func() bool) time.Duration {
	w.Helper()
	began := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Since(began) > hangs {
			w.Fatalf("it did not come to pass: %s", what)
		}
		<-tick.C
	}
	return time.Since(began)
}

// aligned reports whether every revoker's metrics say that the index has n
// members and lacks none.
func (w *world) aligned(n int) bool {
	w.Helper()
	return !slices.ContainsFunc(w.watch, func(m *watch) bool {
		drift, known := m.value(w.T, "curfew_index_drift")
		members, _ := m.value(w.T, "curfew_index_members")
		return !known || drift != 0 || members != float64(n)
	})
}

// counted is what all revokers count: revocations, the times that were taken, and
// attempts that failed.
func (w *world) counted() (ended, observed, failed float64) {
	w.Helper()
	for _, m := range w.watch {
		for sum, name := range map[*float64]string{
			&ended: "curfew_revocations_total", &observed: "curfew_expiry_lag_seconds", &failed: "curfew_revocation_failures_total",
		} {
			v, _ := m.value(w.T, name)
			*sum += v
		}
	}
	return ended, observed, failed
}

// ended waits for all leases to end, and checks that each did once, and that the
// metrics say so. It returns how late the last was disabled.
func (w *world) ended() time.Duration {
	w.Helper()
	w.until("all leases end", func() bool {
		n, err := w.store.Count(w.Context(), store.Query{Prefix: "database/", States: []lease.State{lease.Revoked}})
		return err == nil && n == int64(len(w.leases))
	})
	late := time.Duration(0)
	for _, id := range w.leases {
		l, err := w.store.Get(w.Context(), id)
		if err != nil {
			w.Fatal(err)
		}
		r := l.Revocation
		if l.State != lease.Revoked || r.DisabledAt.Before(l.ExpiresAt) || r.Attempts != 0 {
			w.Errorf("lease ended as %s: %+v", l.State, r)
		}
		late = max(late, r.DisabledAt.Sub(l.ExpiresAt))
	}
	// A batch is counted when the last of it is committed.
	want := float64(len(w.leases))
	w.until("the metrics say so", func() bool {
		ended, _, _ := w.counted()
		return ended >= want
	})
	if ended, observed, failed := w.counted(); ended != want || observed != 2*want || failed != 0 {
		w.Errorf("metrics say %g revocations, %g times and %g failures, want %g, %g and none", ended, observed, failed, want, 2*want)
	}
	if late > bound {
		w.Errorf("a lease was disabled %s late", late)
	}
	return late
}
