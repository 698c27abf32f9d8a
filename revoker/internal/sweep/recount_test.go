package sweep_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/revoker/internal/sweep"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// counted is a store whose counts can be made wrong.
type counted struct {
	*testing.T
	*storetest.Faulty
	told []int
}

// wrong changes what is kept of database/
func (c *counted) wrong(by int64) {
	c.Helper()
	if _, err := c.Write(c.Context(), store.Write{Mends: []store.Miscount{{Path: "database/", Living: by}}}); err != nil {
		c.Fatal(err)
	}
}

func (c *counted) beat(name, version string) {
	c.Helper()
	if err := installation.Beat(c.Context(), c, installation.Process{Name: name, Version: version, Seen: time.Now()}); err != nil {
		c.Fatal(err)
	}
}

func (c *counted) living(path string) int64 {
	c.Helper()
	n, err := c.Living(c.Context(), path)
	if err != nil {
		c.Fatal(err)
	}
	return n
}

func (c *counted) step() *sweep.Recount {
	return &sweep.Recount{
		Store: c, Time: store.NewEstimate(c, clock.System{}), Clock: clock.System{}, Log: zerolog.Nop(),
		Every: 24 * time.Hour, Look: time.Second, Told: func(n int) { c.told = append(c.told, n) },
	}
}

func recounting(t *testing.T, do func(*counted)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &counted{T: t, Faulty: storetest.NewFaulty(storetest.NewFake(clock.System{}))}
		o := c.Apply(t.Context(), store.Transition{Change: change(lease.NewID("database/creds/a"), lease.Begin{
			Grace: time.Hour, Lease: lease.Lease{Kind: lease.Secret, MountID: "m", Mount: "database/", TTL: time.Hour},
		})})[0]
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		do(c)
	})
}

// Law: wrong counts are mended by themselves once all programs have the same
// version, once a day, and when a person asks; each is on record, and mended once.
func TestRecountHeals(t *testing.T) {
	t.Parallel()
	recounting(t, func(c *counted) {
		steps := []*sweep.Recount{c.step(), c.step()}
		round := func(want int64, told int) {
			c.Helper()
			for _, s := range steps {
				if _, err := s.Do(c.Context()); err != nil {
					c.Fatal(err)
				}
			}
			if n := c.living("database/"); n != want || len(c.told) != told {
				c.Errorf("below database/ live %d, want %d; recounts %v, want %d", n, want, c.told, told)
			}
		}
		c.wrong(5)
		c.beat("old", "1")
		c.beat("new", "2")
		round(6, 0) // the old one may go on to miscount
		time.Sleep(2 * time.Minute)
		c.beat("new", "2")
		round(1, 1) // nobody has heard of it
		c.wrong(5)
		time.Sleep(time.Minute)
		c.beat("new", "2")
		round(6, 1)
		time.Sleep(24 * time.Hour)
		c.beat("new", "2")
		round(1, 2)
		c.wrong(-1)
		last, e, err := store.ReadRecount(c.Context(), c)
		if err != nil || last.Mended != 1 || last.Version != "2" {
			c.Fatalf("%+v, %v", last, err)
		}
		last.AskedAt = time.Now().Add(time.Millisecond)
		if e, err = last.Put(e); err != nil {
			c.Fatal(err)
		}
		if _, err := c.Write(c.Context(), store.Write{Puts: []store.Entry{e}}); err != nil {
			c.Fatal(err)
		}
		time.Sleep(time.Second)
		round(1, 3)
		lock, _, err := c.Acquire(c.Context(), "publisher", "test", time.Minute)
		if err != nil {
			c.Fatal(err)
		}
		if _, _, err := c.Number(c.Context(), lock, 100); err != nil {
			c.Fatal(err)
		}
		events, err := c.Events(c.Context(), event.Position{}, 100)
		if err != nil {
			c.Fatal(err)
		}
		said := 0
		for _, e := range events {
			if e.Type == event.ConfigChanged && e.Subject == "sys/leases/recount" && e.Data.Actor.Name == lease.ActorSweep {
				said++
			}
		}
		if said != 3 {
			c.Errorf("%d events, want 3", said)
		}
	})
}

