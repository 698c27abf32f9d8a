package fsck_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/fsck"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// plant is one disagreement, made by hand about a lease that is active.
type plant struct {
	name  string
	plant func(*world, lease.Lease)
	heal  func(*world, lease.Lease)
	want  fsck.Kind
	// also may be found with it.
	also []fsck.Kind
	// heals is part of what is said to heal it.
	heals string
	// still: nothing may move beside it, or it heals by itself.
	still bool
}

// lines are the entries about a lease.
func lines(w *world, id lease.ID) (at []int) {
	for i, e := range w.ledger {
		if e.Data.LeaseID == id {
			at = append(at, i)
		}
	}
	return at
}

//nolint:funlen // one table
func plants() []plant {
	return []plant{
		{
			name: "account without a lease", want: fsck.StrayAccount, heals: "stray sweep",
			plant: func(w *world, _ lease.Lease) { w.accounts["v-stray"] = true },
			heal:  func(w *world, _ lease.Lease) { delete(w.accounts, "v-stray") },
		},
		{
			name: "account back after its lease has ended", want: fsck.StrayAccount, heals: "stray sweep",
			plant: func(w *world, l lease.Lease) { w.end(l); w.accounts[l.Account] = true },
			heal:  func(w *world, l lease.Lease) { delete(w.accounts, l.Account) },
		},
		{
			name: "active lease without its account", want: fsck.MissingAccount, heals: "curfew lease revoke",
			plant: func(w *world, l lease.Lease) { delete(w.accounts, l.Account) },
			heal:  func(w *world, l lease.Lease) { w.end(l); w.deliver() },
		},
		{
			name: "account that outlives its lease", want: fsck.LateAccount, heals: "tried again", also: []fsck.Kind{fsck.IndexLacks},
			plant: func(w *world, l lease.Lease) {
				w.apply(l.ID, lease.Revoke{})
				w.clock.Advance(20 * time.Second)
				w.apply(l.ID, lease.Progress{Failed: true, Error: "no", After: time.Minute})
				w.deliver()
			},
			heal: func(w *world, l lease.Lease) {
				delete(w.accounts, l.Account)
				w.apply(l.ID, lease.Finish{To: lease.Revoked})
				w.deliver()
			},
		},
		{
			name: "lease that nobody takes up", want: fsck.OverdueLease, heals: "overdue sweep", also: []fsck.Kind{fsck.IndexLacks},
			plant: func(w *world, l lease.Lease) {
				w.rows[l.ID] = func(*fsck.Row) {}
				for _, one := range w.fake.Leases() { // no other is due with it
					if one.ID != l.ID && one.State == lease.Active {
						w.end(one)
					}
				}
				w.clock.Advance(time.Hour + 30*time.Second)
				w.beat()
				w.deliver()
			},
			heal:  func(w *world, l lease.Lease) { w.end(l); w.deliver() },
			still: true,
		},
		{
			name: "version skipped in the store", want: fsck.UnrecordedTurn, heals: "by hand",
			plant: func(w *world, l lease.Lease) { w.rows[l.ID] = func(r *fsck.Row) { r.Version += 2 } },
			heal:  func(w *world, l lease.Lease) { delete(w.rows, l.ID) },
		},
		{
			name: "row put back to what it was", want: fsck.UnrecordedTurn, heals: "by hand",
			plant: func(w *world, l lease.Lease) { w.rows[l.ID] = func(r *fsck.Row) { r.Version-- } },
			heal:  func(w *world, l lease.Lease) { delete(w.rows, l.ID) },
		},
		{
			name: "row deleted from the store", want: fsck.LostLease, heals: "restores it", also: []fsck.Kind{fsck.StrayAccount},
			plant: func(w *world, l lease.Lease) { w.rows[l.ID] = func(r *fsck.Row) { *r = fsck.Row{} } },
			heal:  func(w *world, l lease.Lease) { delete(w.rows, l.ID) },
		},
		{
			name: "lease that the record never heard of", want: fsck.Unknown, heals: "by hand",
			also: []fsck.Kind{fsck.LostLease},
			plant: func(w *world, l lease.Lease) {
				for _, i := range lines(w, l.ID) {
					w.ledger[i].Data.LeaseID = other
				}
				w.end(w.issue(1))
				w.deliver()
			},
			heal: func(w *world, l lease.Lease) {
				for _, i := range lines(w, other) {
					w.ledger[i].Data.LeaseID = l.ID
				}
			},
		},
		{
			name: "entry cut out of the ledger", want: fsck.LedgerGap, heals: "audit verify", also: []fsck.Kind{fsck.LedgerBehind},
			plant: func(w *world, _ lease.Lease) {
				w.must(w.fake.Append(w.ctx, event.Event{Type: event.ConfigChanged}))
				w.deliver()
				w.issue(1)
				w.deliver()
				at := slices.IndexFunc(w.ledger, func(e event.Event) bool { return e.Type == event.ConfigChanged })
				w.cut, w.ledger = slices.Clone(w.ledger[at:at+1]), slices.Delete(w.ledger, at, at+1)
			},
			heal: func(w *world, _ lease.Lease) {
				at := slices.IndexFunc(w.ledger, func(e event.Event) bool { return w.cut[0].Position.Before(e.Position) })
				w.ledger = slices.Insert(w.ledger, at, w.cut...)
			},
			still: true, // the end of this ledger is not its last number
		},
		{
			name: "version missing in the record", want: fsck.LedgerGap, heals: "audit verify",
			plant: func(w *world, l lease.Lease) {
				w.apply(l.ID, lease.Renew{})
				w.deliver()
				w.ledger[lines(w, l.ID)[1]].Data.LeaseID = ""
			},
			heal: func(w *world, l lease.Lease) {
				for i, e := range w.ledger {
					if e.Subject == string(l.ID) {
						w.ledger[i].Data.LeaseID = l.ID
					}
				}
			},
		},
		{
			name: "lease that goes on after its end", want: fsck.LedgerIllegal, heals: "audit verify",
			also: []fsck.Kind{fsck.LostLease, fsck.UnrecordedTurn},
			plant: func(w *world, l lease.Lease) {
				w.end(l)
				w.must(w.fake.Append(w.ctx, event.Event{Type: event.LeaseRenewed, Subject: string(l.ID), Data: event.Data{
					LeaseID: l.ID, Kind: lease.Secret, State: lease.Active, Version: 5,
				}}))
				w.deliver()
			},
			heal: func(w *world, l lease.Lease) {
				at := lines(w, l.ID)
				w.ledger[at[len(at)-1]].Data.LeaseID = ""
			},
		},
		{
			name: "state that its entry does not tell of", want: fsck.LedgerIllegal, heals: "audit verify", also: []fsck.Kind{fsck.UnrecordedTurn},
			plant: func(w *world, l lease.Lease) { w.ledger[lines(w, l.ID)[1]].Data.State = lease.Intent },
			heal:  func(w *world, l lease.Lease) { w.ledger[lines(w, l.ID)[1]].Data.State = lease.Active },
		},
		{
			name: "end of the ledger cut off", want: fsck.LedgerBehind, heals: "copy of the ledger's directory", also: []fsck.Kind{fsck.Unknown, fsck.UnrecordedTurn},
			plant: func(w *world, _ lease.Lease) {
				w.issue(1)
				w.deliver()
				n := len(w.ledger) - 1
				w.cut, w.ledger = slices.Clone(w.ledger[n:]), w.ledger[:n]
			},
			heal:  func(w *world, _ lease.Lease) { w.ledger = append(w.ledger, w.cut...) },
			still: true,
		},
		{
			name: "nobody gives numbers", want: fsck.Unnumbered, heals: "publisher", also: []fsck.Kind{fsck.Unknown}, still: true,
			plant: func(w *world, _ lease.Lease) { w.issue(1) },
			heal:  func(w *world, _ lease.Lease) { w.deliver() },
		},
		{
			name: "nobody publishes", want: fsck.Unpublished, heals: "broker", also: []fsck.Kind{fsck.StreamBehind}, still: true,
			plant: func(w *world, _ lease.Lease) { w.issue(1); w.number(1 << 20); w.record() },
			heal:  func(w *world, _ lease.Lease) { w.deliver() },
		},
		{
			name: "nobody records", want: fsck.Unrecorded, heals: "auditor", also: []fsck.Kind{fsck.Unknown}, still: true,
			plant: func(w *world, _ lease.Lease) { w.issue(1); w.number(1 << 20); w.publish() },
			heal:  func(w *world, _ lease.Lease) { w.deliver() },
		},
		{
			name: "stream deleted", want: fsck.StreamGone, heals: "makes the stream anew",
			plant: func(w *world, _ lease.Lease) { w.stream.Gone = true },
			heal:  func(w *world, _ lease.Lease) { w.stream.Gone = false },
		},
		{
			name: "older store", want: fsck.StreamAhead, heals: "brings in", still: true,
			plant: func(w *world, _ lease.Lease) { w.stream.Last.Number++ },
			heal:  func(w *world, _ lease.Lease) { w.stream.Last.Number-- },
		},
		{
			name: "tail of the stream lost", want: fsck.StreamBehind, heals: "from the store", still: true,
			plant: func(w *world, _ lease.Lease) { w.stream.Last.Number-- },
			heal:  func(w *world, _ lease.Lease) { w.stream.Last.Number++ },
		},
		{
			name: "index lacks what falls due", want: fsck.IndexLacks, heals: "drift",
			plant: func(w *world, l lease.Lease) {
				w.clock.Advance(l.ExpiresAt.Sub(w.clock.Now()) - 40*time.Second)
				w.young(l)
				w.beat()
			},
			heal: func(w *world, l lease.Lease) {
				w.must(w.index.Offer(w.ctx, expiry.Member{ID: l.ID, Target: target, At: l.ExpiresAt}))
			},
			still: true,
		},
		{
			name: "index has what nobody claims", want: fsck.IndexExtra, heals: "drops it",
			plant: func(w *world, _ lease.Lease) {
				w.must(w.index.Offer(w.ctx, expiry.Member{ID: other, Target: target, At: w.clock.Now().Add(-time.Minute)}))
			},
			heal: func(w *world, _ lease.Lease) {
				c, err := w.index.Claim(w.ctx, target, w.clock.Now(), 1, time.Minute)
				w.must(err)
				w.must(w.index.Complete(w.ctx, c))
			},
		},
		{
			name: "store suspended", want: fsck.Suspended, heals: "A7", still: true,
			plant: func(w *world, _ lease.Lease) {
				w.must(w.fake.Suspend(w.ctx, store.Suspension{Reason: "a test", Lost: true}))
			},
			heal: func(w *world, _ lease.Lease) {
				head, err := w.fake.Head(w.ctx)
				w.must(err)
				w.must(w.fake.Resume(w.ctx, 2, head, store.Write{}))
				w.deliver()
			},
		},
	}
}

