package tokencache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

func idOf(n int) lease.ID { return lease.ID(fmt.Sprintf("auth/token/create/h%064x", n)) }

// put has c keep n under the key of the token n.
func put(c *Cache[int], n int) {
	_, t, _ := c.Get(KeyOf(idOf(n)))
	c.Keep(t, n, time.Time{})
}

func has(c *Cache[int], n int) bool {
	got, _, ok := c.Get(KeyOf(idOf(n)))
	return ok && got == n
}

// Both clocks have to say that the store was asked less than a second ago.
func TestTrust(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, c := range []struct {
		age, wall, want time.Duration
		good            bool
	}{
		{0, 0, 0, true},
		{999 * ms, 999 * ms, 999 * ms, true},
		{GoodFor, GoodFor, GoodFor, false},
		{10 * ms, 12 * ms, 12 * ms, true},              // the clock is slewed
		{12 * ms, 10 * ms, 12 * ms, true},              // the other way
		{10 * ms, time.Hour, time.Hour, false},         // the machine slept
		{10 * ms, -time.Hour, 10 * ms, false},          // the clock was set back
		{-10 * ms, -10 * ms, -10 * ms, false},          // it was asked in the future
		{999 * ms, 1001 * ms, 1001 * ms, false},        //
		{10 * time.Second, 0, 10 * time.Second, false}, // set back by as much
	} {
		if got, good := trust(c.age, c.wall); got != c.want || good != c.good {
			t.Errorf("%s by the monotonic clock and %s by the other: %s, %t; want %s, %t", c.age, c.wall, got, good, c.want, c.good)
		}
	}
}

// E: no more is kept than the bound says, and what is asked for stays.
func TestBound(t *testing.T) {
	t.Parallel()
	clk := storetest.NewClock()
	for _, most := range []int{1, 2, 10, 1000} {
		c := New[int](clk, Config{Max: most})
		c.Apply(clk.Now(), store.TokenChanges{Missed: true, At: clk.Now()})
		put(c, 0)
		for n := 1; n < 5000; n++ {
			put(c, n)
			if kept := c.Stats().Kept; kept > max(2, most) {
				t.Fatalf("of at most %d there are %d kept", most, kept)
			}
			if most >= 10 && !has(c, 0) {
				t.Fatalf("at most %d: after %d others the one that is asked for all the time is forgotten", most, n)
			}
		}
		if !has(c, 4999) {
			t.Errorf("at most %d: the last is not kept", most)
		}
	}
}

// What nobody told the cache is not trusted; what is off keeps nothing.
func TestNothingBeforeTheStoresWord(t *testing.T) {
	t.Parallel()
	clk := storetest.NewClock()
	c := New[int](clk, Config{})
	put(c, 1)
	if s := c.Stats(); has(c, 1) || s.Known || s.Stale == 0 {
		t.Errorf("nobody said what has changed, and it is used: %+v", s)
	}
	c.Apply(clk.Now(), store.TokenChanges{At: clk.Now()})
	if !has(c, 1) {
		t.Error("it is not used after the store's word")
	}
	off := New[int](clk, Config{Max: -1})
	off.Apply(clk.Now(), store.TokenChanges{At: clk.Now()})
	put(off, 1)
	if has(off, 1) || off.Stats().Kept > 0 {
		t.Error("it is off and keeps something")
	}
}

// Ids of other leases are none of its keys.
func TestKeys(t *testing.T) {
	t.Parallel()
	clk := storetest.NewClock()
	c := New[int](clk, Config{})
	c.Apply(clk.Now(), store.TokenChanges{At: clk.Now()})
	put(c, 1)
	for range 100 {
		c.Forget(lease.NewID("database/creds/a"), "", "a", "h", "sys/wrapping/")
	}
	if _, _, ok := c.Get(""); ok || !has(c, 1) {
		t.Error("another lease made it forget a token")
	}
	c.Forget(lease.ID("auth/approle/login/" + KeyOf(idOf(1))))
	if has(c, 1) {
		t.Error("a token is kept that has changed")
	}
	turns := map[int]bool{}
	for n := range 256 {
		turns[turnOf(fmt.Sprintf("h%02x%062x", n, 0))] = true
	}
	if len(turns) != 256 {
		t.Errorf("hashes have %d turns, want 256", len(turns))
	}
}

