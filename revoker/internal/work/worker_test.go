package work_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/revoker/internal/work"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// target is an engine that does as the test says for each lease.
type target struct {
	disable, remove func(l lease.Lease) error
	short           bool // answers for one lease less
}

func answer(batch []lease.Lease, gone bool, do func(lease.Lease) error) []engine.Outcome {
	out := make([]engine.Outcome, len(batch))
	for i, l := range batch {
		if do != nil {
			out[i].Err = do(l)
		}
		if out[i].Err == nil {
			out[i].Disabled, out[i].SessionsEnded, out[i].Gone = true, true, gone
		}
	}
	return out
}

func (x *target) Disable(_ context.Context, _ string, batch []lease.Lease) []engine.Outcome {
	return answer(batch, false, x.disable)
}

func (x *target) Remove(_ context.Context, _ string, batch []lease.Lease) []engine.Outcome {
	out := answer(batch, true, x.remove)
	if x.short && len(out) > 1 {
		return out[1:]
	}
	return out
}

// picky is a store that refuses changes of one lease, after it made them or
// instead.
type picky struct {
	*storetest.Fake
	bad  lease.ID
	made bool
	off  time.Duration // of its clock
	// untold: a refusal for a suspension does not tell the row.
	untold bool
}

func (p *picky) Apply(ctx context.Context, items ...store.Transition) []store.Outcome {
	var out []store.Outcome
	for _, item := range items {
		if item.Change.ID == p.bad && !p.made {
			out = append(out, store.Outcome{Err: storetest.ErrInjected})
			continue
		}
		o := p.Fake.Apply(ctx, item)[0]
		if p.untold && errors.Is(o.Err, store.ErrSuspended) {
			o.Lease = lease.Lease{}
		}
		if item.Change.ID == p.bad {
			o = store.Outcome{Err: fmt.Errorf("%w: %w", store.ErrUnknown, storetest.ErrInjected)}
		}
		out = append(out, o)
	}
	return out
}

func (p *picky) Now(ctx context.Context) (time.Time, error) {
	t, err := p.Fake.Now(ctx)
	return t.Add(p.off), err
}

type world struct {
	*testing.T
	store    *picky
	engine   *target
	estimate *store.Estimate
	worker   *work.Worker
	leases   []lease.Lease
}

// bubble is a worker with n leases that are due.
func bubble(t *testing.T, n int, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, store: &picky{Fake: storetest.NewFake(clock.System{})}, engine: &target{}}
		w.estimate = store.NewEstimate(w.store, clock.System{})
		w.worker = work.New(w.store, map[string]engine.Revoker{"database": w.engine}, w.estimate, zerolog.Nop())
		for i := range n {
			id := lease.NewID(fmt.Sprintf("database/creds/%d", i))
			w.apply(id, lease.Begin{Grace: time.Minute, Lease: lease.Lease{
				Kind: lease.Secret, MountID: "m", Mount: "database/", Engine: "database", Target: "a", TTL: 10 * time.Second,
			}})
			w.leases = append(w.leases, w.apply(id, lease.Activate{}))
		}
		w.now()
		time.Sleep(10 * time.Second)
		f(w)
	})
}

func (w *world) apply(id lease.ID, do lease.Action) lease.Lease {
	w.Helper()
	o := w.store.Fake.Apply(w.Context(), store.Transition{Change: lease.Change{
		ID: id, Version: lease.AnyVersion, Key: lease.RandomBase62(8), By: lease.System("tester"), Do: do,
	}})[0]
	if o.Err != nil {
		w.Fatalf("%T: %v", do, o.Err)
	}
	return o.Lease
}

