// Package sweep finds what the pipeline would forget: each sweep is a step that
// pages through its subject at a bounded rate and puts what it finds into the
// ordinary pipeline.
//
//	Lapse     claims that ran out (C7)
//	Barriers  prefix revocations that were not listed to their end (A4)
//	Mounts    mounts that are being disabled (A2)
//	Strays    accounts in a target without a live lease (B3)
//	Owners    what is kept of targets that are gone
//	Ghosts    sessions without an account (C2)
//	Prune     leases that ended long ago
//	Recount   counts of living leases that are wrong
//
// Only Strays judges by what the store does not have, so only Strays asks whether
// the store may be believed: while the store is suspended it rests; while the
// installation is in doubt, or a target's mark is another installation's, it
// reports what it finds and takes nothing away (own.go). The others go by what
// the store has, in a suspended store as in any.
package sweep

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/revoker/internal/withdraw"
	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

const page = 500

// Lapse returns lapsed claims to due.
type Lapse struct {
	Index expiry.Index
	Time  *store.Estimate
	Every time.Duration
	// Own: Index is the process's own, beside the one that is shared.
	Own bool
	// Told, which may be nil, hears how many leases were in claims that ran out.
	Told func(leases int)
}

// Name implements [step.Step].
func (s *Lapse) Name() string {
	if s.Own {
		return "lapse-own"
	}
	return "lapse"
}

// Do implements [step.Step].
func (s *Lapse) Do(ctx context.Context) (time.Duration, error) {
	now, err := s.Time.Now(ctx)
	if err != nil {
		return 0, err
	}
	n, err := s.Index.Lapse(ctx, now)
	if err != nil {
		return 0, fmt.Errorf("return lapsed claims: %w", err)
	}
	if n > 0 && s.Told != nil {
		s.Told(n)
	}
	return s.Every, nil
}

// Prune deletes leases that ended before Keep ago and whose events the ledger
// has.
type Prune struct {
	Store store.Leases
	Time  *store.Estimate
	Keep  time.Duration
	Every time.Duration
}

// Name implements [step.Step].
func (s *Prune) Name() string { return "prune" }

// Do implements [step.Step].
func (s *Prune) Do(ctx context.Context) (time.Duration, error) {
	now, err := s.Time.Now(ctx)
	if err != nil {
		return 0, err
	}
	n, err := s.Store.Prune(ctx, now.Add(-s.Keep), page)
	if err != nil {
		return 0, fmt.Errorf("prune leases: %w", err)
	}
	if n == page {
		return 100 * time.Millisecond, nil
	}
	return s.Every, nil
}

// Store is what the sweeps over configuration need.
type Store interface {
	store.Leases
	store.Entries
}

// Barriers finishes prefix revocations whose caller died, and deletes those that
// have ended, Keep after that was seen. By then no creation under way can meet
// them, and who began them had time to read how they ended (A4).
type Barriers struct {
	Store Store
	Time  *store.Estimate
	Keep  time.Duration // longer than any creation's grace
	Every time.Duration
}

// Name implements [step.Step].
func (s *Barriers) Name() string { return "barriers" }

// Do implements [step.Step].
func (s *Barriers) Do(ctx context.Context) (time.Duration, error) {
	now, err := s.Time.Now(ctx)
	if err != nil {
		return 0, err
	}
	after := ""
	var errs error
	for {
		entries, err := s.Store.List(ctx, store.KindBarrier, "", after, false, page)
		if err != nil {
			return 0, errors.Join(errs, fmt.Errorf("list barriers: %w", err))
		}
		for _, e := range entries {
			errs = errors.Join(errs, s.one(ctx, e, now))
			after = e.Key
		}
		if len(entries) < page {
			return s.Every, errs
		}
	}
}

func (s *Barriers) one(ctx context.Context, e store.Entry, now time.Time) error {
	b, err := store.DecodeBarrier(e.Value)
	if err != nil {
		return fmt.Errorf("read barrier %s: %w", e.Key, err)
	}
	switch {
	case !b.Listed && now.Sub(b.RaisedAt) > s.Every: // its caller had time to list it
		if err := s.list(ctx, &b); err != nil {
			return err
		}
	case b.Listed && b.FinishedAt.IsZero():
		// It stays while an intent that it withdraws could still be activated
		// (A3), however long that takes.
		open, err := s.Store.Find(ctx, store.Query{
			Prefix: b.Prefix, Before: b.Position, States: []lease.State{lease.Intent, lease.Active, lease.Revoking}, Limit: 1,
		})
		if err != nil {
			return fmt.Errorf("look for leases of barrier %s: %w", e.Key, err)
		}
		if len(open) > 0 {
			return nil
		}
		b.FinishedAt = now
	case b.Listed && now.Sub(b.FinishedAt) > s.Keep:
		w := store.Write{Deletes: []store.Ref{{Kind: store.KindBarrier, ID: e.ID}}}
		if _, err := s.Store.Write(ctx, w); err != nil {
			return fmt.Errorf("delete barrier %s: %w", e.Key, err)
		}
		return nil
	default:
		return nil
	}
	if e.Value, err = b.Encode(); err != nil {
		return fmt.Errorf("write barrier %s: %w", e.Key, err)
	}
	if _, err := s.Store.Write(ctx, store.Write{Puts: []store.Entry{e}}); err != nil && !errors.Is(err, store.ErrRevision) {
		return fmt.Errorf("mark barrier %s: %w", e.Key, err)
	}
	return nil
}

// list does what the caller of b left undone, and counts what it found: also
// what has ended since, which the caller had begun.
func (s *Barriers) list(ctx context.Context, b *store.Barrier) error {
	q := b.Takes()
	if err := withdraw.All(ctx, s.Store, q, b.By, b.Reason); err != nil {
		return err
	}
	total, err := count(ctx, s.Store, *b)
	b.Listed, b.Total = err == nil, total
	return err
}

// count is how many leases an operation has taken: those that have not ended, or
// have since it began.
func count(ctx context.Context, s store.Leases, b store.Barrier) (total int64, err error) {
	q := b.Takes()
	for q.Limit = page; ; {
		found, err := s.Find(ctx, q)
		if err != nil {
			return 0, fmt.Errorf("count the leases of operation %s: %w", b.Operation, err)
		}
		for _, l := range found {
			if !l.State.Final() || !l.Revocation.EndedAt.Before(b.RaisedAt) {
				total++
			}
		}
		if len(found) < page {
			return total, nil
		}
		q.After = found[len(found)-1].ID
	}
}
