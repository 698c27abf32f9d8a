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
	if _, err := s.Index.Lapse(ctx, now); err != nil {
		return 0, fmt.Errorf("return lapsed claims: %w", err)
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
	q := store.Query{Prefix: b.Prefix, Before: b.Position}
	if err := withdraw.All(ctx, s.Store, q, b.By, b.Reason); err != nil {
		return err
	}
	b.Listed, b.Total = true, 0
	for q.Limit = page; ; {
		found, err := s.Store.Find(ctx, q)
		if err != nil {
			return fmt.Errorf("count the leases of barrier %s: %w", b.Operation, err)
		}
		for _, l := range found {
			if !l.State.Final() || !l.Revocation.EndedAt.Before(b.RaisedAt) {
				b.Total++
			}
		}
		if len(found) < page {
			return nil
		}
		q.After = found[len(found)-1].ID
	}
}

// Mounts ends mounts that were withdrawn: revokes their leases, and deletes the
// mount when none is left.
type Mounts struct {
	Store Store
	// Disabled tells the mount's engine that the last lease has ended.
	Disabled func(ctx context.Context, mount store.Entry) error
	Every    time.Duration
}

// Name implements [step.Step].
func (s *Mounts) Name() string { return "mounts" }

// Do implements [step.Step].
func (s *Mounts) Do(ctx context.Context) (time.Duration, error) {
	after := ""
	var errs error
	for {
		mounts, err := s.Store.List(ctx, store.KindMount, "", after, true, page)
		if err != nil {
			return 0, errors.Join(errs, fmt.Errorf("list mounts being disabled: %w", err))
		}
		for _, m := range mounts {
			errs = errors.Join(errs, s.one(ctx, m))
			after = m.Key
		}
		if len(mounts) < page {
			return s.Every, errs
		}
	}
}

func (s *Mounts) one(ctx context.Context, m store.Entry) error {
	if err := withdraw.All(ctx, s.Store, store.Query{MountID: m.ID}, lease.System(lease.ActorMount), "mount was disabled"); err != nil {
		return err
	}
	left, err := s.Store.Find(ctx, store.Query{
		MountID: m.ID, States: []lease.State{lease.Intent, lease.Active, lease.Revoking}, Limit: 1,
	})
	if err != nil {
		return fmt.Errorf("look for leases of a disabled mount: %w", err)
	}
	if len(left) > 0 {
		return nil
	}
	if err := s.Disabled(ctx, m); err != nil {
		return fmt.Errorf("clear a disabled mount: %w", err)
	}
	if _, err := s.Store.Write(ctx, store.Write{Deletes: []store.Ref{{Kind: store.KindMount, ID: m.ID}}}); err != nil {
		return fmt.Errorf("delete a disabled mount: %w", err)
	}
	return nil
}
