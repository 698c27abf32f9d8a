package fsck

import (
	"context"
	"fmt"
)

// lookRecord compares what the record says of each live lease with the store.
func (s *scan) lookRecord(ctx context.Context) {
	if s.src.Ledger == nil {
		if s.share.Part == 0 {
			s.f.cannot(PartLedger, "", s.src.Unseen[PartLedger])
		}
		return
	}
	var end *End
	err := s.src.Ledger.Record(ctx, s.share, func(l Line) error {
		switch {
		case l.Wrong != nil: // of a lease of this share, or of the files, with the first
			s.f.add(*l.Wrong)
		case l.Lease != nil:
			return s.turn(ctx, l.Lease)
		case l.End != nil:
			end = l.End
		}
		return nil
	})
	if err != nil || end == nil {
		why := "what it says is cut off"
		if err != nil {
			why = err.Error()
		}
		s.f.cannot(PartLedger, "", why)
		return
	}
	s.recorded = true
	if s.share.Part > 0 {
		return
	}
	s.f.counts.Entries = end.Entries
	if end.Last.Before(s.last.Confirmed) {
		s.f.add(Finding{
			Kind: LedgerBehind, Part: PartLedger, Evidence: end.Last.String(),
			Seen:  fmt.Sprintf("the ledger has confirmed everything up to %s, and ends with %s", s.last.Confirmed, end.Last),
			Heals: "what the store has not deleted yet is fetched from it when the auditor opens the ledger; the rest only a copy of the ledger's directory has (D5)",
		})
	}
}

// turn compares one lease that lives by the record.
func (s *scan) turn(ctx context.Context, r *Row) error {
	hash, mine := s.mine(string(r.ID))
	if !mine {
		return nil
	}
	h, known := s.ids[hash]
	if known {
		h.seen = true
		s.ids[hash] = h
	}
	if known && h.version == r.Version && h.state == place(r.State) {
		return nil
	}
	now, found, err := s.src.Store.Lease(ctx, r.ID)
	if err != nil {
		return fmt.Errorf("look up a lease: %w", err)
	}
	switch {
	case !found:
		s.f.add(Finding{
			Kind: LostLease, Part: PartLedger, Lease: r.ID, Evidence: fmt.Sprintf("%s %d", r.State, r.Version),
			Seen:  fmt.Sprintf("the record knows it as %s, version %d, and the store has no such lease", r.State, r.Version),
			Heals: "the auditor restores it from the record when it finds that the store lost commits, as at its next start (A7)",
		})
	case !now.State.Final() && now.Version > r.Version && (!known || now.Version > h.version):
		// It went on since the store was read; its events come after it.
	case now.Version != r.Version || now.State != r.State:
		s.f.add(Finding{
			Kind: UnrecordedTurn, Part: PartLedger, Lease: r.ID, Account: now.Account,
			Evidence: fmt.Sprintf("%s %d, %s %d", now.State, now.Version, r.State, r.Version),
			Seen: fmt.Sprintf("the store has it as %s, version %d; the record's last entry about it is %s, version %d",
				now.State, now.Version, r.State, r.Version),
			Heals: healsTurn + s.wait(&s.last), By: s.soon(&s.last),
		})
	}
	return nil
}
