package recovery_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/auditor/internal/recovery"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// last is what a record says last of a lease, in whichever order.
type last struct {
	event.Data
	born bool // its beginning is among the events
	over bool // it was seen revoking or ended
}

// said goes through events as slowly and simply as can be.
func said(events []event.Event) map[lease.ID]last {
	out := map[lease.ID]last{}
	for _, e := range events {
		if e.Data.LeaseID == "" {
			continue
		}
		l := out[e.Data.LeaseID]
		born, over := l.born || e.Data.Version == 1, l.over || !e.Data.State.Live()
		if e.Data.Version >= l.Version {
			l.Data = e.Data
		}
		l.born, l.over = born, over
		out[e.Data.LeaseID] = l
	}
	return out
}

// act does something random to the store.
func (w *world) act(r *rapid.T, tag string) {
	ids := func() lease.ID {
		var all []lease.ID
		for _, l := range w.fake.Leases() {
			if !l.State.Final() {
				all = append(all, l.ID)
			}
		}
		if len(all) == 0 {
			return "none"
		}
		return rapid.SampledFrom(all).Draw(r, "lease")
	}
	target := rapid.SampledFrom([]string{"t1", "t2", "t3"})
	name := fmt.Sprintf("%s-%d", tag, len(w.acts))
	acts := []func(){
		func() { w.begin(name, target.Draw(r, "target")) },
		func() { w.active(name, target.Draw(r, "target")) },
		func() { w.active(name, target.Draw(r, "target")) },
		func() { w.token(name) },
		func() { w.change(ids(), lease.Activate{Handle: []byte("oid")}) },
		func() {
			w.change(ids(), lease.Renew{Increment: time.Duration(rapid.IntRange(1, 20).Draw(r, "hours")) * time.Hour})
		},
		func() { w.change(ids(), lease.Revoke{}) },
		func() { w.end(ids(), true) },
		func() { w.change(ids(), lease.Progress{Failed: true, Error: "away", After: time.Minute}) },
		func() { w.request(tag) },
		func() { w.connection(target.Draw(r, "connection")) },
		func() { w.number() },
		func() { w.append(true); w.trim(w.confirmed()) },
		func() { w.number(); w.publish() },
	}
	acts[rapid.IntRange(0, len(acts)-1).Draw(r, "act")]()
}

func (w *world) confirmed() event.Position {
	p, err := w.fake.Confirmed(w.ctx, store.Ledger)
	if err != nil {
		w.t.Fatalf("confirmed: %v", err)
	}
	return p
}

// A7, the law: whatever happened before and after a copy was made, and whatever
// fails while it is recovered, the record's word holds.
func TestLaw(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(r)
		w.mount()
		w.connection("t1")
		for range rapid.IntRange(0, 30).Draw(r, "before") {
			w.act(r, "before")
		}
		copied := len(w.acts)
		for range rapid.IntRange(1, 30).Draw(r, "after") {
			w.act(r, "after")
		}
		w.append(true)
		if rapid.Bool().Draw(r, "tail") {
			w.act(r, "tail")
			w.number()
			w.publish()
		}
		for range rapid.IntRange(0, 8).Draw(r, "unheard") {
			w.unheard(r)
		}
		truth := w.fake.Leases()
		w.restore(copied)
		common := w.all(copied)
		for range rapid.IntRange(0, 8).Draw(r, "fork") {
			w.fork(r, "fork")
		}
		if rapid.Bool().Draw(r, "known to have lost") {
			if err := w.fake.Suspend(w.ctx, store.Suspension{Reason: "a test", Lost: true}); err != nil {
				r.Fatalf("suspend: %v", err)
			}
		}
		before := map[lease.ID]lease.Lease{}
		for _, l := range w.fake.Leases() {
			before[l.ID] = l
		}
		first := slices.Clone(w.ledger[1])
		connections := map[string]bool{}
		for _, id := range []string{"t1", "t2", "t3"} {
			_, err := w.fake.EntryByID(w.ctx, store.KindConnection, id)
			connections[id] = err == nil
		}
		broken := storetest.NewFaulty(w.fake)
		if rapid.Bool().Draw(r, "broken") {
			broken.Break(storetest.Fault{
				Method: rapid.SampledFrom([]string{"Confirmed", "Events", "Suspend", "Get", "Due", "EntryByID", "Apply", "Resume"}).Draw(r, "method"),
				Nth:    rapid.IntRange(1, 3).Draw(r, "nth"), Done: rapid.Bool().Draw(r, "done"),
			})
		}
		w.settle(w.auditor(broken, recovery.Config{Batch: rapid.IntRange(1, 40).Draw(r, "batch")}))
		w.check(r, common, before, first, connections)
		if len(w.reports()) > 0 {
			w.checkHeld(r, truth)
		}
	})
}

