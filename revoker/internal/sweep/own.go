package sweep

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/store"
)

// Owning a target (B3). A copy of an installation knows all keys of the
// original, and its store has no lease for what the other one issues. So in each
// round, before anything is taken away, the target's mark is read and replaced
// by one that nobody else can know:
//
//	mark is known          ──▶ own the next in the store, then write it
//	mark is another's      ──▶ dispute: write a mark that is nobody's, contest
//	contested              ──▶ touch nothing, only report, until a person confirms
//	confirmed since        ──▶ take over, whatever the mark
//
// Whoever comes second meets a mark that it does not know, and by disputing it
// lets the other know: from then on both only report. That takes the other one a
// round, and so nothing is taken away
//   - before the mark has been ours for [settled] rounds' time without a break,
//   - of which the store has never known anything and which is younger than
//     that: whoever made it has had a round since, and left its mark.
//
// What holds: of two installations that sweep, at least once in [settled] times
// the interval, neither takes away what the other one issued, in whatever order
// they start. What is not seen: a copy whose issuer runs without a revoker.

// settled is how many of the sweep's intervals pass before what was seen of a
// target counts: one for the other's round, and one for its being late.
const settled = 2

// looks bounds how often a round looks at a mark that changes meanwhile.
const looks = 3

// standing is what a sweep may do in a target this round.
type standing struct {
	why   string // only report, for this reason; "": act
	fresh bool   // the target is not yet ours for long enough
	// made: what the store has never known of may go where it was made before;
	// the zero time where the target bears no marks.
	made time.Time
}

// tooYoung reports whether an account that the store has never known of may
// be one that another installation has just issued.
func (s *standing) tooYoung(a engine.Account) bool {
	return !s.made.IsZero() && a.CreatedAt.After(s.made)
}

// errAgain: somebody was faster, with the mark or with what is known of it.
var errAgain = errors.New("the mark changed")

// own says where the target stands after leaving a new mark in it. Its error
// is the store's; what the target does not let happen is a reason to report.
func (s *Strays) own(ctx context.Context, p *place) (standing, error) {
	m, ok := p.sweeper.(engine.Marker)
	if !ok {
		return standing{}, nil
	}
	for range looks {
		now, err := s.look(ctx, m, p)
		if !errors.Is(err, errAgain) {
			return now, err
		}
	}
	return standing{why: "the mark of the target changes while it is looked at"}, nil
}

func (s *Strays) look(ctx context.Context, m engine.Marker, p *place) (standing, error) {
	began, err := s.Time.Now(ctx)
	if err != nil {
		return standing{}, err
	}
	found, err := m.Mark(ctx, p.ID)
	if err != nil {
		return unmarked("read", err), nil
	}
	// The store is read after the mark: whatever another process of this
	// installation wrote there, it had committed before.
	o, e, err := installation.Owned(ctx, s.Store, p.ID)
	if err != nil {
		return standing{}, err
	}
	o.Engine = p.engine
	switch {
	case o.Contested != "":
		s.release(p.ID)
		return contested(o.Contested), nil
	case o.Knows(found) || o.Adopt:
		return s.take(ctx, m, p, &o, e, found, began)
	}
	return s.dispute(ctx, m, p, &o, e, found)
}

// take leaves the next mark. It is committed first: a mark of ours that the
// store does not know would be another's.
func (s *Strays) take(
	ctx context.Context, m engine.Marker, p *place, o *installation.Ownership, e store.Entry, found string, began time.Time,
) (standing, error) {
	known, next := o.Knows(found), o.Next(s.Run)
	if known {
		o.Adopt = false
	}
	if err := installation.Own(ctx, s.Store, e, *o); err != nil {
		return standing{}, faster(err)
	}
	if err := m.SetMark(ctx, p.ID, found, next); err != nil {
		if conflict(err) {
			return standing{}, errAgain
		}
		return unmarked("written", err), nil
	}
	if !known { // taken over: from now on it is known, which settles it
		s.release(p.ID)
		s.Log.Warn().Str("target", p.ID).Str("found", found).Msg("target was taken over, as a person confirmed")
		return standing{}, errAgain
	}
	span := settled * s.Every
	return standing{fresh: s.hold(p.ID) < span, made: began.Add(-span)}, nil
}

// dispute marks a target whose mark is another's as nobody's, so that the other
// one meets it, and contests it. In this order: a crash in between is made good
// by the next round, which meets the mark as well.
func (s *Strays) dispute(
	ctx context.Context, m engine.Marker, p *place, o *installation.Ownership, e store.Entry, found string,
) (standing, error) {
	s.release(p.ID)
	// Also where it is disputed already: that proves that it still is, and not
	// what another process of this installation has settled meanwhile.
	if err := m.SetMark(ctx, p.ID, found, installation.Disputed(found, s.Run)); err != nil {
		if conflict(err) {
			return standing{}, errAgain
		}
		return unmarked("written", err), nil
	}
	if err := installation.Contest(ctx, s.Store, e, *o, p.Mount+p.Name, found); err != nil {
		return standing{}, faster(err)
	}
	return contested(found), nil
}

func contested(found string) standing {
	return standing{why: fmt.Sprintf("another installation sweeps this target: its mark was %q", found)}
}

func unmarked(act string, err error) standing {
	return standing{why: fmt.Sprintf("the mark of the target cannot be %s: %s", act, engine.AsError(err).Message)}
}

func conflict(err error) bool { return engine.AsError(err).Kind == engine.Conflict }

// faster turns what a commit says that met another one into errAgain.
func faster(err error) error {
	if errors.Is(err, store.ErrRevision) || errors.Is(err, store.ErrExists) {
		return errAgain
	}
	return err
}

// hold is for how long this process has known the target as its own.
func (s *Strays) hold(target string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Clock.Now()
	if s.held == nil {
		s.held = map[string]time.Time{}
	}
	if _, ok := s.held[target]; !ok {
		s.held[target] = now
	}
	return now.Sub(s.held[target])
}

func (s *Strays) release(target string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, target)
}

// Owners forgets what is kept of targets that are gone.
type Owners struct {
	Store   store.Entries
	Engines map[string]engine.Sweeper // by engine type
	Every   time.Duration
}

// Name implements [step.Step].
func (s *Owners) Name() string { return "owners" }

// Do implements [step.Step].
func (s *Owners) Do(ctx context.Context) (time.Duration, error) {
	var errs error
	for name, sw := range s.Engines {
		err := installation.Forget(ctx, s.Store, name, func(ctx context.Context) (map[string]bool, error) {
			targets, err := sw.Targets(ctx)
			there := make(map[string]bool, len(targets))
			for _, t := range targets {
				there[t.ID] = true
			}
			return there, err
		})
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("tidy up behind targets of %s: %w", name, err))
		}
	}
	return s.Every, errs
}
