package fsck

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
)

// held is what is kept of a lease while all are compared: no text, so that a
// million take some tens of megabytes.
type held struct {
	version int64
	state   uint8 // place in lease.States
	late    bool  // its access had to end before the grace
	seen    bool  // the other side has it
	target  int32 // place in the list of targets; -1: none that is known
}

// scan compares all leases with accounts and record, or a part of them at a
// time.
type scan struct {
	*Checker
	f        *findings
	share    Share
	targets  map[string]int32
	deaf     map[int32]bool // targets that did not answer
	recorded bool           // the record was read to its end

	accounts map[uint64]held // by hash of the account's name
	ids      map[uint64]held // by hash of the lease's id
}

// lookLeases compares leases with the accounts in their targets and with what
// the record says of them. Leases are read first: what an active one has in the
// target when it is read stays there while it is active, and a marked account
// had its lease before it (B3).
func (c *Checker) lookLeases(ctx context.Context) (f findings) {
	if c.last.Now.IsZero() { // said already
		return f
	}
	c.lookOverdue(ctx, &f)
	s := &scan{Checker: c, f: &f, targets: map[string]int32{}, deaf: map[int32]bool{}}
	s.share.Of = uint64(max(1, (c.last.Living+c.cfg.Hold-1)/c.cfg.Hold))
	for i, t := range c.last.Targets {
		s.targets[t.ID] = int32(i)
	}
	for ; s.share.Part < s.share.Of; s.share.Part++ {
		if !s.one(ctx) {
			break
		}
	}
	return f
}

// one is one pass; false where the store could not be read.
func (s *scan) one(ctx context.Context) bool {
	s.accounts, s.ids, s.recorded = map[uint64]held{}, map[uint64]held{}, false
	if err := s.each(ctx, s.take); err != nil {
		s.f.cannot(PartStore, "leases", err.Error())
		return false
	}
	s.lookAccounts(ctx)
	s.lookRecord(ctx)
	if !s.unmatched() {
		return true
	}
	if err := s.each(ctx, s.lonely); err != nil {
		s.f.cannot(PartStore, "leases", err.Error())
		return false
	}
	return true
}

// each reads all leases that have not ended, a page at a time.
func (s *scan) each(ctx context.Context, do func(context.Context, *Row) error) error {
	var after lease.ID
	for {
		rows, err := s.src.Store.Leases(ctx, after, s.cfg.Page)
		if err != nil {
			return err
		}
		for i := range rows {
			if err := do(ctx, &rows[i]); err != nil {
				return err
			}
			after = rows[i].ID
		}
		if len(rows) < s.cfg.Page {
			return nil
		}
	}
}

// mine is the hash of a text, and whether it belongs to this pass.
func (s *scan) mine(text string) (uint64, bool) {
	h := hash(text)
	return h, s.share.has(h)
}

// Share is a part of all names by their hashes: what does not fit at once is
// compared share by share.
type Share struct{ Part, Of uint64 }

// Has reports whether the share holds a name.
func (s Share) Has(name string) bool { return s.has(hash(name)) }

func (s Share) has(hash uint64) bool { return s.Of <= 1 || hash%s.Of == s.Part }

// hash stands for a name. Names of accounts and leases are made by Curfew, most
// of each at random: nobody chooses two of one hash.
func hash(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	return h.Sum64()
}

// take keeps what is needed of a lease.
func (s *scan) take(_ context.Context, r *Row) error {
	h := held{version: r.Version, state: place(r.State), target: -1}
	h.late = r.State == lease.Revoking && s.last.Now.Sub(r.EndsAt) > s.cfg.Grace
	if at, known := s.targets[r.Target]; known {
		h.target = at
	}
	if id, mine := s.mine(string(r.ID)); mine {
		s.f.counts.Leases++
		s.ids[id] = h
	}
	if r.Account == "" {
		return nil
	}
	if name, mine := s.mine(r.Account); mine {
		s.accounts[name] = h
	}
	return nil
}

