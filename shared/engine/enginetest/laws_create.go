package enginetest

import (
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
)

func planChangesNothing(tb testing.TB, h Harness) {
	tb.Helper()
	i := plan(tb, h, h.Path)
	wantExists(tb, h, i.plan.Account, false)
	if i.plan.Account == "" || i.plan.Target == "" || len(i.plan.Frozen) == 0 || i.plan.Role == "" {
		tb.Errorf("plan lacks account, target, role or what is frozen: %q %q %q", i.plan.Account, i.plan.Target, i.plan.Role)
	}
	if i.plan.Grace <= 0 {
		tb.Errorf("grace of %s: a creation needs time", i.plan.Grace)
	}
	if j := plan(tb, h, h.Path); j.plan.Account == i.plan.Account {
		tb.Errorf("two leases share the name %s", j.plan.Account)
	}
	id := lease.NewID(h.Mount + "no/such/path")
	p, err := h.Engine.Plan(tb.Context(), request(h, engine.Read, "no/such/path", id))
	if p != nil || err != nil {
		tb.Errorf("plan of a path that issues nothing: %v, %v; want nil, nil", p, err)
	}
	p, err = h.Engine.Plan(tb.Context(), request(h, engine.Read, h.Path+"-unknown", id))
	if p != nil {
		tb.Errorf("plan of an unknown role")
	}
	wantKind(tb, err, nil, engine.Invalid)
}

func createWorks(tb testing.TB, h Harness) {
	tb.Helper()
	i := issue(tb, h)
	if got := i.made.Data["username"]; got != i.plan.Account {
		tb.Errorf("user name %v, planned %s", got, i.plan.Account)
	}
	wantExists(tb, h, i.name(), true)
	wantLogin(tb, h, i.name(), i.password(tb), true)
	wantLogin(tb, h, i.name(), i.password(tb)+"x", false)
	wantExpiry(tb, h, i.name(), term)
}

// wantExpiry checks that the target closes the account after the term by its
// own clock, and not long after (B8).
func wantExpiry(tb testing.TB, h Harness, name string, left time.Duration) {
	tb.Helper()
	now, err := h.Target.Now(tb.Context())
	if err != nil {
		tb.Fatalf("read the target's clock: %v", err)
	}
	at, err := h.Target.Expiry(tb.Context(), name)
	if err != nil {
		tb.Fatalf("read the expiry of %s: %v", name, err)
	}
	// The expiry was set before now was read: what is left has shrunk since.
	if got := at.Sub(now); at.IsZero() || got > left+marginMax || got < left-marginMax {
		tb.Errorf("target closes %s in %s, the lease in %s", name, got, left)
	}
}

func createAfterDeadline(tb testing.TB, h Harness) {
	tb.Helper()
	late, good := plan(tb, h, h.Path), plan(tb, h, h.Path)
	past(tb, h, late)
	out := h.Engine.Create(tb.Context(), late.lease.Target, creations([]*issued{late, good}))
	if len(out) != 2 {
		tb.Fatalf("create answered %d of 2 leases", len(out))
	}
	wantKind(tb, out[0].Err, []string{late.secret.Reveal()}, engine.Conflict, engine.Busy, engine.Unreachable)
	wantExists(tb, h, late.name(), false)
	if out[1].Err != nil {
		tb.Errorf("its neighbour failed: %s", describe(out[1].Err))
	}
	wantExists(tb, h, good.name(), true)
}

func batchIsolation(tb testing.TB, h Harness) {
	tb.Helper()
	batch := []*issued{plan(tb, h, h.Path), plan(tb, h, h.BadPath), plan(tb, h, h.Path)}
	out := h.Engine.Create(tb.Context(), batch[0].lease.Target, creations(batch))
	if len(out) != len(batch) {
		tb.Fatalf("create answered %d of %d leases", len(out), len(batch))
	}
	for _, n := range []int{0, 2} {
		if out[n].Err != nil {
			tb.Errorf("lease %d: %s", n, describe(out[n].Err))
			continue
		}
		activate(tb, h, batch[n], out[n])
		if got := out[n].Data["username"]; got != batch[n].name() {
			tb.Errorf("outcome %d is of %v, want %s", n, got, batch[n].name())
		}
		wantLogin(tb, h, batch[n].name(), batch[n].password(tb), true)
	}
	wantKind(tb, out[1].Err, []string{batch[1].secret.Reveal()}, engine.Refused, engine.Invalid)
	wantExists(tb, h, batch[1].name(), false)
}

