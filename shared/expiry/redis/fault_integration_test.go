//go:build integration

package redis

import (
	"context"
	"errors"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/testkit"
)

// A flush takes everything: claims have lapsed, nothing is in the way of what
// is offered again (D1).
func TestFlush(t *testing.T) {
	t.Parallel()
	r := testkit.Redis(t)
	x := fresh(t, single(r))
	a, b := member("a", 1, 10), member("a", 2, 99)
	offer(t, x, a, b)
	c := claim(t, x, "a", 10, 10)
	r.FlushAll(t)
	wantLen(t, x, 0)
	wantMissing(t, x, []expiry.Member{a, b}, a, b)
	wantUpcoming(t, x)
	lapseNow(t, x, 0)
	if err := x.Complete(t.Context(), c, a); !errors.Is(err, expiry.ErrLapsed) {
		t.Errorf("complete after a flush: %v, want ErrLapsed", err)
	}
	if err := x.Extend(t.Context(), c, at(10), time.Hour); !errors.Is(err, expiry.ErrLapsed) {
		t.Errorf("extend after a flush: %v, want ErrLapsed", err)
	}
	if n := keys(t, x); n != 0 {
		t.Errorf("%d keys were written for a claim that had lapsed", n)
	}
	offer(t, x, a, b)
	wantUpcoming(t, x, "a")
	if c := claim(t, x, "a", 100, 10); len(c.Members) != 2 {
		t.Errorf("%d members were claimed after a flush, want 2", len(c.Members))
	}
}

// With persistence a killed server comes back with all, claims too; without, it
// comes back empty, and the same connections go on.
func TestKill(t *testing.T) {
	t.Parallel()
	for name, kept := range map[string]bool{"with persistence": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var options []testkit.RedisOption
			if !kept {
				options = append(options, testkit.WithRedisSetting("appendonly", "no"))
			}
			r := testkit.Redis(t, options...)
			x := fresh(t, single(r))
			a, b := member("a", 1, 10), member("a", 2, 99)
			offer(t, x, a, b)
			c := claim(t, x, "a", 10, 10)
			r.Kill(t)
			for what, err := range map[string]error{
				"offer":    x.Offer(t.Context(), a),
				"complete": x.Complete(t.Context(), c),
				"extend":   x.Extend(t.Context(), c, at(10), time.Hour),
				"claim":    errOf(x.Claim(t.Context(), "a", at(10), 1, time.Hour)),
				"lapse":    errOf(x.Lapse(t.Context(), at(10))),
				"upcoming": errOf(x.Upcoming(t.Context(), at(10))),
				"len":      errOf(x.Len(t.Context())),
				"missing":  errOf(x.Missing(t.Context(), a)),
			} {
				if err == nil || errors.Is(err, expiry.ErrLapsed) {
					t.Errorf("%s while the server is down: %v", what, err)
				}
			}
			r.Start(t)
			// After many failures the client tries once a second.
			eventually(t, "the index does not connect again", func() bool { return errOf(x.Len(t.Context())) == nil })
			if !kept {
				wantLen(t, x, 0)
				offer(t, x, a, b)
				c = claim(t, x, "a", 10, 10)
			}
			wantLen(t, x, 2)
			a.At = at(50)
			complete(t, x, c, a)
			if c := claim(t, x, "a", 100, 10); len(c.Members) != 2 || !c.Members[0].At.Equal(at(50)) {
				t.Errorf("claimed %v", c.Members)
			}
		})
	}
}

func errOf[T any](_ T, err error) error { return err }

// A failover behind one address: the old connections are useless, the new
// server knows neither scripts nor members.
func TestFailoverToEmpty(t *testing.T) {
	t.Parallel()
	old, empty := testkit.Redis(t), testkit.Redis(t)
	p := testkit.NewProxy(t, old.Address())
	x := fresh(t, Config{Addresses: []string{p.Address()}})
	m := member("a", 1, 10)
	offer(t, x, m)
	c := claim(t, x, "a", 10, 10)
	p.Redirect(empty.Address())
	if err := x.Complete(t.Context(), c, m); !errors.Is(err, expiry.ErrLapsed) {
		t.Errorf("complete after a failover: %v, want ErrLapsed", err)
	}
	wantLen(t, x, 0)
	offer(t, x, m)
	complete(t, x, claim(t, x, "a", 10, 10))
	p.Down()
	began := time.Now()
	short := opened(t, Config{Addresses: []string{p.Address()}, Prefix: x.prefix, Timeout: 50 * time.Millisecond})
	if err := short.Offer(t.Context(), m); err == nil {
		t.Error("an offer to nobody succeeds")
	}
	if d := time.Since(began); d > time.Minute { // a hang, not a measurement
		t.Errorf("an offer to nobody took %s", d)
	}
	p.Up()
	offer(t, x, m)
}

