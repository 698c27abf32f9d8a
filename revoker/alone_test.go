package revoker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/expiry/memory"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// These tests run with no stream and, where said, with an index that forgets
// everything: expiry works from the store alone, within the second of the
// overdue sweep.

func bubble(t *testing.T, name string, f func(w *world)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) { f(newWorld(t)) })
	})
}

// amnesia is an index that forgets every offer.
type amnesia struct{ *memory.Index }

func (amnesia) Offer(context.Context, ...expiry.Member) error { return nil }

// broken is an index that answers nothing.
type broken struct{ *memory.Index }

func (broken) Offer(context.Context, ...expiry.Member) error { return fmt.Errorf("index is away") }
func (broken) Upcoming(context.Context, time.Time) ([]expiry.Upcoming, error) {
	return nil, fmt.Errorf("index is away")
}

func TestExpiryFromTheStoreAlone(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(w *world) func(){
		"memory index": func(w *world) func() { return w.run() },
		"index that forgets": func(w *world) func() {
			cfg := alone()
			cfg.Fallback = memory.New()
			return w.start(cfg, amnesia{memory.New()})
		},
		"index that is away": func(w *world) func() {
			cfg := alone()
			cfg.Fallback = memory.New()
			return w.start(cfg, broken{memory.New()})
		},
	} {
		bubble(t, name, func(w *world) {
			defer start(w)()
			short, long := w.issue("a", 3*time.Second, ""), w.issue("b", time.Hour, "")
			l := w.wait(short.ID, 6*time.Second)
			w.ended(l)
			w.record(l)
			if late := l.Revocation.DisabledAt.Sub(l.ExpiresAt); late > 2*time.Second {
				w.Errorf("disabled %s after the expiry", late)
			}
			if l.Revocation.Reason != lease.ReasonExpired || l.Revocation.By.Name != lease.ActorExpiry {
				w.Errorf("reason %q by %q", l.Revocation.Reason, l.Revocation.By.Name)
			}
			if !w.exists(long) || w.lease(long.ID).State != lease.Active {
				w.Error("a lease that runs was touched")
			}
		})
	}
}

func TestRevokeNow(t *testing.T) {
	t.Parallel()
	bubble(t, "", func(w *world) {
		defer w.run()()
		l := w.issue("a", time.Hour, "")
		w.apply(change(l.ID, lease.AnyVersion, lease.Revoke{}))
		l = w.wait(l.ID, 3*time.Second)
		w.ended(l)
		if l.Revocation.Reason != "test" {
			w.Errorf("reason is %q", l.Revocation.Reason)
		}
	})
}

// B1: an intent that nobody confirmed is rolled back after its grace, whether
// or not its account was made.
func TestUnconfirmedIntents(t *testing.T) {
	t.Parallel()
	bubble(t, "", func(w *world) {
		never, _ := w.intent("a", time.Hour, "")
		made, p := w.intent("a", time.Hour, "")
		if c := w.create(made, p); c.Err != nil {
			w.Fatal(c.Err)
		}
		defer w.run()()
		time.Sleep(grace - time.Second)
		if w.lease(made.ID).State != lease.Intent {
			w.Error("an intent was rolled back before its grace was over")
		}
		for _, l := range []lease.Lease{never, made} {
			l = w.wait(l.ID, grace+30*time.Second)
			if l.State != lease.Revoked || l.Confirmed() || w.exists(l) {
				w.Errorf("intent ended as %s, confirmed %t", l.State, l.Confirmed())
			}
			w.record(l)
		}
	})
}

