package sim_test

import (
	"context"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/expiry/memory"
)

// odds are how likely a call meets what. Each seed has its own, and most have
// some of them at zero: what hides behind one fault is found without it.
type odds struct {
	slow, fail, lose, kill float64
	creep                  float64 // of creations
	partly                 float64 // of what is done in part
	disorder               float64 // of events
	leaves                 float64 // of clients
}

func drawOdds(s *scheduler) odds {
	some := func(most float64) float64 {
		if s.chance(0.4) {
			return 0
		}
		return most * s.rand.Float64()
	}
	return odds{
		slow: some(0.05), creep: some(0.5), fail: some(0.03), lose: some(0.03), kill: some(0.003),
		partly: some(0.2), disorder: some(0.3), leaves: some(0.2),
	}
}

// judge says what becomes of a call.
func (w *world) judge(c *call) verdict {
	late := c.orphan
	local := c.method == "ledger.Open" || c.method == "ledger.Close" // a lock on a file is there or not
	if !w.chaos || w.checks.over || local {
		return verdict{skip: late && w.checks.over}
	}
	if until, ok := w.away[c.target]; ok && time.Now().Before(until) {
		if !c.delayed && w.chance(0.2) { // it hangs
			return verdict{wait: w.between(time.Second, 20*time.Second)}
		}
		return verdict{skip: true, err: errAway}
	}
	if c.method == "target.Create" && !c.delayed && w.chance(w.odds.creep) { // time for what is to be checked twice
		takes := w.between(100*time.Millisecond, grace+2*time.Second)
		if w.chance(0.7) {
			before := takes / 2
			if w.chance(0.7) { // its own steps go on between those of the activation
				before = 0
			}
			w.later(takes-before, "withdrawal meanwhile", w.clients.withdraw)
		}
		return verdict{wait: takes}
	}
	if !c.delayed && w.chance(w.odds.slow) {
		most := 3 * time.Second
		if w.chance(0.1) {
			most = 20 * time.Second
		}
		return verdict{wait: w.between(time.Millisecond, most)}
	}
	if late {
		return verdict{skip: w.chance(0.5)}
	}
	switch {
	case w.chance(w.odds.fail):
		return verdict{skip: true, err: errAway}
	case w.chance(w.odds.lose):
		return verdict{err: errLost}
	case w.chance(w.odds.kill):
		return verdict{kill: true, skip: w.chance(0.5)}
	}
	return verdict{}
}

// disorder lets events come twice, late and in another order.
func (w *world) disorder(events []event.Event) []event.Event {
	if !w.chaos || len(events) == 0 || !w.chance(w.odds.disorder) {
		return events
	}
	out := append([]event.Event(nil), events...)
	for range w.rand.IntN(3) {
		out = append(out, events[w.rand.IntN(len(events))])
	}
	w.rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// planFaults schedules what happens to whole systems.
func (w *world) planFaults() {
	kinds := []struct {
		name string
		most int
		do   func()
	}{
		{"outage", 4, w.outage},
		{"crash", 4, w.crash},
		{"pause", 2, w.pause},
		{"stream lost", 2, func() { _ = w.bus.Delete() }},
		{"tail of the stream lost", 2, func() { w.bus.LoseTail(1 + w.rand.IntN(20)) }},
		{"index emptied", 2, func() { w.index = memory.New() }},
		{"the store's clock jumps", 1, func() { w.storeClock.offset += w.between(time.Second, time.Minute) }},
		{"target refuses", 3, w.refuse},
		{"stray", 1, w.plant},
		{"target is back without its last commits", 1, w.revive},
	}
	for _, k := range kinds {
		if w.chance(0.4) {
			continue
		}
		for n := range w.rand.IntN(k.most + 1) {
			w.later(time.Duration(w.rand.Int64N(int64(chaosLasts))), fmt.Sprintf("%s %d", k.name, n), func() {
				w.note("fault: %s", k.name)
				k.do()
			})
		}
	}
}

func (w *world) outage() {
	systems := []string{"store", "bus", "index", "ledger", "target.one", "target.two"}
	system := systems[w.rand.IntN(len(systems))]
	lasts := w.between(time.Second, 20*time.Second)
	w.away[system] = time.Now().Add(lasts)
	w.later(lasts, system+" is back", func() {
		if until := w.away[system]; !until.After(time.Now()) {
			delete(w.away, system)
		}
	})
	w.note("%s is away", system)
}

func (w *world) crash() {
	all := w.roles()
	if r := all[w.rand.IntN(len(all))]; r.now != nil {
		r.now.kill()
	}
}

// pause stops a process for a while, as its machine may do.
func (w *world) pause() {
	all := w.roles()
	r := all[w.rand.IntN(len(all))]
	if r.now == nil {
		return
	}
	w.note("%s stands still", r.now.name)
	r.now.paused = time.Now().Add(w.between(time.Second, 30*time.Second))
}

// refuse makes the next calls of a kind fail in the target itself.
func (w *world) refuse() {
	methods := []enginetest.Method{enginetest.MethodCreate, enginetest.MethodDisable, enginetest.MethodRemove, enginetest.MethodRenew}
	kinds := []engine.Kind{engine.Refused, engine.Conflict, engine.Busy, engine.Internal, engine.Unreachable}
	heal := w.engine.Inject(enginetest.Fault{
		Method: methods[w.rand.IntN(len(methods))], Times: 1 + w.rand.IntN(3), After: w.chance(0.5),
		Err: &engine.Error{Kind: kinds[w.rand.IntN(len(kinds))], Message: "injected"},
	})
	w.heals = append(w.heals, heal)
}

// plant makes an account with our mark that never had a lease (B3).
func (w *world) plant() {
	name := fmt.Sprintf("v-fake-planted-%d", w.rand.IntN(100))
	if _, err := w.engine.Probe("target.one").Add(name, true); err != nil {
		w.t.Fatal(err)
	}
	w.checks.odd[name] = true
}

// revive brings accounts back that were taken away, as a target does that
// crashed with asynchronous commit (C6).
func (w *world) revive() {
	for _, gone := range w.checks.lately() {
		if _, err := w.engine.Probe(gone.Target).Add(gone.Account, true); err != nil {
			w.t.Fatal(err)
		}
		w.checks.odd[gone.Account] = true
		w.note("%s is back in %s", gone.Account, gone.Target)
	}
}

// mended tells the pipeline that whatever was refused may work now (C8).
func (w *world) mended() {
	for _, target := range []string{"target.one", "target.two"} {
		err := w.store.Append(context.Background(), event.Event{Type: event.ConfigChanged, Subject: target, Data: event.Data{Target: target}})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}
