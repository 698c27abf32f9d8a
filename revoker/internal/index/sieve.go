package index

import (
	"context"
	"time"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	// askWithin bounds what the shared index is asked: one that is silent must
	// not hold up what is due.
	askWithin = 500 * time.Millisecond
	// patience is how late a lease may be, while the shared index works, before
	// nobody is relied on: a revoker may be stuck with its claim and prolong it
	// for ever.
	patience = 30 * time.Second
)

// Sieve feeds what is due where several revokers share an index: to that one,
// so that one of them takes it, or, while it does not work or forgets, to the index
// of the process's own, so that all of them do (D1). Two at one lease do no harm (C7),
// but half of what they do is for nothing.
type Sieve struct {
	shared  Compared
	working func() bool
	time    *store.Estimate
	to, own *Feeder
	since   time.Time // the shared index works; zero: it does not
	// offered is what the shared index lacked and was given. What it lacks once
	// more it forgets.
	offered map[lease.ID]struct{}
}

// remembered bounds Sieve.offered; beyond it begins anew.
const remembered = 1 << 14

// NewSieve returns a sieve. working says whether members are lately claimed from
// the shared index; that it answers is not enough.
func NewSieve(shared Compared, working func() bool, t *store.Estimate, to, own *Feeder) *Sieve {
	return &Sieve{shared: shared, working: working, time: t, to: to, own: own, offered: map[lease.ID]struct{}{}}
}

// offer implements [offerer].
func (s *Sieve) offer(ctx context.Context, members []expiry.Member) error {
	if len(members) == 0 {
		return nil
	}
	now, err := s.time.Now(ctx)
	if err != nil {
		return err
	}
	forgotten, ok := s.share(ctx, members)
	if !ok {
		s.since = time.Time{}
		return s.own.offer(ctx, members)
	}
	if s.since.IsZero() || s.since.After(now) {
		s.since = now
	}
	for _, m := range members {
		if now.Sub(m.At) > patience && now.Sub(s.since) > patience {
			forgotten = append(forgotten, m)
		}
	}
	return s.own.offer(ctx, forgotten)
}

// share gives the shared index what it lacks, and returns what it was given
// before; false where it does not work.
func (s *Sieve) share(ctx context.Context, members []expiry.Member) (forgotten []expiry.Member, ok bool) {
	if !s.working() {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	lacks, err := s.shared.Missing(ctx, members...)
	if err != nil || s.to.offer(ctx, lacks) != nil {
		return nil, false
	}
	if len(s.offered) > remembered {
		clear(s.offered)
	}
	for _, m := range lacks {
		if _, again := s.offered[m.ID]; again {
			forgotten = append(forgotten, m)
		}
		s.offered[m.ID] = struct{}{}
	}
	return forgotten, true
}

var _ offerer = (*Sieve)(nil)
