package fsck

import (
	"fmt"
	"slices"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

// suspects bounds how many leases are looked at once more, entry by entry.
const suspects = 10_000

// Fold goes through the record, entry by entry in order, and follows each lease
// of its share: its versions have no gap, and each move is in the one table of
// legal moves (A1). It remembers only what has not ended; whatever is not as
// expected it suspects, and a second fold, of the suspects alone, tells.
type Fold struct {
	share Share
	// only, if set, are the leases that are followed; they are never forgotten.
	only map[lease.ID]bool

	live     map[lease.ID]turn
	past     map[lease.ID][]turn // of suspects
	suspects map[lease.ID]bool
	beyond   int // suspects that were not kept
	wrong    []Finding
	last     event.Position
	entries  int64
	shift    int64 // of the last entry's number from its place
}

// turn is what an entry says of a lease.
type turn struct {
	at      event.Position
	kind    lease.Kind
	typ     event.Type
	state   lease.State
	version int64
	when    int64 // the entry's time, in nanoseconds
}

// NewFold returns a fold of the leases of a share.
func NewFold(share Share) *Fold {
	return &Fold{share: share, live: map[lease.ID]turn{}, suspects: map[lease.ID]bool{}}
}

// Again returns the fold that has to read the record once more, nil where there
// is nothing to look into.
func (f *Fold) Again() *Fold {
	if len(f.suspects) == 0 {
		return nil
	}
	return &Fold{only: f.suspects, live: map[lease.ID]turn{}, past: map[lease.ID][]turn{}, beyond: f.beyond}
}

// Add takes the entry at a place; e.Position is the number that it bears.
func (f *Fold) Add(at event.Position, e *event.Event) {
	f.entries++
	if f.only == nil && f.share.Part == 0 {
		f.dense(at, e)
	}
	f.last = at
	id := e.Data.LeaseID
	if id == "" || f.only == nil && !f.share.Has(string(id)) || f.only != nil && !f.only[id] {
		return
	}
	now := turn{at: at, kind: e.Data.Kind, typ: e.Type, state: e.Data.State, version: e.Data.Version, when: e.Time.UnixNano()}
	before, known := f.live[id]
	if f.only != nil {
		f.strict(id, before, &now)
		return
	}
	if why := before.next(&now); why != "" {
		f.suspect(id)
	}
	switch {
	case now.state.Final() && known:
		delete(f.live, id)
	case !now.state.Final():
		f.live[id] = now
	}
}

// dense: entry n of an epoch bears the number n (D5).
func (f *Fold) dense(at event.Position, e *event.Event) {
	next := at.Epoch == f.last.Epoch && at.Number == f.last.Number+1 || at.Epoch > f.last.Epoch && at.Number == 1
	if at.Epoch > f.last.Epoch {
		f.shift = 0
	}
	// What is shifted by a number that is missing is told once.
	shift := e.Position.Number - at.Number
	if next && e.Position.Epoch == at.Epoch && shift == f.shift {
		return
	}
	f.shift = shift
	f.wrong = append(f.wrong, Finding{
		Kind: LedgerGap, Part: PartLedger, Evidence: at.String(),
		Seen:  fmt.Sprintf("after entry %s comes entry %s, which bears the number %s", f.last, at, e.Position),
		Heals: healsLedger,
	})
}

const healsLedger = "nothing heals the past: curfew audit verify tells whether the files are what was signed"

func (f *Fold) suspect(id lease.ID) {
	if len(f.suspects) >= suspects && !f.suspects[id] {
		f.beyond++
		return
	}
	f.suspects[id] = true
}

// strict follows a suspect with all of its past.
func (f *Fold) strict(id lease.ID, before turn, now *turn) {
	// What store and ledger had under different numbers is told again in a new
	// epoch (A7).
	repeats := slices.ContainsFunc(f.past[id], func(had turn) bool {
		return had.at.Epoch < now.at.Epoch && had.version == now.version && had.typ == now.typ && had.when == now.when
	})
	if repeats {
		return
	}
	if why := before.next(now); why != "" {
		kind := LedgerIllegal
		if now.version != before.version+1 {
			kind = LedgerGap
		}
		f.wrong = append(f.wrong, Finding{
			Kind: kind, Part: PartLedger, Lease: id, Evidence: now.at.String(),
			Seen: fmt.Sprintf("entry %s (%s): %s", now.at, now.typ, why), Heals: healsLedger,
		})
	}
	f.past[id] = append(f.past[id], *now)
	f.live[id] = *now
}

// next says why now cannot follow; "" where it can.
func (t *turn) next(now *turn) string {
	switch {
	case now.typ == event.LeaseRestored:
		if now.version >= t.version {
			return ""
		}
	case t.at.Epoch != 0 && t.at.Epoch < now.at.Epoch && now.version <= t.version:
		return "" // of a store that had lost commits, before it knew (A7)
	}
	if to, known := becomes(now.typ); known && to != now.state {
		return fmt.Sprintf("an entry of this type says that the lease is %q", now.state)
	}
	if now.version != t.version+1 {
		return fmt.Sprintf("version %d follows version %d", now.version, t.version)
	}
	if !t.state.CanBecome(now.state) {
		return fmt.Sprintf("%q follows %q", now.state, t.state)
	}
	return ""
}

// becomes is the state that an event of a type tells of.
func becomes(t event.Type) (lease.State, bool) {
	switch t {
	case event.LeaseIntent:
		return lease.Intent, true
	case event.LeaseCreated, event.LeaseRenewed, event.TokenCreated, event.TokenRenewed, event.TokenUsed, event.TokenRewrapped:
		return lease.Active, true
	case event.LeaseRevoking, event.LeaseProgress, event.LeaseRevocationFailed, event.TokenRevoking, event.AccountStray:
		return lease.Revoking, true
	case event.LeaseRevoked, event.LeaseRolledBack, event.TokenRevoked:
		return lease.Revoked, true
	case event.LeaseExpired:
		return lease.Expired, true
	case event.LeaseAbandoned:
		return lease.Abandoned, true
	case event.LeaseRestored, event.AccountRotated, event.AccountRotationFailed, event.RequestServed, event.RequestDenied,
		event.GroupMade, event.GroupRefreshed, event.GroupDropped, event.GroupFailed,
		event.ConfigChanged, event.SystemStarted, event.StoreSuspended, event.StoreResumed,
		event.InstallationDoubted, event.InstallationConfirmed: // any state, or none
	}
	return "", false
}

// Tell yields what was found: what again found wrong, where it was needed, then
// each lease that has not ended, and the end. signed is how many entries are
// under checkpoints.
func (f *Fold) Tell(again *Fold, signed int64, each func(Line) error) error {
	wrong := f.wrong
	if again != nil {
		wrong = slices.Concat(wrong, again.wrong)
		if again.beyond > 0 && len(again.wrong) > 0 {
			wrong = append(wrong, Finding{
				Kind: LedgerIllegal, Part: PartLedger, Evidence: "beyond", Heals: healsLedger,
				Seen: fmt.Sprintf("%d more leases were not looked into", again.beyond),
			})
		}
	}
	for i := range wrong {
		if err := each(Line{Wrong: &wrong[i]}); err != nil {
			return err
		}
	}
	leases := int64(0)
	for id, t := range f.live {
		leases++
		if err := each(Line{Lease: &Row{ID: id, Kind: t.kind, State: t.state, Version: t.version}}); err != nil {
			return err
		}
	}
	return each(Line{End: &End{Last: f.last, Entries: f.entries, Leases: leases, Signed: signed}})
}
