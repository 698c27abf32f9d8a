package sim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// invariant is a promise, or a part of one, that holds after every step.
type invariant string

// The invariants.
const (
	// P1, B1: what bears our mark in a target has a lease that has not ended.
	invariantLease invariant = "P1 an account has a lease that has not ended"
	// P2, A5: a lease is begun to be taken away when it is due, or because
	// somebody asked for it.
	invariantEarly invariant = "P2 nothing is taken away early"
	// P2, B8, B9: what a client was given lets it in as long as its lease runs.
	invariantWorks invariant = "P2 a credential works until its time"
	// P3, C8: only a person gives up.
	invariantGivenUp invariant = "P3 nothing is given up"
	// A1: legal moves, versions without a gap, nothing after an end.
	invariantMoves invariant = "A1 transitions are legal and their versions dense"
	// A3, A4: what began before a withdrawal does not become active after it.
	invariantWithdrawn invariant = "A3 nothing becomes active after its withdrawal"
	// A9: what is wrapped is opened once.
	invariantOnce invariant = "A9 a wrapping token is opened once"
	// B3: a stray is an account without a live lease.
	invariantStray invariant = "B3 no account of a live lease is taken for a stray"
	// P5, D5: entry n is event n, each version of a lease is there once.
	invariantRecord invariant = "P5 the record has every event once, in order"
	// P1-P6, once faults have stopped.
	invariantEnds invariant = "P3 every lease ends, its account goes, and that is on record"
)

type violation struct {
	invariant invariant
	text      string
}

// checks know what has to hold.
type checks struct {
	w      *world
	found  []violation
	counts map[string]int
	over   bool

	seen   map[lease.ID]lease.Lease // as the last transition left them
	odd    map[string]bool          // accounts that the scenario put there
	gone   []lease.Lease            // ended, in order
	lines  int                      // of the ledger that were looked at
	record map[lease.ID]int64       // versions on record
	ended  map[lease.ID]bool        // whose end is on record

	healed time.Time
	looked time.Time
}

func newChecks(w *world) checks {
	return checks{
		w: w, counts: map[string]int{}, seen: map[lease.ID]lease.Lease{}, odd: map[string]bool{},
		record: map[lease.ID]int64{}, ended: map[lease.ID]bool{},
	}
}

// violated notes a violation; the run ends.
func (k *checks) violated(i invariant, format string, args ...any) {
	if k.over {
		return
	}
	v := violation{i, fmt.Sprintf(format, args...)}
	k.found = append(k.found, v)
	k.w.note("VIOLATED: %s: %s", v.invariant, v.text)
}

// after runs after each effect.
func (k *checks) after(c *call) {
	if !c.change || k.over {
		return
	}
	switch {
	case c.target == "ledger":
		k.entries()
	case c.target == "store", strings.HasPrefix(c.target, "target"):
		k.accounts()
	}
	k.credentials()
}

var legal = map[lease.State][]lease.State{
	"":             {lease.Intent, lease.Active, lease.Revoking},
	lease.Intent:   {lease.Active, lease.Revoking},
	lease.Active:   {lease.Active, lease.Revoking},
	lease.Revoking: {lease.Revoking, lease.Revoked, lease.Expired},
}

// transition looks at what a commit did to a lease.
func (k *checks) transition(ctx context.Context, now lease.Lease, at time.Time) {
	was := k.seen[now.ID]
	k.seen[now.ID] = now
	k.counts[string(now.State)]++
	if now.State == lease.Abandoned {
		k.violated(invariantGivenUp, "%s was abandoned by %s: %s", now.ID, now.Revocation.By.Name, now.Revocation.Reason)
	} else if now.Version != was.Version+1 || !slices.Contains(legal[was.State], now.State) {
		k.violated(invariantMoves, "%s went from %q version %d to %q version %d", now.ID, was.State, was.Version, now.State, now.Version)
	}
	switch {
	case now.State.Final():
		k.gone = append(k.gone, now)
	case now.State == lease.Active && was.State != lease.Active:
		k.began(ctx, &now, at)
	case now.State == lease.Revoking && was.State != lease.Revoking:
		k.cause(ctx, &was, &now, at)
	}
}

