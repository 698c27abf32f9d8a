package tokencache

import (
	"cmp"
	"strings"
	"sync"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// GoodFor is how long what is kept counts after the store was asked whether it
// has changed.
const GoodFor = time.Second

// DefaultMax is how many tokens are kept where nothing else is said. One takes
// about 3 kB.
const DefaultMax = 16_384

// Config tunes a [Cache]; the zero value works.
type Config struct {
	// Max is how many tokens are kept; 16,384. Below 0: none, and nothing is
	// asked of the store but what requests ask.
	Max int
}

// Cache keeps values of tokens. It is for any number of goroutines; values are
// shared among them.
type Cache[V any] struct {
	clock clock.Clock
	max   int

	mu sync.Mutex
	// recent and former have at most half of what is kept each. What is asked for
	// moves to recent; when that is full it becomes former, which is forgotten.
	recent, former map[string]kept[V]
	// turns count the changes that were heard of, by a part of the key: a value
	// that was read in an earlier turn may be an old one.
	turns [256]uint64
	asked time.Time // local clock before the last answer was asked for
	at    time.Time // the store's clock in it
	count Counts
}

type kept[V any] struct {
	value   V
	expires time.Time // the store's clock; zero: never
}

// Ticket is the right to keep what is read after it was given.
type Ticket struct {
	key  string
	turn uint64
}

// Counts are look-ups since the start, by what became of them.
type Counts struct {
	Hits   uint64 // answered from here
	Misses uint64 // not kept
	// Stale: too long ago that the store said what has changed.
	Stale uint64
	// Ending: it may have expired, which the store decides.
	Ending uint64
}

// Stats are what a [Cache] tells those who run it.
type Stats struct {
	Counts
	Kept int
	// Age is how long ago the store was asked for the last answer, where it is
	// Known: there was one.
	Age   time.Duration
	Known bool
	Off   bool // nothing is ever kept
}

// New returns an empty cache.
func New[V any](c clock.Clock, cfg Config) *Cache[V] {
	return &Cache[V]{
		clock: c, max: cmp.Or(cfg.Max, DefaultMax),
		recent: map[string]kept[V]{}, former: map[string]kept[V]{},
	}
}

// Off reports whether it keeps nothing.
func (c *Cache[V]) Off() bool { return c.max < 0 }

// KeyOf is what a token goes by: the end of its id.
func KeyOf(id lease.ID) string { return string(id[strings.LastIndexByte(string(id), '/')+1:]) }

// keyLen is the length of the keys of tokens: "h" and a hash in hexadecimal
// digits. No other lease's id ends in so long an element.
const keyLen = 1 + 64

// turnOf is the first byte of the hash.
func turnOf(key string) int { return (digit(key[1])<<4 | digit(key[2])) & 0xff }

// digit is the value of a hexadecimal one.
func digit(b byte) int { return int(b&0xf) + 9*int(b>>6) }

// Get returns what is kept of a token. Otherwise the ticket is for what the
// store says from now on.
func (c *Cache[V]) Get(key string) (value V, t Ticket, ok bool) {
	if c.Off() || len(key) != keyLen {
		return value, t, false
	}
	now := c.clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	t = Ticket{key: key, turn: c.turns[turnOf(key)]}
	age, good := c.age(now)
	if !good {
		c.count.Stale++
		return value, t, false
	}
	k, ok := c.recent[key]
	if !ok {
		if k, ok = c.former[key]; !ok {
			c.count.Misses++
			return value, t, false
		}
		delete(c.former, key)
		c.put(key, k)
	}
	if !k.expires.IsZero() && !c.at.Add(age).Before(k.expires) {
		c.count.Ending++
		return value, t, false
	}
	c.count.Hits++
	return k.value, t, true
}

// age is how long ago the last answer was asked for, and whether what is kept
// counts by it. A monotonic clock may have stood still where the wall clock went
// on.
func (c *Cache[V]) age(now time.Time) (age time.Duration, good bool) {
	if c.asked.IsZero() {
		return 0, false
	}
	return trust(now.Sub(c.asked), now.Round(0).Sub(c.asked.Round(0)))
}

func trust(age, wall time.Duration) (time.Duration, bool) {
	return max(age, wall), 0 <= age && age < GoodFor && -GoodFor < wall && wall < GoodFor
}

// Keep keeps what the store said of a ticket's token, unless a change of it was
// heard of since the ticket was given. expires is by the store's clock; zero:
// never.
func (c *Cache[V]) Keep(t Ticket, value V, expires time.Time) {
	if t.key == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turns[turnOf(t.key)] == t.turn {
		delete(c.former, t.key)
		c.put(t.key, kept[V]{value, expires})
	}
}

func (c *Cache[V]) put(key string, k kept[V]) {
	if _, there := c.recent[key]; !there && len(c.recent) >= max(1, c.max/2) {
		c.former, c.recent = c.recent, map[string]kept[V]{}
	}
	c.recent[key] = k
}

// Forget is told of leases that have changed.
func (c *Cache[V]) Forget(ids ...lease.ID) {
	if c.Off() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		c.forget(id)
	}
}

func (c *Cache[V]) forget(id lease.ID) {
	key := KeyOf(id)
	if len(key) != keyLen {
		return
	}
	c.turns[turnOf(key)]++
	delete(c.recent, key)
	delete(c.former, key)
}

// Apply is told what the store answered, and of the local time before it was
// asked.
func (c *Cache[V]) Apply(asked time.Time, changes store.TokenChanges) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if changes.Missed {
		for i := range c.turns {
			c.turns[i]++
		}
		clear(c.recent)
		clear(c.former)
	}
	for _, id := range changes.Tokens {
		c.forget(id)
	}
	c.asked, c.at = asked, changes.At
}

// Stats tells how it stands.
func (c *Cache[V]) Stats() Stats {
	now := c.clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	age, _ := c.age(now)
	return Stats{Counts: c.count, Kept: len(c.recent) + len(c.former), Age: age, Known: !c.asked.IsZero(), Off: c.Off()}
}