func (w *world) now() time.Time {
	w.Helper()
	at, err := w.estimate.Now(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return at
}

func (w *world) lease(i int) lease.Lease {
	w.Helper()
	l, err := w.store.Get(w.Context(), w.leases[i].ID)
	if err != nil {
		w.Fatal(err)
	}
	return l
}

// members are all leases.
func (w *world) members() (all []expiry.Member) {
	for _, l := range w.leases {
		all = append(all, expiry.Member{ID: l.ID, Target: l.Target, At: l.ExpiresAt})
	}
	return all
}

// process flies all leases. Whatever happens, each has ended or has a time.
func (w *world) process() (work.Result, error) {
	w.Helper()
	res, err := w.worker.Process(w.Context(), "a", w.members(), func() {})
	for i := range w.leases {
		l := w.lease(i)
		k := slices.IndexFunc(res.Later, func(m expiry.Member) bool { return m.ID == l.ID })
		switch {
		case l.State.Final() && k < 0:
		case k < 0:
			w.Errorf("lease %d is %s and was given up", i, l.State)
		case l.ID != w.store.bad && !res.Later[k].At.After(w.now()):
			w.Errorf("lease %d is tried again at once", i)
		}
	}
	return res, err
}

func (w *world) ended(want ...bool) {
	w.Helper()
	for i := range want {
		if l := w.lease(i); l.State.Final() != want[i] {
			w.Errorf("lease %d is %s: %+v", i, l.State, l.Revocation)
		}
	}
}

// Promise 4, A6: a lease that the store refuses keeps none of its batch from its
// end, wherever the refusal comes.
func TestOneThatTheStoreRefuses(t *testing.T) {
	t.Parallel()
	for _, made := range []bool{false, true} {
		bubble(t, 5, func(w *world) {
			w.store.bad, w.store.made = w.leases[2].ID, made
			if res, err := w.process(); err == nil || res.Ended != 4 || !res.Reached {
				t.Errorf("made %t: %+v, %v", made, res, err)
			}
			w.ended(true, true, false, true, true)
			w.store.bad = ""
			if _, err := w.process(); err != nil {
				t.Error(err)
			}
			w.ended(true, true, true, true, true)
		})
	}
}

// C8: a person mends the target and asks for another try while one is under way
// that has met the fault already. The answer of that one does not take the
// request back; the next failure waits again.
func TestAskedMeanwhile(t *testing.T) {
	t.Parallel()
	bubble(t, 2, func(w *world) {
		asked, other := w.leases[0].ID, w.leases[1].ID
		w.engine.disable = func(l lease.Lease) error {
			if l.ID == asked && l.Revocation.Attempts == 1 {
				w.apply(asked, lease.Retry{})
			}
			return &engine.Error{Kind: engine.Refused, Message: "no"}
		}
		members := w.members()
		for attempt, due := range []map[lease.ID]bool{{}, {asked: true}, {}} {
			res, err := w.worker.Process(w.Context(), "a", members, func() {})
			if err != nil || len(res.Later) != 2 {
				w.Fatalf("attempt %d: %v, %+v", attempt, err, res)
			}
			for _, m := range res.Later {
				if at := w.now(); m.At.After(at) == due[m.ID] {
					w.Errorf("attempt %d: %s is due at %s, now is %s", attempt, map[lease.ID]string{asked: "asked", other: "other"}[m.ID], m.At, at)
				}
			}
		}
	})
}

// A bug in an engine is a failed attempt of the batch; then each lease is tried
// alone, and only the one that meets the bug waits.
func TestEnginePanics(t *testing.T) {
	t.Parallel()
	bubble(t, 5, func(w *world) {
		w.engine.remove = func(l lease.Lease) error {
			if l.ID == w.leases[2].ID {
				panic("index out of range")
			}
			return nil
		}
		if _, err := w.process(); err != nil {
			t.Error(err)
		}
		if l := w.lease(2); l.Revocation.DisabledAt.IsZero() || !strings.Contains(l.Revocation.LastError, "log") || l.Revocation.Parked {
			t.Errorf("after the panic: %+v", l.Revocation)
		}
		time.Sleep(time.Minute)
		if res, err := w.process(); err != nil || res.Down {
			t.Errorf("%+v, %v", res, err)
		}
		w.ended(true, true, false, true, true)
		w.engine.remove = nil
		_, _ = w.process()
		w.ended(true, true, true, true, true)
	})
	bubble(t, 2, func(w *world) {
		w.engine.short = true
		_, _ = w.process()
		w.ended(false, false)
	})
}

// C8: what a flight says about its target's health.
func TestHealth(t *testing.T) {
	t.Parallel()
	fail := func(k engine.Kind) func(lease.Lease) error {
		return func(lease.Lease) error { return &engine.Error{Kind: k, Message: string(k)} }
	}
	for _, c := range []struct {
		disable, remove func(lease.Lease) error
		reached, down   bool
	}{
		{nil, nil, true, false},
		{fail(engine.Unreachable), nil, false, true},
		{nil, fail(engine.Unreachable), true, true}, // the target answered: one statement is not the target
		{fail(engine.Refused), nil, true, false},
		{fail(engine.Conflict), nil, true, false},
		{fail(engine.Internal), nil, false, false}, // nobody was asked
		{fail(engine.Busy), nil, false, false},
	} {
		bubble(t, 3, func(w *world) {
			w.engine.disable, w.engine.remove = c.disable, c.remove
			if res, err := w.process(); err != nil || res.Reached != c.reached || res.Down != c.down {
				t.Errorf("%+v, %v; want reached %t, down %t", res, err, c.reached, c.down)
			}
		})
	}
}

// A7: a suspended store expires nothing, whatever the batch: what is in revoking
// goes on, the rest is looked at again in a second; that is said once. After the
// end of the suspension what is due is revoked at once.
func TestSuspended(t *testing.T) {
	t.Parallel()
	for _, told := range []bool{true, false} {
		bubble(t, 4, func(w *world) {
			var log bytes.Buffer
			w.store.untold = !told
			w.worker = work.New(w.store, map[string]engine.Revoker{"database": w.engine}, w.estimate, zerolog.New(&log))
			w.apply(w.leases[1].ID, lease.Revoke{})
			if err := w.store.Suspend(w.Context(), store.Suspension{Reason: "rewound"}); err != nil {
				w.Fatal(err)
			}
			w.apply(w.leases[2].ID, lease.Revoke{}) // by request, during the suspension
			if res, err := w.process(); err != nil || res.Ended != 2 || len(res.Later) != 2 {
				t.Errorf("%+v, %v", res, err)
			}
			w.ended(false, true, true, false)
			for range 5 {
				time.Sleep(time.Second)
				res, err := w.process()
				if err != nil || res.Down || len(res.Later) != 2 || res.Later[0].At.Sub(w.now()) > time.Second {
					t.Errorf("%+v, %v", res, err)
				}
			}
			if l := w.lease(0); l.State != lease.Active {
				t.Errorf("a lease was expired: %s", l.State)
			}
			if n := strings.Count(log.String(), "\n"); n != 1 {
				t.Errorf("%d lines: %s", n, log.String())
			}
			if err := w.store.Resume(w.Context(), 0, event.Position{}, store.Write{}); err != nil {
				w.Fatal(err)
			}
			if res, err := w.process(); err != nil || res.Ended != 2 {
				t.Errorf("%+v, %v", res, err)
			}
			w.ended(true, true, true, true)
			if n := strings.Count(log.String(), "\n"); n != 2 {
				t.Errorf("%d lines: %s", n, log.String())
			}
		})
	}
	bubble(t, 1, func(w *world) {
		long := w.apply(w.leases[0].ID, lease.Restore{Known: lease.Lease{
			Kind: lease.Secret, State: lease.Active, Version: 5, ExpiresAt: w.now().Add(time.Hour),
		}})
		if err := w.store.Suspend(w.Context(), store.Suspension{Reason: "rewound"}); err != nil {
			w.Fatal(err)
		}
		if res, err := w.process(); err != nil || len(res.Later) != 1 || !res.Later[0].At.Equal(long.ExpiresAt) {
			t.Errorf("a lease that is not due: %+v, %v", res, err)
		}
	})
}

// A5: after a jump of the store's clock nothing is expired by it, but what is in
// revoking goes on.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	bubble(t, 3, func(w *world) {
		w.apply(w.leases[1].ID, lease.Revoke{})
		w.store.off = time.Hour
		w.now()
		if !w.estimate.Paused() {
			t.Fatal("the jump was not noticed")
		}
		if res, err := w.process(); err != nil || res.Ended != 1 {
			t.Errorf("%+v, %v", res, err)
		}
		w.ended(false, true, false)
		if l := w.lease(0); l.State != lease.Active {
			t.Errorf("a lease was expired by a clock in doubt: %s", l.State)
		}
		time.Sleep(30 * time.Second)
		if _, err := w.process(); err != nil {
			t.Error(err)
		}
		w.ended(true, true, true)
	})
}