// unheard is done in the last moments, of which nothing is published or on
// record.
func (w *world) unheard(r *rapid.T) {
	w.clock.Advance(time.Duration(rapid.IntRange(0, 20).Draw(r, "later")) * time.Second)
	var intents []lease.ID
	for _, l := range w.fake.Leases() {
		if l.State == lease.Intent {
			intents = append(intents, l.ID)
		}
	}
	if len(intents) == 0 || rapid.Bool().Draw(r, "another") {
		w.active(fmt.Sprintf("unheard-%d", len(w.acts)), "t1")
		return
	}
	w.change(rapid.SampledFrom(intents).Draw(r, "confirmed"), lease.Activate{Handle: []byte("oid")})
}

// checkHeld: of a credential that a client was given, and that the store knows
// but as an intent, nothing is taken away before its time.
func (w *world) checkHeld(r *rapid.T, truth []lease.Lease) {
	r.Helper()
	for _, was := range truth {
		l := w.lease(was.ID)
		if was.State == lease.Active && l.State == lease.Intent && was.RenewedAt.IsZero() && l.ConfirmBy.Before(was.ExpiresAt) {
			r.Fatalf("%s was given until %s, its intent is rolled back at %s", l.ID, was.ExpiresAt, l.ConfirmBy)
		}
	}
}

// fork is what a copy does on its own.
func (w *world) fork(r *rapid.T, tag string) {
	if rapid.Bool().Draw(r, "lease") {
		w.active(fmt.Sprintf("%s-%d", tag, len(w.acts)), "t1")
	} else {
		w.request(tag)
	}
	if rapid.Bool().Draw(r, "numbered") {
		w.number()
	}
}

// all is the position that the last event of a copy has or will get.
func (w *world) all(acts int) event.Position {
	f, _ := w.copied(acts)
	if err := f.Suspend(w.ctx, store.Suspension{}); err != nil {
		w.t.Fatalf("suspend: %v", err)
	}
	head, err := f.Head(w.ctx)
	if err != nil {
		w.t.Fatalf("head: %v", err)
	}
	return head
}

func (w *world) check(r *rapid.T, common event.Position, before map[lease.ID]lease.Lease, first [][]byte, connections map[string]bool) {
	r.Helper()
	if !slices.EqualFunc(first, w.ledger[1][:len(first)], slices.Equal[[]byte]) {
		r.Fatalf("the first epoch was changed")
	}
	reports := w.reports()
	if len(reports) == 0 {
		// The copy had it all: nothing may have changed.
		for id, l := range before {
			if now := w.lease(id); text(now) != text(l) {
				r.Fatalf("nothing was lost, and %s was changed:\n%s\n%s", id, text(l), text(now))
			}
		}
		return
	}
	report := reports[0]
	if len(reports) != 1 || report.From != common.String() {
		r.Fatalf("%d reports; both are said to have up to %s, want %s", len(reports), report.From, common)
	}
	if len(w.ledger[1]) != len(first) {
		r.Fatalf("the first epoch has %d entries, had %d", len(w.ledger[1]), len(first))
	}
	all := w.ledger.events(r, 1)
	shared, news := said(all[:common.Number]), all[common.Number:]
	for _, e := range w.stream.events {
		if e.Position.Number > int64(len(all)) {
			news = append(news, e)
		}
	}
	w.checkLeases(r, before, said(append(slices.Clone(all[:common.Number]), news...)), said(news))
	w.checkLosses(r, before, said(all[common.Number:]), news, connections)
	// Of the second epoch nothing is what both have had under another number.
	for _, e := range w.ledger.events(r, 2) {
		if was, known := shared[e.Data.LeaseID]; known && e.Data.Version <= was.Version {
			r.Fatalf("%s has version %d of %s again", e.Position, e.Data.Version, e.Data.LeaseID)
		}
		for _, old := range all[:common.Number] {
			if e.Type == event.RequestServed && e.Subject == old.Subject {
				r.Fatalf("%s is %s again", e.Position, old.Position)
			}
		}
	}
}

