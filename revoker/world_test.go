package revoker_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/revoker"
	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/expiry/memory"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

const (
	mountID = "mount-1"
	mount   = "database/"
	grace   = 10 * time.Second
)

// world is a store and a target that outlive any number of revokers. It is
// made inside a synctest bubble: time passes only when nothing else happens.
type world struct {
	*testing.T
	store  *storetest.Fake
	engine *enginetest.Fake
	log    zerolog.Logger
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, store: storetest.NewFake(clock.System{}), log: zerolog.Nop()}
	w.engine = enginetest.NewFake(enginetest.FakeConfig{Clock: clock.System{}, Grace: grace})
	for _, target := range []string{"a", "b"} {
		w.engine.AddTarget(engine.Target{ID: target, MountID: mountID, Mount: mount, Name: target})
		w.engine.AddRole(target, enginetest.FakeRole{MountID: mountID, Target: target})
	}
	return w
}

// alone configures a revoker without an index worth the name and without a stream:
// everything must come from the store (C9, D1).
func alone() revoker.Config { return revoker.Config{Name: "alone"} }

// start runs a revoker; the returned function stops it and waits.
func (w *world) start(cfg revoker.Config, index expiry.Index) func() {
	w.Helper()
	r, err := revoker.New(revoker.Deps{
		Store: w.store, Stream: bus.Nop{}, Index: index, Engines: []engine.Engine{w.engine},
		Clock: clock.System{}, Log: w.log,
	}, cfg)
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
	return func() {
		cancel()
		wg.Wait()
	}
}

func (w *world) run() func() {
	w.Helper()
	return w.start(alone(), memory.New())
}

func change(id lease.ID, version int64, do lease.Action) lease.Change {
	return lease.Change{ID: id, Version: version, Key: lease.RandomBase62(8), By: lease.Actor{Name: "tester"}, Reason: "test", Do: do}
}

func (w *world) apply(c lease.Change) lease.Lease {
	w.Helper()
	o := w.store.Apply(context.Background(), store.Transition{Change: c})[0]
	if o.Err != nil {
		w.Fatalf("apply %T: %v", c.Do, o.Err)
	}
	return o.Lease
}

// intent commits an intent for role (and target) name.
func (w *world) intent(name string, ttl time.Duration, token lease.ID) (lease.Lease, *engine.Plan) {
	w.Helper()
	id := lease.NewID(mount + "creds/" + name)
	p, err := w.engine.Plan(context.Background(), &engine.Request{
		Operation: engine.Read, MountID: mountID, Mount: mount, Path: "creds/" + name, LeaseID: id,
	})
	if err != nil || p == nil {
		w.Fatalf("plan: %v", err)
	}
	return w.apply(change(id, 0, lease.Begin{Grace: grace, Lease: lease.Lease{
		Kind: lease.Secret, MountID: mountID, Mount: mount, Role: name, Engine: w.engine.Type(), Target: p.Target,
		TokenID: token, Account: p.Account, Plan: p.Frozen, TTL: ttl, Renewable: true,
	}})), p
}

// create makes the account in the target.
func (w *world) create(l lease.Lease, p *engine.Plan) engine.Created {
	w.Helper()
	return w.engine.Create(context.Background(), l.Target, []engine.Creation{{Lease: l, Secret: p.Secret}})[0]
}

// issue is a credential as the issuer makes it.
func (w *world) issue(name string, ttl time.Duration, token lease.ID) lease.Lease {
	w.Helper()
	l, p := w.intent(name, ttl, token)
	made := w.create(l, p)
	if made.Err != nil {
		w.Fatalf("create: %v", made.Err)
	}
	return w.apply(change(l.ID, l.Version, lease.Activate{Handle: made.Handle}))
}

func (w *world) lease(id lease.ID) lease.Lease {
	w.Helper()
	l, err := w.store.Get(context.Background(), id)
	if err != nil {
		w.Fatal(err)
	}
	return l
}

func (w *world) exists(l lease.Lease) bool {
	w.Helper()
	ok, err := w.engine.Probe(l.Target).Exists(context.Background(), l.Account)
	if err != nil {
		w.Fatal(err)
	}
	return ok
}

// wait lets time pass until the lease has ended, at most for bound.
func (w *world) wait(id lease.ID, bound time.Duration) lease.Lease {
	w.Helper()
	end := time.Now().Add(bound)
	for time.Now().Before(end) {
		if l := w.lease(id); l.State.Final() {
			return l
		}
		time.Sleep(10 * time.Millisecond)
	}
	l := w.lease(id)
	w.Fatalf("lease is %s after %s: %+v", l.State, bound, l.Revocation)
	return l
}

// ended checks what must hold of a lease that was taken away.
func (w *world) ended(l lease.Lease) {
	w.Helper()
	r := l.Revocation
	if l.State != lease.Revoked || r.DisabledAt.IsZero() || r.SessionsEndedAt.IsZero() || r.EndedAt.IsZero() {
		w.Errorf("lease ended without all its stages: %s %+v", l.State, r)
	}
	if w.exists(l) {
		w.Errorf("account %s is still there", l.Account)
	}
	if r.Reason == lease.ReasonExpired && r.DisabledAt.Before(l.ExpiresAt) {
		w.Errorf("disabled %s early", l.ExpiresAt.Sub(r.DisabledAt))
	}
}

// record checks that the record has each version of each lease exactly once,
// in order.
func (w *world) record(leases ...lease.Lease) {
	w.Helper()
	ctx := context.Background()
	lock, ok, err := w.store.Acquire(ctx, "publisher", "test", time.Minute)
	if err != nil || !ok {
		w.Fatalf("lock: %v %v", ok, err)
	}
	if _, _, err := w.store.Number(ctx, lock, 1_000_000); err != nil {
		w.Fatal(err)
	}
	events, err := w.store.Events(ctx, event.Position{}, 1_000_000)
	if err != nil {
		w.Fatal(err)
	}
	seen := map[lease.ID]int64{}
	for _, e := range events {
		if e.Data.Version != seen[e.Data.LeaseID]+1 {
			w.Errorf("lease %s: version %d follows %d in the record", e.Data.LeaseID, e.Data.Version, seen[e.Data.LeaseID])
		}
		seen[e.Data.LeaseID] = e.Data.Version
	}
	for _, l := range leases {
		if now := w.lease(l.ID); seen[l.ID] != now.Version {
			w.Errorf("the record has %d versions of %s, the lease %d", seen[l.ID], l.ID, now.Version)
		}
	}
}
