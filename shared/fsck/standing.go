package fsck

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/installation"
)

// alive is how recently a process must have said that it runs.
const alive = 45 * time.Second

// lookStanding compares what is known without reading leases: how far events
// have come, the stream's end, and the index.
func (c *Checker) lookStanding(ctx context.Context) (f findings) {
	st, err := c.src.Store.Standing(ctx)
	if c.last = st; err != nil {
		c.last = Standing{}
		f.cannot(PartStore, "", err.Error())
		return f
	}
	f.counts.Targets = len(st.Targets)
	if st.Suspended != "" {
		f.add(Finding{
			Kind: Suspended, Part: PartStore, Evidence: st.Suspended,
			Seen:  "the store lacks what was committed, or may: " + st.Suspended,
			Heals: "the auditor brings in what is on record, and ends it; until then nothing is issued (A7)",
		})
	}
	c.lookEvents(&f, &st)
	c.lookStream(&f, &st)
	c.lookIndex(ctx, &f, &st)
	return f
}

// lookEvents: what was numbered at the first look has to be published and on
// record by the second (D3, D4).
func (c *Checker) lookEvents(f *findings, st *Standing) {
	if c.owed == nil {
		c.owed = &st.Head
	}
	owed := *c.owed
	if owed.Number == 0 { // an epoch that has no event yet (A7)
		owed = event.Position{}
	}
	next := c.wait(st)
	if st.Sent.Before(owed) {
		f.add(Finding{
			Kind: Unpublished, Part: PartEvents, Evidence: owed.String(),
			Seen:  fmt.Sprintf("events up to %s have numbers, the broker acknowledged them up to %s", owed, st.Sent),
			Heals: "the publisher sends them again until the broker takes them: within a second or two of its return" + next, By: c.soon(st),
		})
	}
	if st.Confirmed.Before(owed) {
		f.add(Finding{
			Kind: Unrecorded, Part: PartEvents, Evidence: owed.String(),
			Seen:  fmt.Sprintf("events up to %s have numbers, the ledger has confirmed them up to %s", owed, st.Confirmed),
			Heals: "the auditor takes them from the stream or asks the store for them, within seconds (D4)" + next, By: c.soon(st),
		})
	}
	if st.Unnumbered > 0 {
		f.add(Finding{
			Kind: Unnumbered, Part: PartEvents, Evidence: st.Head.String(),
			Seen:  fmt.Sprintf("%d events are committed and have no number; the last number given is %s", st.Unnumbered, st.Head),
			Heals: "the publisher numbers them: another takes over within ten seconds where the last one died (D3)" + next, By: c.soon(st),
		})
	}
}

// wait says what everything waits for where nothing runs.
func (c *Checker) wait(*Standing) string {
	if c.src.Stopped {
		return ", once the server runs"
	}
	return ""
}

// soon is when steps of running processes have healed what they heal; zero
// where none runs.
func (c *Checker) soon(st *Standing) time.Time {
	if c.src.Stopped {
		return time.Time{}
	}
	const healed = 15 * time.Second // a lock that lapses, and its heir's first step
	return st.Now.Add(healed)
}

// lookStream compares the stream's end with what the broker has acknowledged.
func (c *Checker) lookStream(f *findings, st *Standing) {
	t := st.Stream
	if t == nil {
		if why, ok := c.src.Unseen[PartStream]; ok {
			f.cannot(PartStream, "", why)
		}
		return
	}
	heals := "who next publishes or reads makes the stream anew, within seconds; what it lacks is on record or in the store (promise 6)"
	switch {
	case t.Error != "":
		f.cannot(PartStream, "", t.Error)
	case st.Sent == event.Position{}: // nothing was ever sent
	case t.Gone:
		f.add(Finding{
			Kind: StreamGone, Part: PartStream, Evidence: "gone", Heals: heals,
			Seen: fmt.Sprintf("events were published up to %s, and the broker has no stream", st.Sent),
		})
	case st.Head.Before(t.Last):
		f.add(Finding{
			Kind: StreamAhead, Part: PartStream, Evidence: t.Last.String(),
			Seen: fmt.Sprintf("the stream ends with %s, and the last number that the store has given is %s", t.Last, st.Head),
			Heals: "the store went back to a copy: who publishes next, or a start, finds that out, and the auditor brings in what is missing (A7)" +
				c.wait(st),
		})
	case t.Last != event.Position{} && t.Last.Before(st.Sent):
		f.add(Finding{
			Kind: StreamBehind, Part: PartStream, Evidence: t.Last.String(),
			Seen:  fmt.Sprintf("events were published up to %s, and the stream ends with %s", st.Sent, t.Last),
			Heals: "nothing has to be: consumers that miss them take them from the store, and the stream goes on with the next event (D4)",
		})
	}
}