// began: nothing that the new active lease hangs on was withdrawn.
func (k *checks) began(ctx context.Context, l *lease.Lease, at time.Time) {
	st := k.w.store
	if l.TokenID != "" {
		token, err := st.Get(ctx, l.TokenID)
		if err != nil || !token.Usable(at) {
			k.violated(invariantWithdrawn, "%s is active, its token %s is %s", l.ID, l.TokenID, token.State)
		}
	}
	if l.Kind != lease.Secret {
		return
	}
	var plan enginetest.FakeRole
	if err := json.Unmarshal(l.Plan, &plan); err != nil {
		k.w.t.Fatalf("plan %q: %v", l.Plan, err)
	}
	for _, ref := range append(plan.Guard, store.Ref{Kind: store.KindMount, ID: l.MountID}) {
		if e, err := st.EntryByID(ctx, ref.Kind, ref.ID); err != nil || e.Withdrawn {
			k.violated(invariantWithdrawn, "%s is active, its %s was withdrawn", l.ID, ref.Kind)
		}
	}
	barriers, err := st.List(ctx, store.KindBarrier, "", "", false, 0)
	if err != nil {
		k.w.t.Fatal(err)
	}
	for _, e := range barriers {
		if b, err := store.DecodeBarrier(e.Value); err != nil || b.Covers(l.ID, l.Position) {
			k.violated(invariantWithdrawn, "%s is active behind a barrier on %s (%v)", l.ID, b.Prefix, err)
		}
	}
}

// cause: there is a reason to take it away.
func (k *checks) cause(ctx context.Context, was, now *lease.Lease, at time.Time) {
	switch now.Revocation.Reason {
	case lease.ReasonExpired:
		if was.State != lease.Active || was.ExpiresAt.IsZero() || at.Before(was.ExpiresAt) {
			k.violated(invariantEarly, "%s expired %s early", now.ID, was.ExpiresAt.Sub(at))
		}
		return
	case lease.ReasonUnconfirmed:
		if was.State == lease.Intent {
			if at.Before(was.ConfirmBy) {
				k.violated(invariantEarly, "the intent %s was rolled back %s early", now.ID, was.ConfirmBy.Sub(at))
			}
			return
		}
	}
	if now.Kind == lease.Stray {
		for _, l := range k.seen {
			if l.Account == now.Account && l.Kind != lease.Stray && l.State.Live() {
				k.violated(invariantStray, "%s is the account of %s, which is %s", now.Account, l.ID, l.State)
			}
		}
		return
	}
	for _, c := range k.w.clients.held {
		if c.id == now.ID && was.State == lease.Active && !k.asked(ctx, now, at) {
			k.violated(invariantEarly, "%s was taken away (%s) though nobody asked for it", now.ID, now.Revocation.Reason)
		}
	}
}

// asked reports whether somebody asked to take a secret away.
func (k *checks) asked(ctx context.Context, l *lease.Lease, at time.Time) bool {
	c := &k.w.clients
	if c.leases[l.ID] || l.Mount != "" && c.mounts[l.Mount] || l.Revocation.Reason == "not delivered" {
		return true
	}
	if slices.ContainsFunc(c.prefixes, func(p string) bool { return strings.HasPrefix(string(l.ID), p) }) {
		return true
	}
	token, err := k.w.store.Get(ctx, l.TokenID)
	return err != nil || !token.Usable(at)
}

// accounts: what is in the targets has a lease.
func (k *checks) accounts() {
	live := map[string]lease.State{}
	for _, l := range k.seen {
		if l.Kind != lease.Token && (live[l.Account] == "" || live[l.Account].Final()) {
			live[l.Account] = l.State
		}
	}
	for _, target := range []string{"target.one", "target.two"} {
		for _, name := range k.w.engine.Probe(target).Names() {
			if state, ok := live[name]; (!ok || state.Final()) && !k.odd[name] {
				k.violated(invariantLease, "%s is in %s, its lease is %q", name, target, state)
			}
		}
	}
}