// unknownState is the place of a state that this program does not know.
const unknownState = 255

// place is the place of a state in the order of a life.
func place(s lease.State) uint8 {
	for i, one := range lease.States() {
		if s == one {
			return uint8(i)
		}
	}
	return unknownState
}

// unmatched reports whether a lease has no account or no record.
func (s *scan) unmatched() bool {
	for _, h := range s.accounts {
		if s.alone(h) {
			return true
		}
	}
	for _, h := range s.ids {
		if s.recorded && !h.seen {
			return true
		}
	}
	return false
}

// alone reports whether an account should have been in a target that was
// listed.
func (s *scan) alone(h held) bool {
	return h.state == place(lease.Active) && !h.seen && h.target >= 0 && !s.deaf[h.target] && s.src.Targets != nil
}

// lonely looks at a lease again that lacked its account or its record.
func (s *scan) lonely(ctx context.Context, r *Row) error {
	name, mine := s.mine(r.Account)
	h, kept := s.accounts[name]
	if mine && kept && r.Account != "" && s.alone(h) && s.still(ctx, r, h.version) {
		s.f.add(Finding{
			Kind: MissingAccount, Part: PartTargets, Lease: r.ID, Account: r.Account, Target: s.name(h.target),
			Evidence: fmt.Sprint(r.Version),
			Seen:     fmt.Sprintf("the lease is active until %s, and the target has no such account", stamp(r.ExpiresAt)),
			Heals:    "somebody else took it away: revoke the lease (curfew lease revoke " + string(r.ID) + "), or it ends at its expiry", By: r.ExpiresAt,
		})
	}
	id, mine := s.mine(string(r.ID))
	if h, kept := s.ids[id]; mine && kept && s.recorded && !h.seen && s.still(ctx, r, h.version) {
		s.f.add(Finding{
			Kind: Unknown, Part: PartLedger, Lease: r.ID, Account: r.Account, Evidence: fmt.Sprint(r.Version),
			Seen:  fmt.Sprintf("the store has it as %s, version %d, and by the record it does not live", r.State, r.Version),
			Heals: healsTurn + s.wait(&s.last), By: s.soon(&s.last),
		})
	}
	return nil
}

const healsTurn = "if its event is under way, the auditor has it within seconds; if not, nothing does: somebody has changed store or ledger by hand"

// still reports whether a lease is as it was; what cannot be read again is.
func (s *scan) still(ctx context.Context, r *Row, version int64) bool {
	now, found, err := s.src.Store.Lease(ctx, r.ID)
	return err != nil || found && !now.State.Final() && now.Version == version && r.Version == version
}

// name is the path of a target.
func (s *scan) name(at int32) string {
	if at < 0 {
		return ""
	}
	return s.last.Targets[at].Name
}

// lookOverdue finds leases that are due and that nobody has taken up.
func (c *Checker) lookOverdue(ctx context.Context, f *findings) {
	const few = 100
	rows, err := c.src.Store.Overdue(ctx, c.cfg.Grace, few)
	if err != nil {
		f.cannot(PartStore, "overdue leases", err.Error())
		return
	}
	for i := range rows {
		r := &rows[i]
		// A revocation may be in the hands of a worker for as long as its claim.
		const flight = 2 * time.Minute
		if r.State == lease.Revoking && c.last.Now.Sub(r.NextAt) < flight {
			continue
		}
		f.add(Finding{
			Kind: OverdueLease, Part: PartStore, Lease: r.ID, Account: r.Account, Evidence: fmt.Sprintf("%d %s", r.Version, stamp(r.NextAt)),
			Seen:  fmt.Sprintf("it is %s and was due at %s, and nobody has taken it up", r.State, stamp(r.NextAt)),
			Heals: "the overdue sweep of any revoker, within a second (D1)" + c.wait(&c.last), By: c.soon(&c.last),
		})
	}
}
