package recovery

import (
	"cmp"
	"hash/maphash"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/curfew-project/curfew/auditor/internal/catalog"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/lease"
)

// grace is how long after its intent the creation of an account may be under way:
// more than any has. The deadline that an intent had is not on record.
const grace = 5 * time.Minute

// knowledge is what the record says and the store may not know.
type knowledge struct {
	leases map[lease.ID]*history
	losses map[string]installation.Loss // configuration and entries, by what and id
	// forgotten are hashes of leases that began and ended on record: nothing that
	// the stream has besides brings them back.
	forgotten map[uint64]struct{}
	seed      maphash.Seed
}

// history is the last known state of a lease.
type history struct {
	lease.Lease
	created time.Time // of the commit that confirmed it
	born    bool      // its beginning is part of this knowledge
	untold  bool      // the ledger does not have its end
}

func newKnowledge() *knowledge {
	return &knowledge{
		leases: map[lease.ID]*history{}, losses: map[string]installation.Loss{},
		forgotten: map[uint64]struct{}{}, seed: maphash.MakeSeed(),
	}
}

// learn takes an event in.
func (k *knowledge) learn(e event.Event) {
	d := &e.Data
	switch {
	case e.Type == catalog.Unreadable:
		k.lose(installation.Loss{What: "entry", ID: e.Position.String(), Detail: "the ledger's entry is no event"})
	case e.Type == event.ConfigChanged:
		detail := d.Operation
		if d.Reason != "" {
			detail += ": " + d.Reason
		}
		k.lose(installation.Loss{What: "configuration", ID: cmp.Or(d.Path, e.Subject), Detail: detail, By: d.Actor, At: e.Time})
	case d.LeaseID == "" || d.Version < 1 || rank(d.State) == 0:
	case d.Kind == lease.Secret, d.Kind == lease.Token, d.Kind == lease.Stray:
		k.learnLease(e)
	}
}

// lose notes a loss; of several of one thing the last is told.
func (k *knowledge) lose(l installation.Loss) { k.losses[l.What+" "+l.ID] = l }

func (k *knowledge) learnLease(e event.Event) {
	now := stateOf(e)
	h, known := k.leases[now.ID]
	if !known {
		h = &history{Lease: now}
		k.leases[now.ID] = h
	}
	h.born = h.born || now.Version == 1
	if e.Type == event.LeaseCreated || e.Type == event.TokenCreated {
		h.created = e.Time
	}
	version := max(h.Version, now.Version)
	if supersedes(&now, &h.Lease) {
		h.Lease = now
	}
	h.Version = version
}

// learnStreamed takes in an event that the ledger does not have.
func (k *knowledge) learnStreamed(e event.Event) {
	if _, ended := k.forgotten[k.hash(e.Data.LeaseID)]; ended && k.leases[e.Data.LeaseID] == nil {
		return
	}
	ended := func() bool {
		h, known := k.leases[e.Data.LeaseID]
		return known && h.State.Final()
	}
	before := ended()
	k.learn(e)
	if !before && ended() {
		k.leases[e.Data.LeaseID].untold = true
	}
}

// supersedes reports whether b is to be believed after a, which was learned
// before it. What has begun to end never lives again, in whichever of two
// histories that was.
func supersedes(b, a *lease.Lease) bool {
	if !a.State.Live() || !b.State.Live() {
		if n := cmp.Compare(rank(b.State), rank(a.State)); n != 0 {
			return n > 0
		}
	}
	return b.Version >= a.Version
}

// rank orders states by how far the end has come; 0: none of ours.
func rank(s lease.State) int {
	switch s {
	case lease.Intent, lease.Active:
		return 1
	case lease.Revoking:
		return 2
	case lease.Revoked, lease.Expired, lease.Abandoned:
		return 3
	}
	return 0
}

// passed reports whether e ends a lease of which the beginning was learned too.
func (k *knowledge) passed(e event.Event) bool {
	h, known := k.leases[e.Data.LeaseID]
	return known && h.born && h.State.Final()
}

// forget lets go of a lease that has ended on record.
func (k *knowledge) forget(id lease.ID) {
	delete(k.leases, id)
	k.forgotten[k.hash(id)] = struct{}{}
}

func (k *knowledge) hash(id lease.ID) uint64 { return maphash.String(k.seed, string(id)) }

// ids are those of the leases, in order.
func (k *knowledge) ids() []lease.ID { return slices.Sorted(maps.Keys(k.leases)) }

// stateOf is what an event says of its lease.
func stateOf(e event.Event) lease.Lease {
	d := &e.Data
	l := lease.Lease{
		ID: d.LeaseID, Kind: d.Kind, State: d.State, Version: d.Version,
		Mount: d.Mount, Role: d.Role, Target: d.Target, TokenID: d.TokenID, Account: d.Account,
		Inside: d.Inside, IssuedBy: d.Actor,
	}
	l.Revocation.Opened = d.Opened
	if d.IssuedBy != nil {
		l.IssuedBy = *d.IssuedBy
	}
	if d.IssuedAt != nil {
		l.IssuedAt = *d.IssuedAt
	}
	if d.TTLSeconds > 0 {
		l.TTL = time.Duration(min(d.TTLSeconds, int64(math.MaxInt64/time.Second))) * time.Second
	}
	if d.ExpiresAt != nil {
		l.ExpiresAt = *d.ExpiresAt
	}
	return l
}

// known is the lease as [lease.Restore] wants it.
func (h *history) known(now time.Time) lease.Lease {
	l := h.Lease
	l.ActivatedAt = h.created
	// Its confirmation may not be part of this knowledge, but only what was
	// confirmed is active, or has an expiry.
	if l.ActivatedAt.IsZero() && (l.State == lease.Active || !l.ExpiresAt.IsZero()) {
		l.ActivatedAt = l.IssuedAt
	}
	if l.Kind == lease.Secret && !l.Confirmed() {
		l.CreateDeadline = now.Add(grace)
		l.ConfirmBy = latest(l.CreateDeadline, ends(&l))
	}
	return l
}
