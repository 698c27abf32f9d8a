package fsck

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
)

// lookAccounts lists the targets, each by name, and compares.
func (s *scan) lookAccounts(ctx context.Context) {
	if s.src.Targets == nil {
		if s.share.Part == 0 && len(s.last.Targets) > 0 {
			s.f.cannot(PartTargets, "", s.src.Unseen[PartTargets])
		}
		return
	}
	for at, t := range s.last.Targets {
		if err := s.lookTarget(ctx, int32(at), t); err != nil {
			if !s.deaf[int32(at)] {
				s.f.cannot(PartTargets, t.Name, err.Error())
			}
			s.deaf[int32(at)] = true
		}
	}
}

func (s *scan) lookTarget(ctx context.Context, at int32, t Target) error {
	after := ""
	for {
		names, err := s.src.Targets.Accounts(ctx, t.ID, after, s.cfg.Page)
		if err != nil {
			return err
		}
		for _, name := range names {
			after = name
			if err := s.account(ctx, at, t, name); err != nil {
				return err
			}
		}
		if len(names) < s.cfg.Page {
			return nil
		}
	}
}

// account compares one account with the leases. One that no lease was seen for
// is looked up: it may have been made since. Two connections may lead to one
// server; then each lists what the other's leases stand for.
func (s *scan) account(ctx context.Context, at int32, t Target, name string) error {
	hash, mine := s.mine(name)
	if !mine {
		return nil
	}
	s.f.counts.Accounts++
	h, known := s.accounts[hash]
	if known && h.target == at {
		h.seen = true
		s.accounts[hash] = h
	}
	switch {
	case known && (!h.late || h.target != at):
		return nil
	case !known && s.f.full(StrayAccount), known && s.f.full(LateAccount):
		s.f.omitted++
		return nil
	}
	rows, err := s.src.Store.Named(ctx, name)
	if err != nil {
		return fmt.Errorf("look up account %s: %w", name, err)
	}
	was := "the store has never known of it"
	for i := range rows {
		r := &rows[i]
		if !r.State.Final() {
			if h.late && r.State == lease.Revoking {
				s.late(t, name, r)
			}
			return nil
		}
		was = fmt.Sprintf("its lease %s has ended as %s", r.ID, r.State)
	}
	if known { // it ended since
		return nil
	}
	s.stray(t, name, was)
	return nil
}

// late is an account whose lease had to end.
func (s *scan) late(t Target, name string, r *Row) {
	one := Finding{
		Kind: LateAccount, Part: PartTargets, Lease: r.ID, Account: name, Target: t.Name, Evidence: stamp(r.EndsAt),
		Seen: fmt.Sprintf("access had to end at %s, and the account is there after %d attempts", stamp(r.EndsAt), r.Attempts),
	}
	if r.Error != "" {
		one.Seen += ": " + r.Error
	}
	one.Heals, one.By = "the revocation is tried again at "+stamp(r.NextAt)+" (C8)"+s.wait(&s.last), r.NextAt
	if r.Parked {
		one.Heals = "a person has to remove the reason; tried again at " + stamp(r.NextAt) + ", and as soon as the configuration changes (C8)"
		one.By = time.Time{}
	}
	s.f.add(one)
}

// stray is an account that no lease stands for.
func (s *scan) stray(t Target, name, was string) {
	one := Finding{
		Kind: StrayAccount, Part: PartTargets, Account: name, Target: t.Name, Evidence: was,
		Seen: "the account bears our mark and no live lease stands for it: " + was,
	}
	every := s.strayEvery()
	switch {
	case len(s.last.Doubts) > 0:
		one.Heals = "stray sweeps only report until a person has confirmed (curfew operator confirm): " + strings.Join(s.last.Doubts, "; ")
	case s.contested(t.ID):
		one.Heals = "another installation sweeps this target: a person decides whose it is (curfew operator confirm)"
	case s.src.Stopped || every == 0:
		one.Heals = "the stray sweep opens a lease for it and revokes it, once a revoker runs (B3)"
	default:
		// A target counts as ours after two rounds; then comes the one that acts.
		const rounds = 4
		one.Heals = fmt.Sprintf("the stray sweep opens a lease for it and revokes it; it looks every %s (B3)", every)
		one.By = s.last.Now.Add(rounds * every)
	}
	s.f.add(one)
}

func (s *scan) contested(target string) bool {
	for _, one := range s.last.Contested {
		if one == target {
			return true
		}
	}
	return false
}

// strayEvery is how often the revokers look for strays; 0: none runs.
func (s *scan) strayEvery() (every time.Duration) {
	for _, p := range s.last.Processes {
		if p.Revoker == nil || s.last.Now.Sub(p.Seen) > alive {
			continue
		}
		if every == 0 || p.Revoker.StrayEvery < every {
			every = p.Revoker.StrayEvery
		}
	}
	return every
}
