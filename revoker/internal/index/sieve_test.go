package index_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfew-project/curfew/revoker/internal/index"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/expiry/memory"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// ailing is a shared index of which some calls fail.
type ailing struct {
	*memory.Index
	missing, offer func(context.Context) error // nil: well
	forgets        bool
}

func (a *ailing) Missing(ctx context.Context, m ...expiry.Member) ([]expiry.Member, error) {
	if a.missing != nil {
		return nil, a.missing(ctx)
	}
	return a.Index.Missing(ctx, m...)
}

func (a *ailing) Offer(ctx context.Context, m ...expiry.Member) error {
	if a.offer != nil {
		return a.offer(ctx)
	}
	if a.forgets {
		return nil
	}
	return a.Index.Offer(ctx, m...)
}

// Law: what falls due goes to the shared index while that works, and else to the
// process's own in the same run; whatever is 30 s late goes to both.
func TestSieve(t *testing.T) {
	t.Parallel()
	away := errors.New("away")
	for name, c := range map[string]struct {
		ail         func(*ailing)
		idle        bool // nothing is claimed from the shared one
		age         time.Duration
		runs        int
		shared, own int
		took        time.Duration
	}{
		"works":            {age: time.Second, runs: 3, shared: 5},
		"works, very late": {age: time.Hour, runs: 31, shared: 5},
		"works, too late":  {age: time.Hour, runs: 32, shared: 5, own: 5},
		"nobody claims":    {idle: true, age: time.Second, runs: 1, own: 5},
		"away":             {ail: func(a *ailing) { a.missing = func(context.Context) error { return away } }, age: time.Second, runs: 1, own: 5},
		"full":             {ail: func(a *ailing) { a.offer = func(context.Context) error { return away } }, age: time.Second, runs: 1, own: 5},
		"forgets":          {ail: func(a *ailing) { a.forgets = true }, age: time.Second, runs: 2, own: 5},
		"silent": {ail: func(a *ailing) {
			a.missing = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		}, age: time.Second, runs: 1, own: 5, took: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				shared, own, s := &ailing{Index: memory.New()}, memory.New(), &dues{}
				if c.ail != nil {
					c.ail(shared)
				}
				now := store.NewEstimate(storetest.NewFake(clock.System{}), clock.System{})
				nudged := 0
				nudge := func() { nudged++ }
				sieve := index.NewSieve(shared, func() bool { return !c.idle }, now, index.NewFeeder(shared, nudge), index.NewFeeder(own, nudge))
				o := index.NewOverdue(s, now, sieve, index.Config{})
				s.add("a", 5, time.Now().Add(-c.age))
				for range c.runs {
					began := time.Now()
					if rest, err := o.Do(t.Context()); err != nil || rest != time.Second {
						t.Fatalf("rests %s, %v", rest, err)
					}
					if took := time.Since(began); took > c.took {
						t.Errorf("it took %s", took)
					}
					time.Sleep(time.Second)
				}
				for what, x := range map[string]struct {
					index expiry.Index
					want  int
				}{"shared": {shared.Index, c.shared}, "own": {own, c.own}} {
					if n, err := x.index.Len(t.Context()); n != x.want || err != nil {
						t.Errorf("the %s index has %d, want %d; %v", what, n, x.want, err)
					}
				}
				if nudged == 0 {
					t.Error("nobody was told")
				}
			})
		})
	}
}

// Two processes over one index that works: no lease is offered to either's own,
// also while it is in flight and when it has been put back.
func TestSieveInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, shared, own, s := t.Context(), memory.New(), memory.New(), &dues{}
		now := store.NewEstimate(storetest.NewFake(clock.System{}), clock.System{})
		feed := index.NewFeeder(shared, func() {})
		o := index.NewOverdue(s, now, index.NewSieve(shared, func() bool { return true }, now, feed, index.NewFeeder(own, func() {})), index.Config{})
		s.add("a", 4, time.Now().Add(-time.Second))
		var seen []lease.ID
		for range 10 {
			if _, err := o.Do(ctx); err != nil {
				t.Fatal(err)
			}
			claim, err := shared.Claim(ctx, "a", time.Now(), 1, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range claim.Members {
				seen = append(seen, m.ID)
			}
			time.Sleep(time.Second)
		}
		slices.Sort(seen)
		if n := len(seen); n != 4 || len(slices.Compact(seen)) != 4 {
			t.Errorf("claimed %v", seen)
		}
		if n, err := own.Len(ctx); n != 0 || err != nil {
			t.Errorf("%d are in the process's own index, %v", n, err)
		}
	})
}