// source answers as its script says.
type source struct {
	mu    sync.Mutex
	asked []time.Time
	after []event.Position
	do    func(n int) (store.TokenChanges, error)
}

func (s *source) ChangedTokens(_ context.Context, after event.Position, _ int) (store.TokenChanges, error) {
	s.mu.Lock()
	s.asked, s.after = append(s.asked, time.Now()), append(s.after, after)
	n := len(s.asked)
	s.mu.Unlock()
	return s.do(n)
}

// follow runs a follower for a while of the bubble's time.
func follow(t *testing.T, s *source, wake <-chan struct{}, d time.Duration) *Cache[int] {
	t.Helper()
	c := New[int](clock.System{}, Config{})
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	f := NewFollower(s, c, clock.System{}, wake)
	if err := step.New(clock.System{}, zerolog.Nop(), step.Config{}, f).Run(ctx); err != nil {
		t.Error(err)
	}
	return c
}

// The store is asked four times a second, from where its last answer ended; an
// answer counts from before the question.
func TestFollows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{do: func(n int) (store.TokenChanges, error) {
			time.Sleep(30 * time.Millisecond)
			if n == 3 {
				return store.TokenChanges{}, errors.New("away")
			}
			return store.TokenChanges{Head: event.Position{Epoch: 1, Number: int64(n)}}, nil
		}}
		c := follow(t, s, nil, 10*time.Second)
		if n := len(s.asked); n < 30 || n > 45 {
			t.Errorf("the store was asked %d times in 10 s", n)
		}
		for i, want := range []int64{0, 1, 2, 2, 4} {
			if got := s.after[i].Number; got != want {
				t.Errorf("question %d is after %d, want %d", i+1, got, want)
			}
		}
		if age, want := c.Stats().Age, time.Since(s.asked[len(s.asked)-1]); age < want {
			t.Errorf("the last answer is %s old, want at least %s", age, want)
		}
	})
}

// A hint makes it ask at once, however many there are at most fifty times a
// second.
func TestFollowsHints(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{do: func(int) (store.TokenChanges, error) { return store.TokenChanges{}, nil }}
		wake := step.NewSignal()
		go func() {
			time.Sleep(100 * time.Millisecond)
			wake.Set() // one
			time.Sleep(900 * time.Millisecond)
			for range 1000 { // a storm
				wake.Set()
				time.Sleep(time.Millisecond)
			}
		}()
		start := time.Now()
		follow(t, s, wake, 2*time.Second)
		if got := s.asked[1].Sub(start); got != 100*time.Millisecond {
			t.Errorf("after a hint it asked at %s, want at once", got)
		}
		storm := 0
		for i, at := range s.asked {
			if i > 0 && at.Sub(s.asked[i-1]) < spacing {
				t.Errorf("questions %s apart", at.Sub(s.asked[i-1]))
			}
			if at.Sub(start) >= time.Second {
				storm++
			}
		}
		if storm < 40 || storm > 51 {
			t.Errorf("in the storm it asked %d times, want about 50", storm)
		}
	})
}

// E: an answer with too many changes is one that everything changed, and the
// next is complete again.
func TestFollowsAFlood(t *testing.T) {
	t.Parallel()
	clk := storetest.NewClock()
	fake := storetest.NewFake(clk)
	c := New[int](clk, Config{})
	f := NewFollower(fake, c, clk, nil)
	do := func() {
		t.Helper()
		clk.Advance(time.Minute) // past the spacing
		if rest, err := f.Do(t.Context()); err != nil || rest != askEvery {
			t.Fatalf("rest %s, %v", rest, err)
		}
	}
	do()
	put(c, 1)
	if !has(c, 1) {
		t.Fatal("it is not kept")
	}
	flood := make([]event.Event, mostChanges+1)
	for i := range flood {
		flood[i] = event.Event{Type: event.TokenRevoking, Data: event.Data{Kind: lease.Token, LeaseID: idOf(i + 10)}}
	}
	if err := fake.Append(t.Context(), flood...); err != nil {
		t.Fatal(err)
	}
	do()
	if has(c, 1) {
		t.Error("what may have changed is kept")
	}
	lock, _, err := fake.Acquire(t.Context(), "publisher", "x", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := fake.Number(t.Context(), lock, len(flood)); err != nil {
		t.Fatal(err)
	}
	do()
	do()
	put(c, 1)
	do()
	if !has(c, 1) {
		t.Error("after the flood nothing is kept any more")
	}
}
