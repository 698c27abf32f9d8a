package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/curfew-project/curfew/shared/store"
)

const (
	tries    = 8
	minPause = 2 * time.Millisecond
	maxPause = 2 * time.Second
)

// commit runs w to its end, or until ctx ends before a COMMIT was sent. Where others
// were in the way, or the connection broke before anything was committed, it is
// tried again; where the answer was lost, it is settled first (A6).
func (s *Store) commit(ctx context.Context, w *work) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Settle+w.within)
	defer cancel()
	for try := 1; ; try++ {
		err := s.once(ctx, w)
		if err == nil || errors.Is(err, store.ErrUnknown) || fateOf(err) != again || try == tries || ctx.Err() != nil {
			return unavailable(err)
		}
		if err := s.pause(ctx, try); err != nil {
			return unavailable(err)
		}
	}
}

// pause waits longer with each try, with jitter.
func (s *Store) pause(ctx context.Context, try int) error {
	d := min(maxPause, minPause<<min(2*try, 20))
	t, stop := s.local.Timer(d/2 + rand.N(d)) //nolint:gosec // jitter
	defer stop()
	select {
	case <-t:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errBroken, ctx.Err())
	}
}

// once is one transaction. After an error nothing of it is in the database,
// unless the error is ErrUnknown.
func (s *Store) once(ctx context.Context, w *work) error {
	var sl *slot
	select {
	case sl = <-s.slots:
	case <-ctx.Done():
		return fmt.Errorf("%w: wait for a turn to write: %w", errBroken, ctx.Err())
	}
	defer func() { s.slots <- sl }()
	t := &tx{ctx: ctx, s: s, stripe: sl.stripe()}
	end, err := s.attempt(t, w, sl) //nolint:contextcheck // t has it
	switch end {
	case committed:
		sl.commits++
		s.answered.set(sl, &t.meta)
	case unknown:
		end, err = s.settle(ctx, sl, err)
	case aborted, nothing:
	}
	if end == committed && t.hint {
		s.watch.Set()
	}
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// attempt begins, decides and commits on a connection of the pool.
func (s *Store) attempt(t *tx, w *work, sl *slot) (ending, error) {
	c, err := s.writes.Acquire(t.ctx)
	if err != nil {
		return aborted, broken(err)
	}
	defer c.Release() // drops it unless it is whole and out of transaction
	t.conn = c.Conn()
	end, err := s.run(t, w, sl)
	if end == aborted && t.conn.IsClosed() {
		err = broken(err)
	}
	return end, err
}

// broken marks an error of the connection; one of the server keeps its code.
func broken(err error) error { return fmt.Errorf("%w: %w", errBroken, err) }

func (s *Store) run(t *tx, w *work, sl *slot) (end ending, err error) {
	defer func() {
		if end == aborted || end == nothing {
			t.rollback()
		}
	}()
	if err := t.begin(w); err != nil {
		return aborted, err
	}
	if t.meta.timeline != t.meta.identity.timeline {
		t.rollback()
		now := identity{system: t.meta.identity.system, timeline: t.meta.timeline}
		if err := s.suspect(t.ctx, t.conn, t.meta.identity, now, nil); err != nil {
			return aborted, err
		}
		return aborted, errIdentity
	}
	if err := t.decide(w); err != nil {
		return aborted, err
	}
	end, err = t.commit(sl, w.units)
	if end == aborted && serialTaken(err) {
		t.rollback()
		return aborted, errors.Join(errFenced, s.renew(t.ctx, t.conn, sl))
	}
	return end, err
}