// Each call to the store fails once, in both ways: whatever happens, the counts
// are right in the end, and nothing is mended twice.
func TestRecountWhenTheStoreFails(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Entry", "Now", "List", "Write", "Miscounts"} {
		for nth := 1; nth <= 2; nth++ {
			for _, done := range []bool{false, true} {
				recounting(t, func(c *counted) {
					c.beat("one", "1")
					c.wrong(7)
					c.Break(storetest.Fault{Method: method, Nth: nth, Done: done})
					s := c.step()
					for range 3 {
						if _, err := s.Do(c.Context()); err != nil && !errors.Is(err, storetest.ErrInjected) {
							c.Errorf("%s %d done=%t: %v", method, nth, done, err)
						}
						time.Sleep(time.Minute) // a claim of a process that died lapses
						c.Break()
						c.beat("one", "1")
					}
					if n := c.living("database/"); n != 1 {
						c.Errorf("%s %d done=%t: below database/ live %d, want 1", method, nth, done, n)
					}
				})
			}
		}
	}
}

// What the record names is bounded.
func TestRecountNamesSome(t *testing.T) {
	t.Parallel()
	recounting(t, func(c *counted) {
		var all []store.Miscount
		for range 30 {
			all = append(all, store.Miscount{Path: lease.RandomBase62(8) + "/", Living: 1})
		}
		if _, err := c.Write(c.Context(), store.Write{Mends: all}); err != nil {
			c.Fatal(err)
		}
		c.beat("one", "1")
		var log strings.Builder
		s := c.step()
		s.Log = zerolog.New(&log)
		if _, err := s.Do(c.Context()); err != nil || len(c.told) != 1 || c.told[0] != 30 {
			c.Errorf("%v, %v", c.told, err)
		}
		if !strings.Contains(log.String(), "and 10 more") {
			c.Errorf("log %s", log.String())
		}
	})
}

// slow is a store in which a recount takes two minutes.
type slow struct {
	sweep.Store
	began atomic.Int32
}

// Miscounts implements [store.Leases].
func (s *slow) Miscounts(ctx context.Context, between func(context.Context) error) ([]store.Miscount, error) {
	s.began.Add(1)
	for range 24 {
		time.Sleep(5 * time.Second)
		if err := between(ctx); err != nil {
			return nil, err
		}
	}
	return s.Store.Miscounts(ctx, between)
}

// A recount that takes long is not taken for dead; one that is asked for anew
// meanwhile is begun again.
func TestLongRecount(t *testing.T) {
	t.Parallel()
	recounting(t, func(c *counted) {
		s := &slow{Store: c}
		one, other := c.step(), c.step()
		one.Store, other.Store = s, s
		c.beat("a", "1")
		done := make(chan error)
		go func() { _, err := one.Do(c.Context()); done <- err }()
		looks := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
				if s.began.Load() == 1 {
					if _, err := other.Do(c.Context()); err != nil {
						c.Fatal(err)
					}
				}
			}
		}
		looks(100 * time.Second)
		if s.began.Load() != 1 {
			c.Fatalf("it was begun %d times in 100 seconds", s.began.Load())
		}
		err := store.Change(c.Context(), c, func() (store.Write, error) { // as a person asks
			last, e, err := store.ReadRecount(c.Context(), c)
			last.AskedAt = time.Now()
			if err == nil {
				e, err = last.Put(e)
			}
			return store.Write{Puts: []store.Entry{e}}, err
		})
		if err != nil {
			c.Fatal(err)
		}
		if err := <-done; err != nil {
			c.Fatalf("asked for anew: %v", err)
		}
		looks(time.Minute)
		if last, _, err := store.ReadRecount(c.Context(), c); s.began.Load() != 2 || err != nil || !last.At.After(last.AskedAt) || !last.ClaimedAt.IsZero() {
			c.Errorf("begun %d times, %+v, %v", s.began.Load(), last, err)
		}
	})
}
