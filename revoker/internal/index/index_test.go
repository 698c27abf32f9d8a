package index_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfew-project/curfew/revoker/internal/index"
	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/expiry/memory"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// script is a stream that hands out the batches that the test wrote.
type script struct {
	bus.Nop
	batches [][]event.Event
	acked   int
}

func (s *script) Consume(context.Context, string, bool) (bus.Consumer, error) { return s, nil }
func (s *script) Ack(context.Context) error                                   { s.acked++; return nil }
func (s *script) Close() error                                                { return nil }
func (s *script) Fetch(context.Context, int, time.Duration) ([]event.Event, error) {
	if len(s.batches) == 0 {
		return nil, nil
	}
	b := s.batches[0]
	s.batches = s.batches[1:]
	return b, nil
}

// world is an indexer on a scripted stream.
type world struct {
	*testing.T
	fake    *storetest.Fake
	store   *storetest.Faulty
	stream  *script
	index   *memory.Index
	nudges  int
	indexer *index.Indexer
	urged   []string
}

func bubble(t *testing.T, f func(w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, fake: storetest.NewFake(clock.System{}), stream: &script{}, index: memory.New()}
		w.store = storetest.NewFaulty(w.fake)
		now := store.NewEstimate(w.fake, clock.System{})
		feed := index.NewFeeder(w.index, func() { w.nudges++ })
		w.indexer = index.NewIndexer(w.stream, w.store, now, feed, index.NewRecaller(w.store, now, feed), "test", index.Config{
			Urged: func(target string) { w.urged = append(w.urged, target) },
		})
		f(w)
	})
}

func (w *world) change(id lease.ID, do lease.Action) lease.Lease {
	w.Helper()
	o := w.fake.Apply(w.Context(), store.Transition{Change: lease.Change{
		ID: id, Version: lease.AnyVersion, Key: lease.RandomBase62(8), By: lease.System("tester"), Do: do,
	}})[0]
	if o.Err != nil {
		w.Fatalf("%T: %v", do, o.Err)
	}
	return o.Lease
}

func (w *world) issue(target string, ttl time.Duration) lease.Lease {
	w.Helper()
	id := lease.NewID("database/creds/" + target)
	w.change(id, lease.Begin{Grace: time.Hour, Lease: lease.Lease{
		Kind: lease.Secret, MountID: "m", Mount: "database/", Engine: "database", Target: target, TTL: ttl, Renewable: true,
	}})
	return w.change(id, lease.Activate{})
}

// events are those of the leases' last transitions.
func events(leases ...lease.Lease) []event.Event {
	var out []event.Event
	for i := range leases {
		out = append(out, event.Of(&lease.Lease{}, &leases[i], &lease.Change{ID: leases[i].ID}, time.Now()))
	}
	return out
}

func (w *world) run() error {
	w.Helper()
	_, err := w.indexer.Do(w.Context())
	return err
}

func (w *world) claim(target string) []lease.ID {
	w.Helper()
	c, err := w.index.Claim(w.Context(), target, time.Now(), 1000, time.Minute)
	if err != nil {
		w.Fatal(err)
	}
	var ids []lease.ID
	for _, m := range c.Members {
		ids = append(ids, m.ID)
	}
	if err := w.index.Complete(w.Context(), c); err != nil {
		w.Fatal(err)
	}
	return ids
}