// Promises 3 and 4, C8: a target that is down delays nobody else, is probed,
// and its whole backlog goes at once when it answers again.
func TestTargetDown(t *testing.T) {
	t.Parallel()
	bubble(t, "", func(w *world) {
		defer w.run()()
		heal := w.engine.Inject(enginetest.Fault{Method: enginetest.MethodDisable})
		down := make([]lease.Lease, 300)
		for i := range down {
			down[i] = w.issue("a", 2*time.Second, "")
		}
		time.Sleep(10 * time.Minute)
		for _, l := range down {
			if l = w.lease(l.ID); l.State.Final() {
				w.Fatalf("lease ended while its target is down: %+v", l.Revocation)
			}
		}
		before := w.engine.Calls(enginetest.MethodDisable)
		time.Sleep(10 * time.Minute)
		if n := w.engine.Calls(enginetest.MethodDisable) - before; n > 60 {
			w.Errorf("a target that is down was asked %d times in ten minutes", n)
		}
		heal()
		for _, l := range down {
			w.ended(w.wait(l.ID, time.Minute+5*time.Second))
		}
		w.record(down...)
	})
	// Whatever the delay of the probes has grown to: the sweep that asks every ten
	// seconds hears of the return, and the backlog begins to go then.
	bubble(t, "its return is noticed", func(w *world) {
		defer w.run()()
		var heals []func()
		for _, m := range []enginetest.Method{enginetest.MethodDisable, enginetest.MethodGhosts} {
			heals = append(heals, w.engine.Inject(enginetest.Fault{Method: m}))
		}
		down := make([]lease.Lease, 10)
		for i := range down {
			down[i] = w.issue("a", 2*time.Second, "")
		}
		for range 3 {
			time.Sleep(4*time.Minute + 7*time.Second) // the delay is a minute by now
			for _, heal := range heals {
				heal()
			}
			back := time.Now()
			for _, l := range down {
				w.ended(w.wait(l.ID, 12*time.Second))
			}
			if took := time.Since(back); took > 12*time.Second {
				w.Errorf("they were gone only %s after the return", took)
			}
			heals = heals[:0]
			for _, m := range []enginetest.Method{enginetest.MethodDisable, enginetest.MethodGhosts} {
				heals = append(heals, w.engine.Inject(enginetest.Fault{Method: m}))
			}
			for i := range down {
				down[i] = w.issue("a", 2*time.Second, "")
			}
		}
	})
	bubble(t, "the other target stays on time", func(w *world) {
		defer w.run()()
		away := w.issue("a", time.Second, "")
		defer w.engine.Inject(enginetest.Fault{Method: enginetest.MethodDisable, Account: away.Account})()
		time.Sleep(30 * time.Second)
		other := w.issue("b", 2*time.Second, "")
		l := w.wait(other.ID, 4*time.Second)
		w.ended(l)
		if late := l.Revocation.DisabledAt.Sub(l.ExpiresAt); late > time.Second {
			w.Errorf("the other target's lease was disabled %s late", late)
		}
	})
}

// C8: what needs a person is parked with its reason, never ends by itself, and
// goes on by itself once mended.
func TestParked(t *testing.T) {
	t.Parallel()
	bubble(t, "", func(w *world) {
		defer w.run()()
		l := w.issue("a", time.Second, "")
		heal := w.engine.Inject(enginetest.Fault{
			Method: enginetest.MethodRemove, Account: l.Account,
			Err: &engine.Error{Kind: engine.Refused, Message: "must be owner of table items"},
		})
		time.Sleep(2 * time.Hour)
		r := w.lease(l.ID).Revocation
		if !r.Parked || r.LastError != "must be owner of table items" || r.Attempts < 6 {
			w.Errorf("after two hours: %+v", r)
		}
		heal()
		w.ended(w.wait(l.ID, 16*time.Minute))
		w.record(l)
	})
}

// Each call of the engine fails both ways, at every place: not done, and done
// but not answered. The account is gone in the end and the record is whole.
func TestEachCallFailsBothWays(t *testing.T) {
	t.Parallel()
	for _, m := range []enginetest.Method{enginetest.MethodDisable, enginetest.MethodRemove} {
		for _, after := range []bool{false, true} {
			for _, kind := range []engine.Kind{engine.Unreachable, engine.Conflict, engine.Internal, engine.Busy} {
				bubble(t, fmt.Sprintf("%s after=%t %s", m, after, kind), func(w *world) {
					defer w.run()()
					w.engine.Inject(enginetest.Fault{Method: m, After: after, Times: 3, Err: &engine.Error{Kind: kind, Message: "injected"}})
					leases := []lease.Lease{w.issue("a", time.Second, ""), w.issue("a", time.Second, ""), w.issue("b", time.Second, "")}
					for _, l := range leases {
						w.ended(w.wait(l.ID, 2*time.Minute))
					}
					w.record(leases...)
				})
			}
		}
	}
}

