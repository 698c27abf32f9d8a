package sweep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

// StrayStore is what [Strays] needs of the store.
type StrayStore interface {
	store.Leases
	store.Entries
	// Suspension is that of [store.Recovery].
	Suspension(ctx context.Context) (store.Suspension, bool, error)
}

// Strays looks in every target for accounts with our mark that no lease stands
// for, and opens a lease of kind stray for each (B3). Where the installation is
// in doubt, or the target is not its own, it only reports them.
type Strays struct {
	Store   StrayStore
	Engines map[string]engine.Sweeper // by engine type
	Time    *store.Estimate
	Clock   clock.Clock
	Log     zerolog.Logger
	Every   time.Duration
	// Run names this run of the process in the marks of targets; no other run
	// has it.
	Run string
	// Now wakes the sweep before its time.
	Now step.Signal
	// Told, which may be nil, hears of each stray that is put into the pipeline.
	Told func(engine.Target)

	mu   sync.Mutex
	held map[string]time.Time // local: since when a target has been our own
	said map[string]string    // what was logged last of a target that is only reported
}

// Name implements [step.Step].
func (s *Strays) Name() string { return "strays" }

// Wake implements [step.Waker].
func (s *Strays) Wake() <-chan struct{} { return s.Now }

// Do implements [step.Step]. One target that does not answer does not keep the
// sweep from the others, nor makes it go round them more often.
func (s *Strays) Do(ctx context.Context) (time.Duration, error) {
	_, err := s.doubt(ctx)
	switch {
	case errors.Is(err, store.ErrSuspended):
		return s.Every, nil
	case err != nil:
		return 0, err
	}
	err = eachTarget(ctx, s.Engines, func(name string, sw engine.Sweeper, t engine.Target) error {
		return s.target(ctx, &place{engine: name, sweeper: sw, Target: t})
	})
	if err != nil && ctx.Err() == nil {
		s.Log.Warn().Err(err).Msg("stray accounts were not looked for everywhere")
	}
	return s.Every, nil
}

// place is one target in one round.
type place struct {
	engine.Target
	engine  string
	sweeper engine.Sweeper

	standing
	found installation.Strays // where they are only reported
}

func (s *Strays) target(ctx context.Context, p *place) (err error) {
	if p.standing, err = s.own(ctx, p); err != nil {
		return err
	}
	doubt, err := s.doubt(ctx)
	switch {
	case errors.Is(err, store.ErrSuspended): // since the round began
		return nil
	case err != nil:
		return err
	case p.why == "":
		p.why = doubt
	}
	if p.why == "" && p.fresh {
		return nil
	}
	refused, err := s.accounts(ctx, p)
	if err != nil {
		return errors.Join(refused, err)
	}
	if err := installation.ReportStrays(ctx, s.Store, p.ID, p.found); err != nil {
		return errors.Join(refused, err)
	}
	s.say(p)
	return refused
}

// doubt is why nothing may be taken away anywhere; "" where it may. It is
// ErrSuspended where not even a report would be right: what the store lacks is
// being brought in.
func (s *Strays) doubt(ctx context.Context) (string, error) {
	_, suspended, err := s.Store.Suspension(ctx)
	if err != nil {
		return "", fmt.Errorf("ask whether the store is suspended: %w", err)
	}
	if suspended {
		return "", store.ErrSuspended
	}
	reasons, err := installation.Current(ctx, s.Store)
	return strings.Join(reasons, "; "), err
}

// accounts goes through all accounts of a target. refused is the failure of the
// first one that could not be dealt with; it keeps none of the others.
func (s *Strays) accounts(ctx context.Context, p *place) (refused, err error) {
	after := ""
	for {
		// The target is listed first and the store asked then: an account's
		// intent precedes it, so one without a live lease is a stray.
		began, err := s.Time.Now(ctx)
		if err != nil {
			return refused, err
		}
		accounts, err := p.sweeper.Accounts(ctx, p.ID, after, page)
		if err != nil {
			return refused, fmt.Errorf("list accounts: %w", err)
		}
		for _, a := range accounts {
			if err := s.account(ctx, p, a, began); err != nil && refused == nil {
				refused = err
			}
			after = a.Name
		}
		if len(accounts) < page {
			return refused, nil
		}
	}
}

func (s *Strays) account(ctx context.Context, p *place, a engine.Account, listed time.Time) error {
	leases, err := s.Store.Find(ctx, store.Query{Account: a.Name})
	if err != nil {
		return fmt.Errorf("look up an account: %w", err)
	}
	live := slices.ContainsFunc(leases, func(l lease.Lease) bool {
		// What ended after the listing was taken away since.
		return !l.State.Final() || l.Revocation.EndedAt.After(listed.Add(-time.Second))
	})
	switch {
	case live:
		return nil
	case p.why != "":
		p.found.Engine = p.engine
		if p.found.Count++; p.found.Count <= installation.Named {
			p.found.Accounts = append(p.found.Accounts, a.Name)
		}
		return nil
	case len(leases) == 0 && p.tooYoung(a):
		return nil // the next rounds meet it again
	}
	return s.open(ctx, p, a)
}

// open puts a stray account into the ordinary pipeline. That nothing speaks
// against it is asked anew: a round may take long.
func (s *Strays) open(ctx context.Context, p *place, a engine.Account) error {
	doubt, err := s.doubt(ctx)
	if err != nil {
		return fmt.Errorf("leave stray account %q alone: %w", a.Name, err)
	}
	if doubt != "" {
		return fmt.Errorf("leave stray account %q alone: %s", a.Name, doubt)
	}
	plan, handle, err := p.sweeper.StrayPlan(ctx, p.ID, a)
	if err != nil {
		return fmt.Errorf("plan the end of stray account %q: %w", a.Name, err)
	}
	id := lease.NewID(p.Mount + "stray/" + p.Name)
	o := s.Store.Apply(ctx, store.Transition{Change: lease.Change{
		ID: id, Key: lease.RandomBase62(16), By: lease.System(lease.ActorSweep),
		Reason: "account without a live lease",
		Do: lease.Begin{Lease: lease.Lease{
			Kind: lease.Stray, MountID: p.MountID, Mount: p.Mount, Engine: p.engine, Target: p.ID,
			Account: a.Name, Plan: plan, Handle: handle,
		}},
	}})[0]
	if o.Err != nil {
		return fmt.Errorf("open a lease for stray account %q: %w", a.Name, o.Err)
	}
	s.Log.Warn().Str("account", a.Name).Str("target", p.ID).Str("lease", string(id)).Msg("stray account found")
	if s.Told != nil {
		s.Told(p.Target)
	}
	return nil
}

// say logs that a target's strays are only reported: once for each change of
// the reason or of what was found.
func (s *Strays) say(p *place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, reporting := s.said[p.ID]
	if p.why == "" {
		if delete(s.said, p.ID); reporting {
			s.Log.Info().Str("target", p.ID).Msg("stray accounts are taken away again")
		}
		return
	}
	now := fmt.Sprint(p.why, p.found.Count, p.found.Accounts)
	if now == before {
		return
	}
	if s.said == nil {
		s.said = map[string]string{}
	}
	s.said[p.ID] = now
	s.Log.Warn().Str("target", p.ID).Int("strays", p.found.Count).Str("reason", p.why).Msg("stray accounts are only reported")
}