func (w *world) len() int {
	w.Helper()
	n, err := w.index.Len(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return n
}

// An event makes a lease that is due claimable at once and says so; what falls
// due beyond the window, or has ended, is not offered.
func TestEvents(t *testing.T) {
	bubble(t, func(w *world) {
		far, soon, now, ended := w.issue("a", time.Hour), w.issue("a", 30*time.Second), w.issue("a", time.Hour), w.issue("a", time.Hour)
		now = w.change(now.ID, lease.Revoke{})
		w.change(ended.ID, lease.Revoke{})
		stale := w.issue("a", time.Second)
		old := events(stale)
		w.change(stale.ID, lease.Renew{Increment: time.Hour}) // after the event: the row counts (D1)
		ended = w.change(ended.ID, lease.Finish{To: lease.Revoked})
		w.stream.batches = [][]event.Event{append(old, events(far, soon, now, ended)...)}
		if err := w.run(); err != nil {
			t.Fatal(err)
		}
		if w.nudges != 1 || w.stream.acked != 1 || w.len() != 2 {
			t.Errorf("%d nudges, %d acknowledgements, %d members; want 1, 1, 2", w.nudges, w.stream.acked, w.len())
		}
		if got := w.claim("a"); !slices.Equal(got, []lease.ID{now.ID}) {
			t.Errorf("claimable at once: %v, want %v", got, now.ID)
		}
		time.Sleep(30 * time.Second)
		if got := w.claim("a"); !slices.Equal(got, []lease.ID{soon.ID}) {
			t.Errorf("claimable after its term: %v, want %v", got, soon.ID)
		}
	})
}

// D3: the stream may deliver twice, late and in another order.
func TestRedelivery(t *testing.T) {
	bubble(t, func(w *world) {
		l := w.issue("a", time.Hour)
		began := events(l)
		l = w.change(l.ID, lease.Revoke{})
		revoking := events(l)
		w.stream.batches = [][]event.Event{append(slices.Clone(revoking), revoking...), append(slices.Clone(began), revoking...)}
		for range 2 {
			if err := w.run(); err != nil {
				t.Fatal(err)
			}
		}
		if got := w.claim("a"); len(got) != 1 {
			t.Errorf("claimed %v", got)
		}
		w.change(l.ID, lease.Finish{To: lease.Revoked})
		w.stream.batches = [][]event.Event{append(slices.Clone(began), revoking...)}
		if err := w.run(); err != nil || w.len() != 0 {
			t.Errorf("after its end: %d members, %v", w.len(), err)
		}
	})
}

// C8: a changed configuration recalls the target's revocations, parked ones
// too, once for all its events; where the store does not answer, later.
func TestRecall(t *testing.T) {
	bubble(t, func(w *world) {
		parked, retried, other := w.issue("a", time.Hour), w.issue("a", time.Hour), w.issue("b", time.Hour)
		for _, l := range []lease.Lease{parked, retried, other} {
			w.change(l.ID, lease.Revoke{})
			w.change(l.ID, lease.Progress{Failed: true, Parked: l.ID == parked.ID, After: 15 * time.Minute})
		}
		changed := event.Event{Type: event.ConfigChanged, Data: event.Data{Target: "a"}}
		w.stream.batches = [][]event.Event{{changed, changed, changed}}
		w.store.Break(storetest.Fault{Method: "Find", Nth: 1})
		if err := w.run(); !errors.Is(err, storetest.ErrInjected) {
			t.Errorf("without the store: %v", err)
		}
		if err := w.run(); err != nil {
			t.Fatal(err)
		}
		if n := w.store.Calls("Find"); n != 2 {
			t.Errorf("the store was asked %d times for one target", n)
		}
		want := []lease.ID{parked.ID, retried.ID}
		slices.Sort(want)
		if got := w.claim("a"); !slices.Equal(got, want) {
			t.Errorf("recalled %v, want %v", got, want)
		}
		if got := w.claim("b"); len(got) != 0 {
			t.Errorf("recalled of another target: %v", got)
		}
	})
}

// dues is a store of due times only; it counts reads.
type dues struct {
	store.Leases
	all   []store.Due // in order
	reads int
}

func (d *dues) Due(_ context.Context, until time.Time, after store.Cursor, limit int) ([]store.Due, error) {
	d.reads++
	from, _ := slices.BinarySearchFunc(d.all, after, func(x store.Due, c store.Cursor) int {
		if n := x.At.Compare(c.At); n != 0 {
			return n
		}
		if x.ID > c.ID {
			return 1
		}
		return -1
	})
	out := d.all[from:]
	if n := slices.IndexFunc(out, func(x store.Due) bool { return x.At.After(until) }); n >= 0 {
		out = out[:n]
	}
	return out[:min(limit, len(out))], nil
}

func (d *dues) Get(_ context.Context, id lease.ID) (lease.Lease, error) {
	i := slices.IndexFunc(d.all, func(x store.Due) bool { return x.ID == id })
	if i < 0 {
		return lease.Lease{}, store.ErrNotFound
	}
	return lease.Lease{ID: id, State: lease.Active, Target: d.all[i].Target, ExpiresAt: d.all[i].At}, nil
}

func (d *dues) add(target string, n int, at time.Time) {
	for range n {
		d.all = append(d.all, store.Due{ID: lease.ID(fmt.Sprintf("%08d", len(d.all))), Target: target, At: at})
		at = at.Add(time.Microsecond)
	}
}

// Promise 4, D1: a lease that falls due is found by the next run, without a
// stream, whatever the backlog of a dead target; all of the backlog comes by
// in turn, and a run reads a bounded number of pages.
func TestOverdueBehindABacklog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const backlog = 50_000
		s, x := &dues{}, memory.New()
		s.add("dead", backlog, time.Now().Add(-time.Hour))
		now := store.NewEstimate(storetest.NewFake(clock.System{}), clock.System{})
		o := index.NewOverdue(s, now, index.NewFeeder(x, func() {}), index.Config{})
		for i := range 20 {
			s.add("well", 10, time.Now().Add(-10*time.Microsecond))
			before := s.reads
			rest, err := o.Do(t.Context())
			if err != nil || rest != time.Second {
				t.Fatalf("run %d rests %s, %v", i, rest, err)
			}
			if n := s.reads - before; n > 16 {
				t.Errorf("run %d read %d pages", i, n)
			}
			c, err := x.Claim(t.Context(), "well", time.Now(), 100, time.Minute)
			if err != nil || len(c.Members) != 10 {
				t.Fatalf("run %d found %d of 10 leases that fell due, %v", i, len(c.Members), err)
			}
			time.Sleep(rest)
			s.all = s.all[:len(s.all)-10] // revoked
			if err := x.Complete(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := x.Len(t.Context()); err != nil || n != backlog {
			t.Errorf("%d of %d overdue leases came by in 20 s, %v", n, backlog, err)
		}
	})
}

