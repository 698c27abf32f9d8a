package leases

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// shelf is a book over a store, by a clock that only the test moves.
type shelf struct {
	*testing.T
	clock *storetest.Clock
	store *storetest.Faulty
	ends  *Ends
	book  *Book
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{T: t, clock: storetest.NewClock()}
	s.store = storetest.NewFaulty(storetest.NewFake(s.clock))
	wake, unwatch := s.store.Watch()
	t.Cleanup(unwatch)
	s.ends = NewEnds(s.store, s.clock, wake)
	s.book = New(s.store, nil, s.ends, s.clock, zerolog.Nop(), Config{})
	return s
}

// run runs the step until the test is over.
func (s *shelf) run() {
	ctx, cancel := context.WithCancel(s.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = step.New(clock.System{}, zerolog.Nop(), step.Config{}, s.ends).Run(ctx) })
	s.Cleanup(func() { cancel(); running.Wait() })
}

func (s *shelf) apply(id lease.ID, do lease.Action) {
	s.Helper()
	out := s.store.Apply(s.Context(), store.Transition{Change: lease.Change{
		ID: id, Version: lease.AnyVersion, Key: lease.RandomBase62(24), By: lease.System("test"), Reason: "test", Do: do,
	}})
	if out[0].Err != nil {
		s.Fatal(out[0].Err)
	}
}

// issued is an active lease.
func (s *shelf) issued() lease.ID {
	s.Helper()
	id := lease.NewID("database/creds/app")
	s.apply(id, lease.Begin{Lease: lease.Lease{Kind: lease.Secret, Target: "t", TTL: time.Hour}})
	s.apply(id, lease.Activate{})
	return id
}

// revoke is what a synchronous request does.
func (s *shelf) revoke(id lease.ID) error {
	w := s.ends.wait(id)
	defer s.ends.leave(w)
	l, _, err := s.book.begin(s.Context(), id, lease.System("test"), "test")
	if err != nil {
		return err
	}
	return s.book.await(s.Context(), l, w)
}

// revoking waits until a request has committed that.
func (s *shelf) revoking(id lease.ID) {
	s.Helper()
	for {
		l, err := s.store.Get(s.Context(), id)
		if err != nil {
			s.Fatal(err)
		}
		if l.State == lease.Revoking {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// C9: many requests hear of the ends of their leases, and of failures, by the
// hints of commits alone: the clock by which they look stands still.
func TestEndsAreTold(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.run()
	const n = 40
	got := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		id := s.issued()
		all.Go(func() { got[i] = s.revoke(id) })
		all.Go(func() {
			s.revoking(id)
			if i%4 == 0 {
				s.apply(id, lease.Progress{Failed: true, Error: fmt.Sprint("target says ", i), After: time.Minute})
				return
			}
			s.apply(id, lease.Finish{To: lease.Revoked})
		})
	}
	all.Wait()
	for i, err := range got {
		if want := fmt.Sprint("target says ", i); i%4 == 0 && (err == nil || !strings.Contains(err.Error(), want)) || i%4 > 0 && err != nil {
			t.Errorf("request %d: %v", i, err)
		}
	}
	if left := s.ends.ids(); len(left) > 0 {
		t.Errorf("%d leases are still waited for", len(left))
	}
}

// C9: without a hint, and where the step's reads fail, each request looks for
// itself; the deadline is an answer, too.
func TestEndsAreLookedFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end  bool
		want string
	}{"it ends": {end: true}, "it does not": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t)
			s.store.Break(storetest.Fault{Method: "GetMany"})
			if _, err := s.ends.Do(t.Context()); err != nil {
				t.Errorf("nobody waits: %v", err)
			}
			s.book.cfg.SyncWithin = time.Minute
			if !c.end {
				s.book.cfg.SyncWithin = 50 * time.Millisecond
				c.want = "not done after 0s, it goes on"
			}
			id := s.issued()
			got := make(chan error, 1)
			go func() { got <- s.revoke(id) }()
			s.revoking(id)
			if _, err := s.ends.Do(t.Context()); !errors.Is(err, storetest.ErrInjected) {
				t.Errorf("the store is away: %v", err)
			}
			if c.end {
				s.apply(id, lease.Finish{To: lease.Revoked})
			}
			for {
				select {
				case err := <-got:
					if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
						t.Errorf("answered %v, want %q", err, c.want)
					}
					return
				case <-time.After(time.Millisecond):
					s.clock.Advance(10 * time.Millisecond)
				}
			}
		})
	}
}

// Who shares its process with the revoker hears of an end without a look at the
// store: by nobody else here, since no step runs and the clock stands still.
func TestEndsAreToldInProcess(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	id := s.issued()
	got := make(chan error, 1)
	go func() { got <- s.revoke(id) }()
	s.revoking(id)
	s.apply(id, lease.Finish{To: lease.Revoked})
	l, err := s.store.Get(s.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for { // it may not wait yet
		s.ends.Tell(&l)
		select {
		case err := <-got:
			if err != nil {
				t.Errorf("the request was answered %v", err)
			}
			return
		case <-time.After(time.Millisecond):
		}
	}
}