// other is a lease that is none.
const other = "database/creds/app/other"

// Each plant is reported once, whoever asks first or again, with what heals it,
// and is not any more once that has been done.
func TestEachPlant(t *testing.T) {
	t.Parallel()
	for _, one := range plants() {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t.Context(), t)
			l := w.issue(1)
			w.deliver()
			clean(t, w.check(fsck.Config{}))
			if one.still {
				w.settle = func() {}
			}
			one.plant(w, l)
			for range 2 {
				r := w.check(fsck.Config{})
				found := 0
				for _, f := range r.Disagreements {
					if f.Kind != one.want {
						if !slices.Contains(one.also, f.Kind) {
							t.Errorf("it found %+v, too", f)
						}
						continue
					}
					found++
					if !strings.Contains(f.Heals, one.heals) || f.Seen == "" {
						t.Errorf("%q (%q) does not say %q", f.Heals, f.Seen, one.heals)
					}
				}
				if found != 1 || r.Code() != 1 || r.Clean {
					t.Errorf("%s was reported %d times, exit code %d: %v", one.want, found, r.Code(), kinds(r))
				}
			}
			one.heal(w, l)
			w.settle = w.deliver
			clean(t, w.check(fsck.Config{}))
		})
	}
}

// What is there in one look only, or not the same in both, is not reported.
func TestTwoLooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t.Context(), t)
	l := w.issue(1)
	w.deliver()
	delete(w.accounts, l.Account)
	w.settle = func() { w.accounts[l.Account] = true; w.deliver() }
	r := w.check(fsck.Config{})
	clean(t, r)
	if len(r.Passed) != 1 || r.Passed[0].Kind != fsck.MissingAccount || r.Looks != 2 {
		t.Errorf("passed is %+v after %d looks", r.Passed, r.Looks)
	}
	delete(w.accounts, l.Account)
	version := l.Version
	w.settle = func() { // another version each time: somebody works on it
		w.apply(l.ID, lease.Renew{})
		version++
		w.deliver()
	}
	if r := w.check(fsck.Config{}); len(r.Disagreements) > 0 {
		t.Errorf("what has changed between the looks was reported: %+v", r.Disagreements)
	}
}

