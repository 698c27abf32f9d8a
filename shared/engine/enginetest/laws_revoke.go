package enginetest

import (
	"sync"
	"testing"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
)

func disableEndsAccess(tb testing.TB, h Harness) {
	tb.Helper()
	i, neighbour := issue(tb, h), issue(tb, h)
	mine, theirs := session(tb, h, i), session(tb, h, neighbour)
	leases := revoke(tb, h, i)
	disable(tb, h, leases)
	wantLogin(tb, h, i.name(), i.password(tb), false)
	if mine.Alive(tb.Context()) {
		tb.Errorf("the session of %s lives on", i.name())
	}
	wantExists(tb, h, i.name(), true)
	if !theirs.Alive(tb.Context()) {
		tb.Errorf("the session of %s, which was not revoked, was ended", neighbour.name())
	}
	wantLogin(tb, h, neighbour.name(), neighbour.password(tb), true)
	disable(tb, h, leases)
	remove(tb, h, leases)
	disable(tb, h, leases) // what is gone is disabled
}

func session(tb testing.TB, h Harness, i *issued) Session {
	tb.Helper()
	s, err := h.Target.Session(tb.Context(), i.name(), i.password(tb))
	if err != nil {
		tb.Fatalf("open a session as %s: %v", i.name(), err)
	}
	tb.Cleanup(s.Close)
	if !s.Alive(tb.Context()) {
		tb.Fatalf("a session of %s is dead from the start", i.name())
	}
	return s
}

func removeProvesAbsence(tb testing.TB, h Harness) {
	tb.Helper()
	i, j, neighbour := issue(tb, h), issue(tb, h), issue(tb, h)
	open := session(tb, h, j)
	first := revoke(tb, h, i)
	disable(tb, h, first)
	remove(tb, h, first)
	wantExists(tb, h, i.name(), false)
	second := revoke(tb, h, j) // no Disable: Remove repeats the stages itself
	for _, o := range remove(tb, h, second) {
		if !o.Disabled || !o.SessionsEnded {
			tb.Errorf("gone, but not disabled with its sessions ended: %+v", o)
		}
	}
	wantExists(tb, h, j.name(), false)
	if open.Alive(tb.Context()) {
		tb.Errorf("the session of %s lives on", j.name())
	}
	remove(tb, h, []lease.Lease{first[0], second[0]})
	wantExists(tb, h, neighbour.name(), true)
	wantLogin(tb, h, neighbour.name(), neighbour.password(tb), true)
}

func removeBatch(tb testing.TB, h Harness) {
	tb.Helper()
	batch := []*issued{issue(tb, h), plan(tb, h, h.Path), issue(tb, h)} // the middle one may still be created
	leases := revoke(tb, h, batch...)
	out := h.Engine.Remove(tb.Context(), leases[0].Target, leases)
	if len(out) != len(leases) {
		tb.Fatalf("remove answered %d of %d leases", len(out), len(leases))
	}
	wantKind(tb, out[1].Err, nil, engine.NotYet)
	if out[1].Gone {
		tb.Errorf("gone before its deadline")
	}
	remove(tb, h, []lease.Lease{leases[0], leases[2]})
	for _, n := range []int{0, 2} {
		wantExists(tb, h, batch[n].name(), false)
		if e := checkError(tb, out[n].Err); e != nil && (e.Parks() || e.Kind == engine.NotYet) {
			tb.Errorf("lease %d was held up by its neighbour: %s", n, describe(e))
		}
	}
}

func neverCreated(tb testing.TB, h Harness) {
	tb.Helper()
	i := plan(tb, h, h.Path)
	leases := revoke(tb, h, i)
	out := h.Engine.Remove(tb.Context(), leases[0].Target, leases)
	if len(out) != 1 || out[0].Gone {
		tb.Fatalf("absence of an account that may still be created: %+v", out)
	}
	wantKind(tb, out[0].Err, nil, engine.NotYet)
	past(tb, h, i)
	leases = []lease.Lease{i.lease}
	disable(tb, h, leases)
	remove(tb, h, leases)
	wantExists(tb, h, i.name(), false)
	remove(tb, h, leases)
	// The creation that comes late all the same finds the fence.
	late := h.Engine.Create(tb.Context(), i.lease.Target, []engine.Creation{i.creation()})
	if len(late) != 1 || late[0].Err == nil {
		tb.Errorf("a creation after the roll-back was reported as made")
	}
	wantExists(tb, h, i.name(), false)
}

