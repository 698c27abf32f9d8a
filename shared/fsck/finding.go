package fsck

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
)

// Part is what is looked at.
type Part string

// The parts.
const (
	PartStore   Part = "store"
	PartTargets Part = "targets"
	PartIndex   Part = "index"
	PartEvents  Part = "events"
	PartStream  Part = "stream"
	PartLedger  Part = "ledger"
)

// Kind says what does not agree.
type Kind string

// The kinds.
const (
	StrayAccount   Kind = "account.stray"    // our mark, and no live lease (B3)
	LateAccount    Kind = "account.late"     // its lease had to end, and it is there
	MissingAccount Kind = "account.missing"  // its lease is active, and it is not there
	OverdueLease   Kind = "lease.overdue"    // due, and nobody has taken it up
	UnrecordedTurn Kind = "lease.unrecorded" // the store's version is not the record's last
	LostLease      Kind = "lease.lost"       // the record knows it as live, the store does not
	Unknown        Kind = "lease.unknown"    // live in the store, and not in the record
	IndexLacks     Kind = "index.missing"
	IndexExtra     Kind = "index.extra"
	IndexDown      Kind = "index.down"
	Unnumbered     Kind = "events.unnumbered"
	Unpublished    Kind = "events.unpublished"
	Unrecorded     Kind = "events.unrecorded"
	StreamGone     Kind = "stream.gone"
	StreamBehind   Kind = "stream.behind"
	StreamAhead    Kind = "stream.ahead"  // it has what the store does not (A7)
	LedgerBehind   Kind = "ledger.behind" // it lacks what it has confirmed
	LedgerDamaged  Kind = "ledger.damaged"
	LedgerGap      Kind = "ledger.gap"     // a number or a version is missing
	LedgerIllegal  Kind = "ledger.illegal" // a lease went a way that it cannot
	Suspended      Kind = "store.suspended"
)

// Finding is one disagreement.
type Finding struct {
	Kind    Kind     `json:"kind"`
	Part    Part     `json:"part"`
	Lease   lease.ID `json:"lease_id,omitempty"`
	Account string   `json:"account,omitempty"`
	Target  string   `json:"target,omitempty"` // the connection's path
	// Seen is what each side says.
	Seen string `json:"seen"`
	// Heals is what puts it right.
	Heals string `json:"heals"`
	// By is when that has happened at the latest; zero: a person has to act, or
	// it cannot be told.
	By time.Time `json:"by,omitzero"`
	// Evidence is what has to be the same in both looks.
	Evidence string `json:"evidence"`
}

// key is what the finding is about.
func (f *Finding) key() string {
	return fmt.Sprintf("%s|%s|%s|%s", f.Kind, f.Lease, f.Account, f.Target)
}

// same reports whether two looks have seen the same thing.
func (f *Finding) same(g *Finding) bool { return f.key() == g.key() && f.Evidence == g.Evidence }

// Gap is what could not be looked at.
type Gap struct {
	Part Part   `json:"part"`
	What string `json:"what,omitempty"` // a target, for instance
	Why  string `json:"why"`
}

// Counts are how much was compared.
type Counts struct {
	Leases   int64 `json:"leases"`
	Accounts int64 `json:"accounts"`
	Targets  int   `json:"targets"`
	Entries  int64 `json:"entries"`
}

// Report is what was found.
type Report struct {
	// Clean: everything was looked at, and all agree.
	Clean bool `json:"clean"`
	// Disagreements were there in two looks in a row.
	Disagreements []Finding `json:"disagreements"`
	// Unseen could not be looked at.
	Unseen []Gap `json:"unseen"`
	// Notes are no disagreements: what is slower than it could be.
	Notes []Finding `json:"notes"`
	// Passed was there in the first look and not in the second: work under way.
	Passed []Finding `json:"passed"`
	// Omitted is how many disagreements there are beyond those that are listed.
	Omitted int    `json:"omitted"`
	Counts  Counts `json:"compared"`
	Looks   int    `json:"looks"`
}

// Code is the exit code: 0 all agree, 1 something does not, 2 nothing is known
// to disagree, but something could not be looked at.
func (r *Report) Code() int {
	switch {
	case len(r.Disagreements)+r.Omitted > 0:
		return 1
	case len(r.Unseen) > 0:
		return 2
	}
	return 0
}

// most is how many findings of a look are kept, by kind.
const most = 1000

// findings collects what one look sees, at most so many of a kind: many leases
// of one fault are one fault.
type findings struct {
	all     []Finding
	by      map[Kind]int
	omitted int
	notes   []Finding
	unseen  []Gap
	counts  Counts
	took    time.Duration
}

func (f *findings) add(one Finding) {
	if f.by == nil {
		f.by = map[Kind]int{}
	}
	if f.by[one.Kind]++; f.by[one.Kind] > most {
		f.omitted++
		return
	}
	f.all = append(f.all, one)
}

// full reports whether no more of a kind is kept: nobody need look into it.
func (f *findings) full(k Kind) bool { return f.by[k] > most }

func (f *findings) note(one Finding) { f.notes = append(f.notes, one) }

func (f *findings) cannot(p Part, what, why string) {
	f.unseen = append(f.unseen, Gap{Part: p, What: what, Why: why})
}

// sorted orders findings for people.
func sorted(all []Finding) []Finding {
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Part, b.Part), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.key(), b.key()))
	})
	if all == nil {
		return []Finding{}
	}
	return all
}