// One lease at fault fails only itself (promise 4).
func TestOneAtFault(t *testing.T) {
	t.Parallel()
	bubble(t, "", func(w *world) {
		defer w.run()()
		leases := make([]lease.Lease, 200)
		for i := range leases {
			leases[i] = w.issue("a", 2*time.Second, "")
		}
		bad := leases[77]
		defer w.engine.Inject(enginetest.Fault{
			Method: enginetest.MethodRemove, Account: bad.Account,
			Err: &engine.Error{Kind: engine.Refused, Message: "refused"},
		})()
		for _, l := range leases {
			if l.ID != bad.ID {
				l = w.wait(l.ID, 5*time.Second)
				w.ended(l)
			}
		}
		if r := w.lease(bad.ID).Revocation; r.DisabledAt.IsZero() {
			w.Error("the lease at fault was not even disabled")
		}
	})
}

// A3: a token's end takes its leases and child tokens with it; orphans and
// other tokens' leases stay.
func TestTokenEnds(t *testing.T) {
	t.Parallel()
	bubble(t, "", func(w *world) {
		token := func(parent lease.ID, ttl time.Duration) lease.Lease {
			return w.apply(change(lease.NewID("auth/token/create"), 0, lease.Begin{Lease: lease.Lease{
				Kind: lease.Token, TokenID: parent, TTL: ttl, Account: lease.RandomBase62(24),
			}}))
		}
		root := token("", 0)
		parent := token(root.ID, time.Hour)
		child := token(parent.ID, time.Hour)
		orphan := token("", time.Hour)
		mine, childs, orphans := w.issue("a", time.Hour, parent.ID), w.issue("b", time.Hour, child.ID), w.issue("a", time.Hour, orphan.ID)
		open, p := w.intent("a", time.Hour, parent.ID)
		defer w.run()()
		w.apply(change(parent.ID, lease.AnyVersion, lease.Revoke{}))
		for _, id := range []lease.ID{parent.ID, child.ID} {
			if l := w.wait(id, 10*time.Second); l.State != lease.Revoked {
				w.Errorf("token ended as %s", l.State)
			}
		}
		w.ended(w.wait(mine.ID, 10*time.Second))
		w.ended(w.wait(childs.ID, 10*time.Second))
		// An intent under way meets the withdrawal at its activation, or was
		// taken by the listing.
		if c := w.create(open, p); c.Err == nil {
			w.store.Apply(context.Background(), store.Transition{
				Change: change(open.ID, open.Version, lease.Activate{Handle: c.Handle}), Guard: store.Guard{Token: parent.ID},
			})
		}
		if l := w.wait(open.ID, time.Minute); w.exists(l) {
			w.Error("an intent of the token left an account")
		}
		if w.lease(orphan.ID).State != lease.Active || w.lease(root.ID).State != lease.Active || w.lease(orphans.ID).State != lease.Active {
			w.Error("an orphan, its lease or the root token went with a token that is not theirs")
		}
	})
	bubble(t, "leaving its child tokens", func(w *world) {
		defer w.run()()
		token := func(parent lease.ID) lease.Lease {
			return w.apply(change(lease.NewID("auth/token/create"), 0, lease.Begin{Lease: lease.Lease{
				Kind: lease.Token, TokenID: parent, TTL: time.Hour, Account: lease.RandomBase62(24),
			}}))
		}
		parent := token("")
		child := token(parent.ID)
		mine, childs := w.issue("a", time.Hour, parent.ID), w.issue("b", time.Hour, child.ID)
		w.apply(change(parent.ID, lease.AnyVersion, lease.Revoke{KeepTokens: true}))
		if l := w.wait(parent.ID, 10*time.Second); l.State != lease.Revoked {
			w.Errorf("token ended as %s", l.State)
		}
		w.ended(w.wait(mine.ID, 10*time.Second))
		if w.lease(child.ID).State != lease.Active || w.lease(childs.ID).State != lease.Active {
			w.Error("a child token that was to stay went with its parent, or its lease did")
		}
	})
	bubble(t, "used up", func(w *world) {
		defer w.run()()
		token := w.apply(change(lease.NewID("auth/token/create"), 0, lease.Begin{Lease: lease.Lease{Kind: lease.Token, TTL: time.Hour, Uses: 1}}))
		l := w.issue("a", time.Hour, token.ID)
		w.apply(change(token.ID, lease.AnyVersion, lease.Use{}))
		w.ended(w.wait(l.ID, 10*time.Second))
		if ended := w.wait(token.ID, 10*time.Second); ended.State != lease.Revoked {
			w.Errorf("the token ended as %s", ended.State)
		}
	})
	bubble(t, "by expiry", func(w *world) {
		defer w.run()()
		token := w.apply(change(lease.NewID("auth/token/create"), 0, lease.Begin{Lease: lease.Lease{Kind: lease.Token, TTL: 5 * time.Second}}))
		l := w.issue("a", time.Hour, token.ID)
		l = w.wait(l.ID, 10*time.Second)
		w.ended(l)
		if !strings.Contains(l.Revocation.Reason, "token") || l.Revocation.By.Name != lease.ActorToken {
			w.Errorf("reason %q by %q", l.Revocation.Reason, l.Revocation.By.Name)
		}
	})
}