// A burst that does not fit into one run is read on at once, in order.
func TestOverdueBurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, x := &dues{}, memory.New()
		now := store.NewEstimate(storetest.NewFake(clock.System{}), clock.System{})
		o := index.NewOverdue(s, now, index.NewFeeder(x, func() {}), index.Config{Page: 100, Pages: 2})
		s.add("a", 1000, time.Now().Add(-time.Second))
		runs := 0
		for {
			rest, err := o.Do(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if runs++; rest > 0 || runs > 10 {
				break
			}
		}
		if n, err := x.Len(t.Context()); err != nil || n != 1000 || runs > 6 {
			t.Errorf("%d of 1000 leases in %d runs, %v", n, runs, err)
		}
	})
}

// stepped is a store's clock that can be set.
type stepped struct{ off time.Duration }

func (s *stepped) Now(context.Context) (time.Time, error) { return time.Now().Add(s.off), nil }

// A5: a store's clock that went back does not blind the steps until it has
// caught up.
func TestClockGoesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s, x, c := &dues{}, memory.New(), &stepped{off: time.Hour}
		now := store.NewEstimate(c, clock.System{})
		feed := index.NewFeeder(x, func() {})
		steps := []interface {
			Do(context.Context) (time.Duration, error)
		}{index.NewOverdue(s, now, feed, index.Config{}), index.NewUpcoming(s, now, feed, index.Config{})}
		run := func() {
			for _, step := range steps {
				if _, err := step.Do(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		s.add("far", 1, time.Now().Add(time.Hour+30*time.Second))
		run()
		c.off = 0
		time.Sleep(2 * time.Second)
		s.all = nil
		s.add("due", 1, time.Now())
		s.add("soon", 1, time.Now().Add(30*time.Second))
		run()
		for _, target := range []string{"due", "soon"} {
			claim, err := x.Claim(ctx, target, time.Now().Add(time.Minute), 1, time.Minute)
			if err != nil || len(claim.Members) != 1 {
				t.Errorf("%s was not found, %v", target, err)
			}
		}
	})
}

// C8: a retry that a person asked for is claimable at once, whatever its target
// was last heard to do.
func TestRetryByRequest(t *testing.T) {
	bubble(t, func(w *world) {
		l := w.issue("a", time.Hour)
		w.change(l.ID, lease.Revoke{})
		l = w.change(l.ID, lease.Progress{Failed: true, Parked: true, Error: "no", After: 15 * time.Minute})
		failed := events(l)[0]
		after := w.change(l.ID, lease.Retry{})
		again := event.Of(&l, &after, &lease.Change{ID: l.ID, Do: lease.Retry{}, By: lease.Actor{Name: "accessor", RequestID: "r"}}, time.Now())
		w.stream.batches = [][]event.Event{{failed}, {again, again}}
		if err := w.run(); err != nil || len(w.urged) != 0 {
			w.Fatalf("a failure urges %v, %v", w.urged, err)
		}
		if err := w.run(); err != nil || len(w.urged) != 1 || w.urged[0] != "a" {
			w.Errorf("urged %v, %v", w.urged, err)
		}
		if got := w.claim("a"); len(got) != 1 {
			w.Errorf("claimable are %v", got)
		}
	})
}

// D1: a hint puts a revocation that was begun where it is claimed, at once and
// without the stream; one about a lease that lives or has ended does nothing.
func TestHint(t *testing.T) {
	bubble(t, func(w *world) {
		feed := index.NewFeeder(w.index, func() { w.nudges++ })
		id := lease.NewID("database/creds/app")
		claimed := func(l lease.Lease) []expiry.Member {
			t.Helper()
			if err := feed.Hint(w.Context(), &l); err != nil {
				t.Fatal(err)
			}
			c, err := w.index.Claim(w.Context(), "t", time.Now(), 10, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			return c.Members
		}
		w.change(id, lease.Begin{Lease: lease.Lease{Kind: lease.Secret, Target: "t", TTL: time.Hour}})
		if got := claimed(w.change(id, lease.Activate{})); len(got) != 0 || w.nudges != 0 {
			t.Errorf("a lease that lives was claimed: %v, %d nudges", got, w.nudges)
		}
		if got := claimed(w.change(id, lease.Revoke{If: lease.Always})); len(got) != 1 || got[0].ID != id || w.nudges != 1 {
			t.Errorf("claimed is %v after %d nudges, want %s", got, w.nudges, id)
		}
		if got := claimed(w.change(id, lease.Finish{To: lease.Revoked})); len(got) != 0 || w.nudges != 1 {
			t.Errorf("a lease that has ended was claimed: %v, %d nudges", got, w.nudges)
		}
	})
}