// Sentinel promotes a replica: the same index goes on with it.
func TestSentinel(t *testing.T) {
	t.Parallel()
	master := testkit.Redis(t)
	replica := master.Replica(t)
	s := master.Sentinel(t, 1)
	x := fresh(t, Config{Addresses: []string{s.Address()}, Master: "curfew"})
	m := member("a", 1, 10)
	offer(t, x, m)
	direct := x.client.(*goredis.Client)
	if err := direct.Wait(t.Context(), 1, time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	master.Kill(t)
	eventually(t, "the index does not follow the failover", func() bool {
		return x.Offer(t.Context(), m) == nil
	})
	if c := claim(t, x, "a", 10, 10); len(c.Members) != 1 {
		t.Errorf("claimed %v", c.Members)
	}
	onReplica := opened(t, Config{Addresses: []string{replica.Address()}, Prefix: x.prefix})
	wantLen(t, onReplica, 1)
}

// eventually waits for what takes a while; only a hang ends it.
func eventually(t *testing.T, otherwise string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(otherwise)
		}
	}
}

// A server that forgot the scripts is given them, in the middle of a pipeline
// too.
func TestScriptsForgotten(t *testing.T) {
	t.Parallel()
	x := fresh(t, single(testkit.Redis(t)))
	forget := func() {
		t.Helper()
		if err := x.client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	var all []expiry.Member
	for i := range 3000 {
		all = append(all, member([]string{"a", "b"}[i%2], i, 10))
	}
	forget()
	offer(t, x, all...)
	wantLen(t, x, 3000)
	forget()
	c := claim(t, x, "a", 10, 10)
	forget()
	if err := x.Extend(t.Context(), c, at(10), time.Hour); err != nil {
		t.Error(err)
	}
	forget()
	complete(t, x, c)
	forget()
	lapseNow(t, x, 0)
	forget()
	wantUpcoming(t, x, "a", "b")
	forget()
	wantMissing(t, x, c.Members, c.Members...)
	wantLen(t, x, 2990)
}

// At maxmemory nothing is added, and claims, completions, put-backs and lapses
// go on.
func TestFullMemory(t *testing.T) {
	t.Parallel()
	x := fresh(t, single(testkit.Redis(t)))
	offer(t, x, member("a", 1, 10), member("a", 2, 10), member("a", 3, 10))
	held := claim(t, x, "a", 10, 1)
	limit := func(n string) {
		t.Helper()
		if err := x.client.ConfigSet(t.Context(), "maxmemory", n).Err(); err != nil {
			t.Fatal(err)
		}
	}
	limit("1")
	if err := x.Offer(t.Context(), member("a", 4, 10)); !goredis.HasErrorPrefix(err, "OOM") {
		t.Errorf("offer with no memory left: %v", err)
	}
	wantUpcoming(t, x, "a")
	c := claim(t, x, "a", 10, 10)
	if len(c.Members) != 2 {
		t.Errorf("claimed %d members with no memory left, want 2", len(c.Members))
	}
	if err := x.Extend(t.Context(), c, at(10), 2*time.Hour); err != nil {
		t.Error(err)
	}
	complete(t, x, c, member("a", 2, 20))
	limit("0")
	clocked{x}.Pass(t, 2*time.Hour)
	limit("1")
	lapseNow(t, x, 1)
	if err := x.Complete(t.Context(), held); !errors.Is(err, expiry.ErrLapsed) {
		t.Errorf("complete of a lapsed claim: %v", err)
	}
	c = claim(t, x, "a", 20, 10)
	complete(t, x, c)
	if len(c.Members) != 2 {
		t.Errorf("claimed %d members, want 2", len(c.Members))
	}
	wantUpcoming(t, x)
	wantLen(t, x, 0)
	if n := keys(t, x); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

// The clock of the server is not that of the store: what is due goes by the
// caller's, claims go by the server's, and one that goes back delays no claim by
// more than its hold (A5).
func TestClocks(t *testing.T) {
	t.Parallel()
	x := fresh(t, single(testkit.Redis(t)))
	for name, store := range map[string]time.Time{
		"store is behind": time.Now().Add(-7 * time.Minute), "store is ahead": time.Now().Add(7 * time.Minute),
	} {
		m := expiry.Member{ID: "m", Target: name, At: store}
		offer(t, x, m)
		early, err := x.Claim(t.Context(), name, store.Add(-time.Millisecond), 1, time.Hour)
		if err != nil || len(early.Members) != 0 {
			t.Errorf("%s: claimed early: %v, %v", name, early.Members, err)
		}
		c, err := x.Claim(t.Context(), name, store.Add(time.Millisecond), 1, time.Hour)
		if err != nil || len(c.Members) != 1 {
			t.Errorf("%s: not claimed: %v, %v", name, c.Members, err)
		}
		// However far off the callers' time: the claim was made just now.
		if n, err := x.Lapse(t.Context(), store.Add(24*time.Hour)); err != nil || n != 0 {
			t.Errorf("%s: lapsed %d, %v", name, n, err)
		}
		complete(t, x, c)
	}
	offer(t, x, member("a", 1, 10))
	claim(t, x, "a", 10, 1) // for an hour
	clocked{x}.Pass(t, -24*time.Hour)
	lapseNow(t, x, 0) // sees that the clock went back
	clocked{x}.Pass(t, time.Hour)
	lapseNow(t, x, 1)
}

// What eviction may do, or a hand: each key of the index vanishes at the worst
// time, and nothing stays in flight for good once it is offered again.
func TestKeyLost(t *testing.T) {
	t.Parallel()
	r := testkit.Redis(t)
	for _, lost := range []string{"due", "flight", "claims", "held", "at", "flying", "stamps"} {
		t.Run(lost, func(t *testing.T) {
			x := fresh(t, single(r))
			offer(t, x, member("a", 1, 10), member("a", 2, 20))
			c := claim(t, x, "a", 10, 1)
			all := append(x.targetKeys("a"), x.registryKeys()...)
			for _, key := range all {
				if len(key) > len(lost) && key[len(key)-len(lost)-1:] == ":"+lost {
					if n, err := x.client.Del(t.Context(), key).Result(); err != nil || n != 1 {
						t.Fatalf("delete %s: %d, %v", key, n, err)
					}
				}
			}
			if err := x.Complete(t.Context(), c, member("a", 1, 11)); err != nil && !errors.Is(err, expiry.ErrLapsed) {
				t.Errorf("complete: %v", err)
			}
			clocked{x}.Pass(t, 2*time.Hour)
			if _, err := x.Lapse(t.Context(), base); err != nil {
				t.Errorf("lapse: %v", err)
			}
			offer(t, x, member("a", 1, 12), member("a", 2, 20))
			wantUpcoming(t, x, "a")
			c = claim(t, x, "a", 30, 10)
			if len(c.Members) != 2 {
				t.Errorf("claimed %v, want both", c.Members)
			}
			complete(t, x, c)
			wantLen(t, x, 0)
			wantUpcoming(t, x)
			lapseNow(t, x, 0)
			if n := keys(t, x); n != 0 {
				t.Errorf("%d keys are left", n)
			}
		})
	}
}

// A claim that nobody announced, since its holder died at once, is found by who
// offers its members again, after it ran out.
func TestUnannouncedClaim(t *testing.T) {
	t.Parallel()
	x := fresh(t, single(testkit.Redis(t)))
	m := member("a", 1, 10)
	offer(t, x, m)
	if _, err := x.one(t.Context(), x.scripts.claim, x.targetKeys("a"), nowScore(at(10)), 1, 3_600_000, "token"); err != nil {
		t.Fatal(err)
	}
	lapseNow(t, x, 0)
	wantUpcoming(t, x)
	offer(t, x, m)
	if c := claim(t, x, "a", 10, 1); len(c.Members) != 0 {
		t.Errorf("claimed %v out of another claim", c.Members)
	}
	clocked{x}.Pass(t, time.Hour)
	offer(t, x, m)
	wantUpcoming(t, x, "a")
	if c := claim(t, x, "a", 10, 1); len(c.Members) != 1 {
		t.Errorf("claimed %v, want the member", c.Members)
	}
}

// What waits in a target of which no claimer knows, and what is in flight where
// nobody would lapse its claim, is missing, so that it is offered again, which
// announces it.
func TestMissingUnannounced(t *testing.T) {
	t.Parallel()
	r := testkit.Redis(t)
	for lost, want := range map[int]int{0: 2, 1: 1, 2: 0} { // at, flying, stamps
		x := fresh(t, single(r))
		aloft, waits, next := member("a", 1, 10), member("a", 2, 20), member("b", 3, 30)
		all := []expiry.Member{aloft, waits, next}
		offer(t, x, all...)
		c := claim(t, x, "a", 10, 1)
		wantMissing(t, x, all)
		if n, err := x.client.Del(t.Context(), x.registryKeys()[lost]).Result(); err != nil || n != 1 {
			t.Fatalf("delete a key of the registry: %d, %v", n, err)
		}
		found, err := x.Missing(t.Context(), all...)
		if err != nil || len(found) != want {
			t.Errorf("without key %d of the registry %v is missing, %v; want %d", lost, found, err, want)
		}
		offer(t, x, found...)
		wantMissing(t, x, all)
		wantUpcoming(t, x, "a", "b")
		clocked{x}.Pass(t, time.Hour)
		lapseNow(t, x, 1)
		if err := x.Complete(t.Context(), c); !errors.Is(err, expiry.ErrLapsed) {
			t.Errorf("complete of a lapsed claim: %v", err)
		}
	}
}