// A4: a prefix revocation whose caller died after the barrier is finished;
// what was issued later is not touched.
func TestBarrierIsFinished(t *testing.T) {
	t.Parallel()
	bubble(t, "", func(w *world) {
		before, other := w.issue("a", time.Hour, ""), w.issue("b", time.Hour, "")
		b, err := w.store.Raise(context.Background(), store.Barrier{
			Operation: "op", Prefix: mount + "creds/a/", By: lease.Actor{Name: "tester"}, Reason: "prefix was revoked",
		})
		if err != nil {
			w.Fatal(err)
		}
		after := w.issue("a", time.Hour, "")
		defer w.run()()
		w.ended(w.wait(before.ID, 10*time.Second))
		time.Sleep(59 * time.Minute) // "after" lives as long
		if e, err := w.store.Entry(context.Background(), store.KindBarrier, b.Operation); err != nil {
			w.Errorf("the operation cannot be read any more: %v", err)
		} else if b, err := store.DecodeBarrier(e.Value); err != nil || b.FinishedAt.IsZero() || b.Total != 1 {
			w.Errorf("operation %s, %v", e.Value, err)
		}
		if w.lease(after.ID).State != lease.Active || w.lease(other.ID).State != lease.Active {
			w.Error("a lease that the barrier does not cover was taken")
		}
		time.Sleep(2 * time.Minute)
		if e, err := w.store.Entry(context.Background(), store.KindBarrier, b.Operation); err == nil {
			w.Errorf("the barrier was kept: %s", e.Value)
		}
	})
}