func renewMovesExpiry(tb testing.TB, h Harness) {
	tb.Helper()
	i, other := issue(tb, h), plan(tb, h, h.Path) // other was never created
	var last engine.Renewed
	for n, left := range []time.Duration{5 * time.Hour, 2 * time.Hour} {
		this := engine.Renewal{Lease: i.lease, Remaining: left}
		if n > 0 { // an earlier time
			this.If = last.Now
		}
		out := h.Engine.Renew(tb.Context(), i.lease.Target, []engine.Renewal{this, {Lease: other.lease, Remaining: left}})
		if len(out) != 2 {
			tb.Fatalf("renew answered %d of 2 leases", len(out))
		}
		if out[0].Err != nil {
			tb.Fatalf("renew: %s", describe(out[0].Err))
		}
		if n > 0 && out[0].Was != last.Now {
			tb.Errorf("the expiry was %q, after a renewal that left %q", out[0].Was, last.Now)
		}
		last = out[0]
		wantKind(tb, out[1].Err, nil, engine.NotFound, engine.Refused, engine.Conflict)
		wantExpiry(tb, h, i.name(), left)
		wantLogin(tb, h, i.name(), i.password(tb), true)
		wantExists(tb, h, other.name(), false)
	}
}

// renewGivesWay: a renewal never takes away what another one gave (B9).
func renewGivesWay(tb testing.TB, h Harness) {
	tb.Helper()
	i := issue(tb, h)
	renew := func(r engine.Renewal) engine.Renewed {
		tb.Helper()
		r.Lease = i.lease
		out := h.Engine.Renew(tb.Context(), i.lease.Target, []engine.Renewal{r})
		if len(out) != 1 {
			tb.Fatalf("renew answered %d of 1 leases", len(out))
		}
		return out[0]
	}
	moved := func(r engine.Renewal) engine.Renewed {
		tb.Helper()
		out := renew(r)
		if out.Err != nil {
			tb.Fatalf("renew: %s", describe(out.Err))
		}
		if out.Now == "" || out.Was == "" || out.Was == out.Now {
			tb.Fatalf("renew moved the expiry from %q to %q", out.Was, out.Now)
		}
		return out
	}
	first := moved(engine.Renewal{Remaining: 5 * time.Hour})
	second := moved(engine.Renewal{Remaining: 2 * time.Hour}) // does not make it earlier, and can be told from the first
	if second.Was != first.Now {
		tb.Errorf("the second found %q, the first left %q", second.Was, first.Now)
	}
	wantExpiry(tb, h, i.name(), 5*time.Hour)
	for _, late := range []engine.Renewal{{Remaining: time.Hour, If: first.Now}, {If: first.Now, To: first.Was}} {
		wantKind(tb, renew(late).Err, nil, engine.Conflict)
		wantExpiry(tb, h, i.name(), 5*time.Hour)
	}
	third := moved(engine.Renewal{Remaining: 8 * time.Hour})
	wantExpiry(tb, h, i.name(), 8*time.Hour)
	if back := moved(engine.Renewal{If: third.Now, To: third.Was}); back.Now != third.Was {
		tb.Errorf("the expiry went back to %q, not to %q", back.Now, third.Was)
	}
	wantExpiry(tb, h, i.name(), 5*time.Hour)
	moved(engine.Renewal{Remaining: time.Hour, If: third.Was})
	wantExpiry(tb, h, i.name(), time.Hour)
	wantLogin(tb, h, i.name(), i.password(tb), true)
}
