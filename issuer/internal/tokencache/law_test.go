package tokencache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// commit is a change of a token: the slow reference keeps all of them.
type commit struct {
	at      time.Time
	version int64
	own     bool // of the process that has the cache
}

// defects are what a broken cache does.
type defects struct {
	countsEarly  bool // an answer counts before what it names is forgotten
	countsLate   bool // an answer counts from when it arrived
	keepsAll     bool // what was read is kept whatever was heard of meanwhile
	missesNone   bool // an answer that misses some is taken for one that does not
	numberedOnly bool // what has no number yet is no change
	keepsOwn     bool // an own commit forgets nothing
}

// model is one process with a cache, another one that changes tokens too, and
// who numbers and deletes events.
type model struct {
	draw   func(n int) int
	broken defects
	ctx    context.Context

	clock  *storetest.Clock
	store  *storetest.Fake
	cache  *Cache[lease.Lease]
	lock   store.Lock
	tokens []lease.ID
	log    map[lease.ID][]commit

	after   event.Position
	asked   time.Time
	answer  *store.TokenChanges // on its way
	delayed []lease.ID          // of countsEarly
	loads   []load
	hits    int
}

// load is a look-up under way: what it read comes later.
type load struct {
	ticket Ticket
	id     lease.ID
	read   *lease.Lease
}

func newModel(draw func(n int) int, broken defects) *model {
	c := storetest.NewClock()
	m := &model{
		draw: draw, broken: broken, ctx: context.Background(), clock: c, store: storetest.NewFake(c),
		cache: New[lease.Lease](c, Config{Max: 6}), log: map[lease.ID][]commit{},
	}
	m.lock, _, _ = m.store.Acquire(m.ctx, "publisher", "x", 1000*time.Hour)
	return m
}

// run takes steps until the law is broken.
func (m *model) run(steps int) error {
	for range steps {
		if err := m.step(); err != nil {
			return err
		}
	}
	return nil
}

func (m *model) step() error {
	switch m.draw(30) {
	case 0:
		m.begin()
	case 1:
		m.change(m.draw(2) == 0)
	case 2, 3, 4:
		m.ask()
	case 5, 6, 7:
		m.arrive()
	case 8:
		if m.draw(3) == 0 {
			m.answer = nil // it is lost, or took too long
		}
	case 9, 10:
		most := []int{40, 40, 400, 1200}[m.draw(4)]
		m.clock.Advance(time.Duration(m.draw(most)) * time.Millisecond)
	case 11:
		_, _, _ = m.store.Number(m.ctx, m.lock, m.draw(4))
	case 12:
		if m.draw(4) == 0 {
			return m.rare()
		}
	default:
		return m.look()
	}
	return nil
}

func (m *model) rare() error {
	head, err := m.store.Head(m.ctx)
	if err != nil {
		return err
	}
	if m.draw(6) > 0 {
		_, err = m.store.Trim(m.ctx, head, m.draw(20))
		return err
	}
	if err := m.store.Suspend(m.ctx, store.Suspension{Reason: "a test"}); err != nil {
		return err
	}
	head, err = m.store.Head(m.ctx)
	if err != nil {
		return err
	}
	after := event.Position{Epoch: head.Epoch, Number: int64(m.draw(int(head.Number) + 1))}
	return m.store.Resume(m.ctx, head.Epoch+1, after, store.Write{})
}

func (m *model) begin() {
	if len(m.tokens) > 3 && m.draw(3) > 0 {
		return
	}
	ttl := []time.Duration{0, 5 * time.Second, time.Hour}[m.draw(3)]
	id := lease.ID(fmt.Sprintf("auth/token/create/h%064x", len(m.tokens)*37))
	m.store.Apply(m.ctx, store.Transition{Change: lease.Change{ID: id, Key: "begin" + string(id), Do: lease.Begin{
		Lease: lease.Lease{Kind: lease.Token, TTL: ttl, Renewable: true},
	}}})
	m.tokens = append(m.tokens, id)
}

func (m *model) token() (lease.ID, bool) {
	if len(m.tokens) == 0 {
		return "", false
	}
	return m.tokens[max(0, len(m.tokens)-1-m.draw(5))], true
}

func (m *model) change(own bool) {
	id, ok := m.token()
	if !ok {
		return
	}
	do := lease.Action(lease.Revoke{})
	if m.draw(2) == 0 {
		do = lease.Renew{Increment: time.Duration(1+m.draw(5)) * time.Second}
	}
	out := m.store.Apply(m.ctx, store.Transition{Change: lease.Change{
		ID: id, Version: lease.AnyVersion, Key: fmt.Sprint(len(m.log[id]), id, m.draw(1<<30)), Do: do,
	}})
	if own && !m.broken.keepsOwn {
		m.cache.Forget(id)
	}
	if out[0].Err == nil {
		m.log[id] = append(m.log[id], commit{m.clock.Now(), out[0].Lease.Version, own})
	}
}