func lostAnswer(tb testing.TB, h Harness) {
	tb.Helper()
	i := plan(tb, h, h.Path)
	h.Target.LoseAnswer()
	out := h.Engine.Create(tb.Context(), i.lease.Target, []engine.Creation{i.creation()})
	if len(out) != 1 {
		tb.Fatalf("create answered %d of 1 leases", len(out))
	}
	if out[0].Err != nil { // an engine that can look again may know that it was made
		wantKind(tb, out[0].Err, []string{i.secret.Reveal()}, engine.Unreachable, engine.Conflict, engine.Internal)
	}
	wantExists(tb, h, i.name(), true) // or the harness lost nothing
	leases := revoke(tb, h, i)
	past(tb, h, i)
	leases[0].CreateDeadline = i.lease.CreateDeadline
	remove(tb, h, leases)
	wantExists(tb, h, i.name(), false)
}

func twoWorkers(tb testing.TB, h Harness) {
	tb.Helper()
	batch := []*issued{issue(tb, h), issue(tb, h), issue(tb, h)}
	leases := revoke(tb, h, batch...)
	together(tb,
		worker{h.Engine.Remove, leases, gone},
		worker{h.Engine.Remove, leases, gone},
		worker{h.Engine.Remove, []lease.Lease{leases[2], leases[0]}, gone},
	)
	for _, i := range batch {
		wantExists(tb, h, i.name(), false)
	}
}

func raceOfStages(tb testing.TB, h Harness) {
	tb.Helper()
	i := issue(tb, h)
	leases := revoke(tb, h, i)
	together(tb, worker{h.Engine.Disable, leases, disabled}, worker{h.Engine.Remove, leases, gone})
	wantExists(tb, h, i.name(), false)
}

// worker is one claim of a batch.
type worker struct {
	do     stage
	leases []lease.Lease
	done   func(engine.Outcome) bool
}

func together(tb testing.TB, workers ...worker) {
	tb.Helper()
	var wg sync.WaitGroup
	for n, w := range workers {
		wg.Go(func() {
			if _, err := persist(tb, w.leases, w.do, w.done); err != nil {
				tb.Errorf("worker %d: %v", n, err)
			}
		})
	}
	wg.Wait()
}

func unknownTarget(tb testing.TB, h Harness) {
	tb.Helper()
	i := issue(tb, h)
	leases := revoke(tb, h, i)
	const nowhere = "no-such-target"
	leases[0].Target = nowhere
	for name, do := range map[string]stage{"disable": h.Engine.Disable, "remove": h.Engine.Remove} {
		out := do(tb.Context(), nowhere, leases)
		if len(out) != 1 {
			tb.Fatalf("%s answered %d of 1 leases", name, len(out))
		}
		wantKind(tb, out[0].Err, nil, engine.NotFound)
		if out[0].Gone || out[0].Disabled || out[0].SessionsEnded || out[0].RanOut {
			tb.Errorf("%s in an unknown target claims an effect: %+v", name, out[0])
		}
	}
	made := h.Engine.Create(tb.Context(), nowhere, []engine.Creation{i.creation()})
	if len(made) != 1 {
		tb.Fatalf("create answered %d of 1 leases", len(made))
	}
	wantKind(tb, made[0].Err, []string{i.secret.Reveal()}, engine.NotFound)
	moved := h.Engine.Renew(tb.Context(), nowhere, []engine.Renewal{{Lease: i.lease, Remaining: term}})
	if len(moved) != 1 {
		tb.Fatalf("renew answered %d of 1 leases", len(moved))
	}
	wantKind(tb, moved[0].Err, nil, engine.NotFound)
	markNowhere(tb, h, nowhere)
	wantExists(tb, h, i.name(), true)
}