// A2: a mount that is disabled takes its leases with it and is then removed.
func TestMountIsDisabled(t *testing.T) {
	t.Parallel()
	bubble(t, "", func(w *world) {
		ctx := context.Background()
		put, err := w.store.Write(ctx, store.Write{Puts: []store.Entry{{Kind: store.KindMount, Key: mount, Value: json.RawMessage(`{}`)}}})
		if err != nil {
			w.Fatal(err)
		}
		w.engine.AddRole("a", enginetest.FakeRole{MountID: put[0].ID, Target: "a"})
		id := lease.NewID(mount + "creds/a")
		p, err := w.engine.Plan(ctx, &engine.Request{Operation: engine.Read, MountID: put[0].ID, Mount: mount, Path: "creds/a", LeaseID: id})
		if err != nil {
			w.Fatal(err)
		}
		l := w.apply(change(id, 0, lease.Begin{Grace: grace, Lease: lease.Lease{
			Kind: lease.Secret, MountID: put[0].ID, Mount: mount, Engine: w.engine.Type(), Target: p.Target, Account: p.Account, Plan: p.Frozen, TTL: time.Hour,
		}}))
		made := w.create(l, p)
		w.apply(change(id, l.Version, lease.Activate{Handle: made.Handle}))
		ref := store.Ref{Kind: store.KindMount, ID: put[0].ID}
		if _, err := w.store.Write(ctx, store.Write{Withdrawals: []store.Ref{ref}}); err != nil {
			w.Fatal(err)
		}
		defer w.run()()
		w.ended(w.wait(id, 10*time.Second))
		time.Sleep(5 * time.Second)
		if _, err := w.store.EntryByID(ctx, ref.Kind, ref.ID); err == nil {
			w.Error("the mount is still there")
		}
		if ended := w.engine.Ended(); len(ended) == 0 || ended[0] != ref.ID {
			w.Errorf("the engine was told of %v", ended)
		}
	})
}

// B3: an account with our mark and no live lease is removed; others stay.
func TestStrays(t *testing.T) {
	t.Parallel()
	bubble(t, "", func(w *world) {
		ctx := context.Background()
		probe := w.engine.Probe("a")
		live := w.issue("a", time.Hour, "")
		if _, err := probe.Add("v-root-a-stray", true); err != nil {
			w.Fatal(err)
		}
		if _, err := probe.Add("somebody", false); err != nil {
			w.Fatal(err)
		}
		defer w.run()()
		time.Sleep(5 * time.Minute)
		if ok, _ := probe.Exists(ctx, "v-root-a-stray"); ok {
			w.Error("the stray account is still there")
		}
		if ok, _ := probe.Exists(ctx, "somebody"); !ok {
			w.Error("an account of somebody else was removed")
		}
		if !w.exists(live) {
			w.Error("the account of a live lease was removed")
		}
		found, err := w.store.Find(ctx, store.Query{Account: "v-root-a-stray"})
		if err != nil || len(found) != 1 || found[0].State != lease.Revoked || found[0].Kind != lease.Stray {
			w.Errorf("leases of the stray: %+v, %v", found, err)
		}
	})
}

// C7: two revokers on one store end each lease once.
func TestTwoRevokers(t *testing.T) {
	t.Parallel()
	bubble(t, "", func(w *world) {
		one, two := alone(), alone()
		two.Name = "two"
		defer w.start(one, memory.New())()
		defer w.start(two, memory.New())()
		leases := make([]lease.Lease, 500)
		for i := range leases {
			leases[i] = w.issue([]string{"a", "b"}[i%2], 3*time.Second, "")
		}
		for _, l := range leases {
			w.ended(w.wait(l.ID, 20*time.Second))
		}
		w.record(leases...)
	})
}

// A revoker that stops lets its flights land and leaves nothing running; the
// next one goes on.
func TestStopAndGoOn(t *testing.T) {
	t.Parallel()
	bubble(t, "", func(w *world) {
		hold, reached := make(chan struct{}), make(chan struct{}, 1)
		w.engine.Inject(enginetest.Fault{Method: enginetest.MethodRemove, Wait: hold, Reached: reached, Times: 1})
		stop := w.run()
		l := w.issue("a", time.Second, "")
		<-reached
		done := make(chan struct{})
		go func() { stop(); close(done) }()
		time.Sleep(time.Second)
		select {
		case <-done:
			w.Error("stopped while a flight was in the air")
		default:
		}
		close(hold)
		<-done
		w.ended(w.lease(l.ID))
		next := w.issue("a", time.Second, "")
		defer w.run()()
		w.ended(w.wait(next.ID, 10*time.Second))
	})
}