// A wait ends when all agree, or when its time is over.
func TestWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t.Context(), t)
	w.accounts["v-stray"] = true
	began, healed := w.clock.Now(), 20*time.Second
	w.settle = func() {
		w.deliver()
		if w.clock.Now().Sub(began) > healed {
			delete(w.accounts, "v-stray")
		}
	}
	clean(t, w.check(fsck.Config{Wait: time.Minute}))
	if took := w.clock.Now().Sub(began); took < healed || took > healed+10*time.Second {
		t.Errorf("it waited %v", took)
	}
	w.accounts["v-stray"], began, healed = true, w.clock.Now(), time.Hour
	if r := w.check(fsck.Config{Wait: time.Minute}); r.Code() != 1 {
		t.Errorf("exit code %d", r.Code())
	}
	if took := w.clock.Now().Sub(began); took < time.Minute || took > time.Minute+10*time.Second {
		t.Errorf("it waited %v", took)
	}
}

// A side that does not answer is named, and the exit code is 2; what is known to
// disagree is worth more. The index alone is no side that has to answer (D1).
func TestSideAway(t *testing.T) {
	t.Parallel()
	for _, part := range []fsck.Part{fsck.PartStore, fsck.PartTargets, fsck.PartLedger} {
		t.Run(string(part), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t.Context(), t)
			w.away[part] = true
			r := w.check(fsck.Config{})
			if r.Code() != 2 || r.Clean || len(r.Unseen) == 0 || r.Unseen[0].Part != part || len(r.Disagreements) > 0 {
				t.Errorf("exit code %d: %+v", r.Code(), r)
			}
			delete(w.away, part)
			clean(t, w.check(fsck.Config{}))
		})
	}
	w := newWorld(t.Context(), t)
	w.away[fsck.PartIndex] = true
	r := w.check(fsck.Config{})
	clean(t, r)
	if len(r.Notes) != 1 || r.Notes[0].Kind != fsck.IndexDown || !strings.Contains(r.Notes[0].Heals, "from the store") {
		t.Errorf("notes are %+v", r.Notes)
	}
	w.away[fsck.PartLedger], w.accounts["v-stray"] = true, true
	if r := w.check(fsck.Config{}); r.Code() != 1 || len(r.Unseen) != 1 {
		t.Errorf("exit code %d: %+v", r.Code(), r)
	}
}

// Of very many of one kind some are listed and all are counted.
func TestVeryMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t.Context(), t)
	for i := range 1500 {
		w.accounts["v-stray-"+strings.Repeat("a", i)] = true
	}
	r := w.check(fsck.Config{})
	if len(r.Disagreements) != 1000 || r.Omitted != 500 || r.Code() != 1 {
		t.Errorf("%d are listed, %d omitted", len(r.Disagreements), r.Omitted)
	}
}

// beat has the revoker say again that it runs.
func (w *world) beat() {
	w.must(installation.Beat(w.ctx, w.fake, installation.Process{
		Name: "revoker-1", Seen: w.clock.Now(), Revoker: &installation.Revoking{Known: true, StrayEvery: time.Minute},
	}))
}

// young has every lease but one in the index.
func (w *world) young(but lease.Lease) {
	for _, l := range w.fake.Leases() {
		if l.ID != but.ID && l.State == lease.Active {
			w.must(w.index.Offer(w.ctx, expiry.Member{ID: l.ID, Target: l.Target, At: l.ExpiresAt}))
		}
	}
}
