package sweep_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/revoker/internal/sweep"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// targets are three systems: one is dead, one breaks the engine, one is well
// and has strays of which the first cannot be planned.
type targets struct {
	mu     sync.Mutex
	listed map[string]int
}

func (x *targets) Targets(context.Context) ([]engine.Target, error) {
	var out []engine.Target
	for _, name := range []string{"dead", "broken", "well"} {
		out = append(out, engine.Target{ID: name, MountID: "m", Mount: "database/", Name: name})
	}
	return out, nil
}

func (x *targets) ask(target string) error {
	x.mu.Lock()
	x.listed[target]++
	x.mu.Unlock()
	switch target {
	case "dead":
		time.Sleep(5 * time.Second)
		return &engine.Error{Kind: engine.Unreachable, Message: "dead"}
	case "broken":
		panic("a bug")
	}
	return nil
}

func (x *targets) Accounts(_ context.Context, target, after string, _ int) ([]engine.Account, error) {
	if err := x.ask(target); err != nil || after != "" {
		return nil, err
	}
	return []engine.Account{{Name: "v-1"}, {Name: "v-2"}, {Name: "v-3"}}, nil
}

func (x *targets) StrayPlan(_ context.Context, _ string, a engine.Account) (plan, handle []byte, err error) {
	if a.Name == "v-1" {
		return nil, nil, &engine.Error{Kind: engine.Internal, Message: "no plan"}
	}
	return []byte("{}"), nil, nil
}

func (x *targets) EndGhosts(_ context.Context, target string) (int, error) { return 0, x.ask(target) }

// Promise 4, B3: a target that is dead, one that breaks the engine, and an
// account that cannot be planned keep the sweeps from nothing else, and do not
// make them go round more often; a stray is opened once.
func TestSweepsGoOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		x, fake := &targets{listed: map[string]int{}}, storetest.NewFake(clock.System{})
		strays := &sweep.Strays{
			Store: fake, Engines: map[string]engine.Sweeper{"database": x},
			Time: store.NewEstimate(fake, clock.System{}), Log: zerolog.Nop(), Every: time.Minute,
		}
		ghosts := &sweep.Ghosts{Engines: strays.Engines, Log: zerolog.Nop(), Every: 10 * time.Second, Returned: func(string) {}}
		for range 2 {
			if rest, err := strays.Do(t.Context()); err != nil || rest != time.Minute {
				t.Errorf("strays rest %s, %v", rest, err)
			}
			if rest, err := ghosts.Do(t.Context()); err != nil || rest != 10*time.Second {
				t.Errorf("ghosts rest %s, %v", rest, err)
			}
		}
		if x.listed["dead"] != 4 || x.listed["broken"] != 4 || x.listed["well"] != 4 {
			t.Errorf("asked: %v", x.listed)
		}
		for name, want := range map[string]int{"v-1": 0, "v-2": 1, "v-3": 1} {
			found, err := fake.Find(t.Context(), store.Query{Account: name})
			if err != nil || len(found) != want || want == 1 && (found[0].Kind != lease.Stray || found[0].State != lease.Revoking) {
				t.Errorf("leases of %s: %+v, %v", name, found, err)
			}
		}
	})
}

// A4: a barrier stays while a lease it took is open, so that no late activation
// escapes it (A3), and for a while after that was seen, so that its operation
// can be read; then it goes.
func TestBarrierStaysWhileOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := storetest.NewFake(clock.System{})
		apply := func(id lease.ID, do lease.Action) {
			o := fake.Apply(t.Context(), store.Transition{Change: lease.Change{
				ID: id, Version: lease.AnyVersion, Key: lease.RandomBase62(8), By: lease.System("tester"), Do: do,
			}})[0]
			if o.Err != nil {
				t.Fatal(o.Err)
			}
		}
		id := lease.NewID("database/creds/a")
		apply(id, lease.Begin{Grace: time.Hour, Lease: lease.Lease{Kind: lease.Secret, MountID: "m", Mount: "database/", TTL: time.Hour}})
		if _, err := fake.Raise(t.Context(), store.Barrier{Operation: "op", Prefix: "database/creds/"}); err != nil {
			t.Fatal(err)
		}
		s := &sweep.Barriers{Store: fake, Time: store.NewEstimate(fake, clock.System{}), Keep: 10 * time.Minute, Every: time.Second}
		kept := func() bool {
			time.Sleep(11 * time.Minute)
			if _, err := s.Do(t.Context()); err != nil {
				t.Fatal(err)
			}
			_, err := fake.Entry(t.Context(), store.KindBarrier, "op")
			return err == nil
		}
		for range 3 {
			if !kept() {
				t.Fatal("the barrier went before its lease had ended")
			}
		}
		apply(id, lease.Finish{To: lease.Revoked})
		if !kept() {
			t.Fatal("the barrier went before its end could be read")
		}
		e, err := fake.Entry(t.Context(), store.KindBarrier, "op")
		if err != nil {
			t.Fatal(err)
		}
		if b, err := store.DecodeBarrier(e.Value); err != nil || b.Total != 1 || b.FinishedAt.IsZero() {
			t.Errorf("operation %s, %v", e.Value, err)
		}
		if kept() {
			t.Error("the barrier stays although its leases have ended")
		}
	})
}

// A4: where the caller of a revocation died while it listed, the sweep counts
// also what it had begun and has ended since, and not what had ended before.
func TestBarrierCountsWhatItsCallerBegan(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := storetest.NewFake(clock.System{})
		apply := func(id lease.ID, do lease.Action) {
			o := fake.Apply(t.Context(), store.Transition{Change: lease.Change{
				ID: id, Version: lease.AnyVersion, Key: lease.RandomBase62(8), By: lease.System("tester"), Do: do,
			}})[0]
			if o.Err != nil {
				t.Fatal(o.Err)
			}
		}
		begin := func() lease.ID {
			id := lease.NewID("database/creds/a")
			apply(id, lease.Begin{Grace: time.Hour, Lease: lease.Lease{Kind: lease.Secret, MountID: "m", Mount: "database/", TTL: time.Hour}})
			apply(id, lease.Activate{})
			return id
		}
		end := func(id lease.ID) {
			apply(id, lease.Revoke{If: lease.Always})
			apply(id, lease.Finish{To: lease.Revoked})
		}
		before, begun, failing := begin(), begin(), begin()
		begin() // and what nobody has begun to revoke
		end(before)
		time.Sleep(time.Second)
		if _, err := fake.Raise(t.Context(), store.Barrier{Operation: "op", Prefix: "database/creds/"}); err != nil {
			t.Fatal(err)
		}
		end(begun)
		apply(failing, lease.Revoke{If: lease.Always})
		end(begin()) // it is of the time after
		s := &sweep.Barriers{Store: fake, Time: store.NewEstimate(fake, clock.System{}), Keep: 10 * time.Minute, Every: time.Second}
		time.Sleep(2 * time.Second)
		if _, err := s.Do(t.Context()); err != nil {
			t.Fatal(err)
		}
		e, err := fake.Entry(t.Context(), store.KindBarrier, "op")
		if err != nil {
			t.Fatal(err)
		}
		if b, err := store.DecodeBarrier(e.Value); err != nil || !b.Listed || b.Total != 3 || !b.FinishedAt.IsZero() {
			t.Errorf("operation %s, %v; want 3 leases", e.Value, err)
		}
	})
}