// ask has the store answer; the answer arrives later.
func (m *model) ask() {
	if m.answer != nil {
		return
	}
	m.asked = m.clock.Now()
	a, err := m.store.ChangedTokens(m.ctx, m.after, 6)
	if err != nil {
		return
	}
	if m.broken.numberedOnly {
		a.Tokens = nil
		all, _ := m.store.Events(m.ctx, m.after, 100)
		for i := range all {
			if id := store.ChangedToken(&all[i]); id != "" {
				a.Tokens = append(a.Tokens, id)
			}
		}
	}
	if m.broken.missesNone {
		a.Missed = false
	}
	m.answer = &a
}

func (m *model) arrive() {
	if m.answer == nil {
		return
	}
	a := *m.answer
	m.answer, m.after = nil, a.Head
	if m.broken.countsLate {
		m.asked = m.clock.Now()
	}
	if m.broken.countsEarly {
		a.Tokens, m.delayed = m.delayed, a.Tokens
	}
	m.cache.Apply(m.asked, a)
}

// look begins a look-up, goes on with one, or asks what is kept.
func (m *model) look() error {
	if len(m.loads) > 0 && m.draw(2) == 0 {
		i := m.draw(len(m.loads))
		l := m.loads[i]
		if l.read == nil {
			found, err := m.store.Get(m.ctx, l.id)
			if err != nil {
				return err
			}
			m.loads[i].read = &found
			return nil
		}
		m.loads = slices.Delete(m.loads, i, i+1)
		if now := m.clock.Now(); l.read.Usable(now) {
			if m.broken.keepsAll {
				l.ticket.turn = m.cache.turns[turnOf(l.ticket.key)]
			}
			m.cache.Keep(l.ticket, *l.read, l.read.ExpiresAt)
		}
		return nil
	}
	id, ok := m.token()
	if !ok {
		return nil
	}
	found, ticket, ok := m.cache.Get(KeyOf(id))
	if !ok {
		if len(m.loads) < 3 {
			m.loads = append(m.loads, load{ticket: ticket, id: id})
		}
		return nil
	}
	m.hits++
	return m.check(&found)
}

// check is the law.
func (m *model) check(found *lease.Lease) error {
	now := m.clock.Now()
	for _, c := range m.log[found.ID] {
		if c.version > found.Version && (c.own || !now.Before(c.at.Add(GoodFor))) {
			return fmt.Errorf("%s: what is kept is version %d, and %d was committed %s ago (own: %t)",
				found.ID, found.Version, c.version, now.Sub(c.at), c.own)
		}
	}
	if !found.ExpiresAt.IsZero() && !now.Before(found.ExpiresAt) {
		return fmt.Errorf("%s: it expired %s ago", found.ID, now.Sub(found.ExpiresAt))
	}
	return nil
}

// Law: whatever happens between, nothing that is kept is used a second after
// another commit has changed it, nor at all after one of this process; nor after
// it has expired.
func TestLaw(t *testing.T) {
	t.Parallel()
	hits := 0
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "draw") }, defects{})
		if err := m.run(rapid.IntRange(100, 600).Draw(t, "steps")); err != nil {
			t.Fatal(err)
		}
		hits += m.hits
	})
	if hits == 0 {
		t.Error("nothing was ever kept: the law says nothing")
	}
}

// random runs the model from a seed.
func random(seed uint64, broken defects) (hits int, err error) {
	r := rand.New(rand.NewPCG(seed, 7))
	m := newModel(r.IntN, broken)
	err = m.run(600)
	return m.hits, err
}

// The law can fail: each defect is caught by it.
func TestLawCatches(t *testing.T) {
	t.Parallel()
	const seeds = 3000
	for name, broken := range map[string]defects{
		"an answer counts before what it names is forgotten": {countsEarly: true},
		"an answer counts from its arrival":                  {countsLate: true},
		"what was read is always kept":                       {keepsAll: true},
		"nothing is missed":                                  {missesNone: true},
		"only what has a number has changed":                 {numberedOnly: true},
		"own commits are heard of as all others":             {keepsOwn: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(seeds) {
				if _, err := random(seed, broken); err != nil {
					return
				}
			}
			t.Errorf("%d runs did not catch it", seeds)
		})
	}
	kept := 0
	for seed := range uint64(300) {
		hits, err := random(seed, defects{})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		kept += hits
	}
	if kept < 1000 {
		t.Errorf("%d look-ups were answered from what is kept: the law says little", kept)
	}
}