// lookIndex compares the index with the store, or asks the revokers, who do.
func (c *Checker) lookIndex(ctx context.Context, f *findings, st *Standing) {
	if why, ok := c.src.Unseen[PartIndex]; ok {
		f.cannot(PartIndex, "", why)
		return
	}
	if c.src.Index != nil {
		d, err := c.src.Index.Drift(ctx)
		if err != nil {
			f.cannot(PartIndex, "", err.Error())
			return
		}
		c.compareIndex(f, st, &d)
		return
	}
	asked := false
	for _, p := range st.Processes {
		if p.Revoker == nil || st.Now.Sub(p.Seen) > alive {
			continue
		}
		asked = true
		c.toldIndex(f, st, &p)
	}
	if !asked && !c.src.Stopped {
		f.cannot(PartIndex, "", fmt.Sprintf("no revoker has said within %s that it runs: nothing is revoked on time", alive))
	}
}

// toldIndex is what one revoker says of the index.
func (c *Checker) toldIndex(f *findings, st *Standing, p *installation.Process) {
	switch {
	case !p.Revoker.Known: // not compared yet, or not reached
		f.note(indexDown(p.Name, "does not answer "+p.Name))
	case p.Revoker.Missing > 0:
		f.add(Finding{
			Kind: IndexLacks, Part: PartIndex, Target: p.Name, Evidence: "drift",
			Seen:  fmt.Sprintf("%d leases fall due soon, and %s does not find them in the index", p.Revoker.Missing, p.Name),
			Heals: healsDrift, By: st.Now.Add(driftWithin),
		})
	}
}

const (
	driftWithin = 5 * time.Second
	healsDrift  = "the drift step offers them again at its second look, within seconds; the overdue sweep would find them in any case (D1, D2)"
)

// indexDown is no disagreement: the index is a hint (D1).
func indexDown(who, why string) Finding {
	return Finding{
		Kind: IndexDown, Part: PartIndex, Target: who, Evidence: "down",
		Seen:  "the expiry index " + strings.TrimSpace(why),
		Heals: "nothing has to be: expiry goes on from the store, each second; the index is filled again when it is back (promise 6)",
	}
}

// compareIndex is what a look of our own found.
func (c *Checker) compareIndex(f *findings, st *Standing, d *Drift) {
	if d.Down != "" {
		f.note(indexDown("", "does not answer: "+d.Down))
		return
	}
	for i := range d.Missing {
		r := &d.Missing[i]
		f.add(Finding{
			Kind: IndexLacks, Part: PartIndex, Lease: r.ID, Account: r.Account, Evidence: r.NextAt.UTC().Format(time.RFC3339Nano),
			Seen:  fmt.Sprintf("the lease falls due at %s, and the index does not have it for then", stamp(r.NextAt)),
			Heals: healsDrift + c.wait(st), By: c.soon(st),
		})
	}
	for _, m := range d.Extra {
		late := st.Now.Sub(m.At) > c.cfg.Grace
		one := Finding{
			Kind: IndexExtra, Part: PartIndex, Lease: m.ID, Evidence: m.At.UTC().Format(time.RFC3339Nano),
			Seen:  fmt.Sprintf("the index has it for %s, and the store has no such lease that lives", stamp(m.At)),
			Heals: "who claims it reads the store and drops it: when it falls due, or before" + c.wait(st), By: m.At,
		}
		if late { // nobody has claimed it
			f.add(one)
		} else {
			f.note(one)
		}
	}
}

// stamp is a time as people read it.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}