// credentials: what clients hold lets them in.
func (k *checks) credentials() {
	ctx := context.Background()
	now, err := k.w.store.Now(ctx)
	if err != nil {
		k.w.t.Fatal(err)
	}
	for _, c := range k.w.clients.held {
		if l := k.seen[c.id]; l.Usable(now) {
			if err := k.w.engine.Probe(c.target).Login(ctx, c.account, c.password); err != nil {
				k.violated(invariantWorks, "%s runs for another %s, its credential does not work: %v", c.id, l.ExpiresAt.Sub(now), err)
			}
		}
	}
}

// entries looks at what was appended to the ledger.
func (k *checks) entries() {
	lines := k.w.ledger.segments[1]
	for ; k.lines < len(lines); k.lines++ {
		var e event.Event
		if err := json.Unmarshal(lines[k.lines], &e); err != nil {
			k.w.t.Fatal(err)
		}
		if e.Position != (event.Position{Epoch: 1, Number: int64(k.lines) + 1}) {
			k.violated(invariantRecord, "entry %d is event %s", k.lines+1, e.Position)
		}
		if e.Data.Version == 0 || e.Data.LeaseID == "" {
			continue
		}
		id := e.Data.LeaseID
		if e.Data.Version != k.record[id]+1 || k.ended[id] {
			k.violated(invariantRecord, "entry %d has version %d of %s after %d (ended: %t)", k.lines+1, e.Data.Version, id, k.record[id], k.ended[id])
		}
		k.record[id], k.ended[id] = e.Data.Version, e.Data.State.Final()
	}
}

// lately are leases that ended last.
func (k *checks) lately() (out []lease.Lease) {
	for _, l := range k.gone[max(0, len(k.gone)-2):] {
		if l.Kind == lease.Secret {
			out = append(out, l)
		}
	}
	return out
}

// settled reports whether all is well and over.
func (k *checks) settled() bool {
	if len(k.found) > 0 {
		return true
	}
	now := time.Now()
	if now.Sub(k.looked) < time.Second {
		return false
	}
	k.looked = now
	return len(k.open()) == 0
}

// open lists what is not as it has to be in the end.
func (k *checks) open() (out []string) {
	ctx, w := context.Background(), k.w
	for _, l := range w.store.Leases() {
		if !l.State.Final() && (l.Kind != lease.Token || l.TTL > 0) {
			out = append(out, fmt.Sprintf("%s is %s, due %s, %+v", l.ID, l.State, l.DueAt(), l.Revocation))
		}
		if last := k.seen[l.ID]; last.Version != l.Version {
			out = append(out, fmt.Sprintf("%s has version %d, seen was %d", l.ID, l.Version, last.Version))
		}
		if k.record[l.ID] != l.Version {
			out = append(out, fmt.Sprintf("%s has version %d, on record is %d", l.ID, l.Version, k.record[l.ID]))
		}
	}
	for _, target := range []string{"target.one", "target.two"} {
		for _, name := range w.engine.Probe(target).Names() {
			out = append(out, name+" is in "+target)
		}
	}
	head, _ := w.store.Head(ctx)
	if backlog, _ := w.store.Backlog(ctx); head != w.ledger.last() || backlog > 0 {
		out = append(out, fmt.Sprintf("the store is at %s with %d events, the ledger at %s", head, backlog, w.ledger.last()))
	}
	if n, _ := w.index.Len(ctx); n > 0 {
		out = append(out, fmt.Sprintf("the index has %d members", n))
	}
	barriers, _ := w.store.List(ctx, store.KindBarrier, "", "", false, 0)
	for _, e := range barriers {
		if b, err := store.DecodeBarrier(e.Value); err != nil || b.FinishedAt.IsZero() {
			out = append(out, fmt.Sprintf("the operation on %s is not finished", b.Prefix))
		}
	}
	if disabled, _ := w.store.List(ctx, store.KindMount, "", "", true, 0); len(disabled) > 0 {
		out = append(out, "a disabled mount is still there")
	}
	return out
}

// final is the last word: in the end all is over.
func (k *checks) final() {
	if len(k.found) > 0 {
		return
	}
	if left := k.open(); len(left) > 0 {
		k.violated(invariantEnds, "%s after the faults:\n\t%s", time.Since(k.healed).Round(time.Second), strings.Join(left, "\n\t"))
	}
}