func (w *world) checkLeases(r *rapid.T, before map[lease.ID]lease.Lease, record, news map[lease.ID]last) {
	r.Helper()
	for _, l := range w.fake.Leases() {
		word, known := record[l.ID]
		switch {
		case known && word.over && l.State.Live():
			r.Fatalf("%s is %s, on record it was %s", l.ID, l.State, word.State)
		case known && l.State == lease.Active && word.ExpiresAt != nil && l.ExpiresAt.Before(*word.ExpiresAt):
			r.Fatalf("%s ends at %s, on record is %s", l.ID, l.ExpiresAt, word.ExpiresAt)
		case known && l.Version < word.Version:
			r.Fatalf("%s has version %d, on record is %d", l.ID, l.Version, word.Version)
		}
		was, had := before[l.ID]
		if l.State == lease.Intent {
			checkIntent(r, &was, &l)
		}
		if _, said := news[l.ID]; said || l.State == lease.Intent {
			continue
		}
		if !had || text(was) != text(l) {
			r.Fatalf("%s, of which nothing is news, was changed:\n%s\n%s", l.ID, text(was), text(l))
		}
	}
	for id := range before {
		if w.lease(id).State == "" {
			r.Fatalf("%s is gone", id)
		}
	}
}

// checkIntent: an intent is rolled back when its credential has ended for
// certain. Of one that the store has had nothing else is changed (B1).
func checkIntent(r *rapid.T, was, l *lease.Lease) {
	r.Helper()
	if want := l.IssuedAt.Add(l.TTL).Add(5 * time.Minute); l.TTL != time.Hour || l.ConfirmBy.Before(want) {
		r.Fatalf("the intent %s of %s is rolled back at %s, want %s", l.ID, l.TTL, l.ConfirmBy, want)
	}
	if was.State == "" {
		return
	}
	again := *l
	again.Version, again.LastKey, again.ConfirmBy = was.Version, was.LastKey, was.ConfirmBy
	if text(again) != text(was) || l.Version <= was.Version {
		r.Fatalf("the intent %s was changed:\n%s\n%s", l.ID, text(was), text(l))
	}
}

// checkLosses: everything that was begun since and has not ended on record is
// there, or is named; nothing else is.
func (w *world) checkLosses(r *rapid.T, before map[lease.ID]lease.Lease, record map[lease.ID]last, events []event.Event, connections map[string]bool) {
	r.Helper()
	want, news := map[string]bool{}, said(events)
	for _, e := range events {
		if e.Type == event.ConfigChanged {
			want["configuration "+e.Data.Path] = true
		}
	}
	for id, l := range news {
		_, had := before[id]
		final := record[id].State.Final()
		switch {
		case had || final:
		case l.Kind == lease.Token && !l.over:
			want["token "+l.Account] = true
		case l.Kind == lease.Secret && !connections[l.Target]:
			want["lease "+string(id)] = true
		case w.lease(id).State == "":
			r.Fatalf("%s is %s on record, and nowhere", id, l.State)
		}
	}
	var names []string
	for name := range want {
		names = append(names, name)
	}
	slices.Sort(names)
	if got := lost(w.reports()[0]); !slices.Equal(got, names) {
		r.Fatalf("lost are %q, want %q", got, names)
	}
}
