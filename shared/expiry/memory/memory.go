package memory

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/btree"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
)

// degree of the B-trees; 32 was the knee for inserts and pops at a million.
const degree = 32

// Index implements [expiry.Index].
type Index struct {
	mu      sync.Mutex
	targets map[string]*btree.BTreeG[expiry.Member]
	due     map[lease.ID]expiry.Member
	flights map[lease.ID]*flight
	claims  map[string]*claim
}

// flight is a member that is being worked on. offered is the earliest time,
// later than its own, at which it was offered meanwhile; zero: it was not.
type flight struct {
	member  expiry.Member
	offered time.Time
}

type claim struct {
	until time.Time
	ids   []lease.ID
}

// New returns an empty index.
func New() *Index {
	return &Index{
		targets: map[string]*btree.BTreeG[expiry.Member]{},
		due:     map[lease.ID]expiry.Member{},
		flights: map[lease.ID]*flight{},
		claims:  map[string]*claim{},
	}
}

func earlier(a, b expiry.Member) bool {
	return cmp.Or(a.At.Compare(b.At), strings.Compare(string(a.ID), string(b.ID))) < 0
}

// Offer implements [expiry.Index].
func (x *Index) Offer(_ context.Context, members ...expiry.Member) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, m := range members {
		if f := x.flights[m.ID]; f != nil {
			news := m.At.After(f.member.At) // else the flight works on it
			if news && (f.offered.IsZero() || m.At.Before(f.offered)) {
				f.offered = m.At
			}
			continue
		}
		x.insert(m)
	}
	return nil
}

// insert puts m into due unless it waits there for an earlier time.
func (x *Index) insert(m expiry.Member) {
	if old, ok := x.due[m.ID]; ok {
		if !m.At.Before(old.At) {
			return
		}
		x.remove(old)
	}
	tree := x.targets[m.Target]
	if tree == nil {
		tree = btree.NewG(degree, earlier)
		x.targets[m.Target] = tree
	}
	tree.ReplaceOrInsert(m)
	x.due[m.ID] = m
}

func (x *Index) remove(m expiry.Member) {
	delete(x.due, m.ID)
	if tree := x.targets[m.Target]; tree != nil {
		tree.Delete(m)
		if tree.Len() == 0 {
			delete(x.targets, m.Target)
		}
	}
}

// Claim implements [expiry.Index].
func (x *Index) Claim(_ context.Context, target string, now time.Time, limit int, hold time.Duration) (expiry.Claim, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := expiry.Claim{Target: target}
	tree := x.targets[target]
	if tree == nil {
		return c, nil
	}
	tree.Ascend(func(m expiry.Member) bool {
		if m.At.After(now) || len(c.Members) >= limit {
			return false
		}
		c.Members = append(c.Members, m)
		return true
	})
	if len(c.Members) == 0 {
		return c, nil
	}
	c.Token = lease.RandomBase62(16)
	held := &claim{until: now.Add(hold)}
	for _, m := range c.Members {
		x.flights[m.ID] = &flight{member: m}
		held.ids = append(held.ids, m.ID)
		x.remove(m)
	}
	x.claims[c.Token] = held
	return c, nil
}

// Complete implements [expiry.Index].
func (x *Index) Complete(_ context.Context, c expiry.Claim, later ...expiry.Member) error {
	if c.Token == "" {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	held := x.claims[c.Token]
	if held == nil {
		return expiry.ErrLapsed
	}
	delete(x.claims, c.Token)
	for _, id := range held.ids {
		f := x.flights[id]
		delete(x.flights, id)
		at := f.offered
		if i := slices.IndexFunc(later, func(m expiry.Member) bool { return m.ID == id }); i >= 0 {
			if at.IsZero() || later[i].At.Before(at) {
				at = later[i].At
			}
		}
		if !at.IsZero() {
			f.member.At = at
			x.insert(f.member)
		}
	}
	return nil
}

// Extend implements [expiry.Index].
func (x *Index) Extend(_ context.Context, c expiry.Claim, now time.Time, hold time.Duration) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	held := x.claims[c.Token]
	if held == nil {
		return expiry.ErrLapsed
	}
	held.until = now.Add(hold)
	return nil
}

// Lapse implements [expiry.Index].
func (x *Index) Lapse(_ context.Context, now time.Time) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := 0
	for token, held := range x.claims {
		if held.until.After(now) {
			continue
		}
		delete(x.claims, token)
		for _, id := range held.ids {
			f := x.flights[id]
			delete(x.flights, id)
			x.insert(f.member)
			n++
		}
	}
	return n, nil
}

// Upcoming implements [expiry.Index].
func (x *Index) Upcoming(_ context.Context, until time.Time) ([]expiry.Upcoming, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []expiry.Upcoming
	for target, tree := range x.targets {
		if m, ok := tree.Min(); ok && !m.At.After(until) {
			out = append(out, expiry.Upcoming{Target: target, At: m.At})
		}
	}
	slices.SortFunc(out, func(a, b expiry.Upcoming) int { return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Target, b.Target)) })
	return out, nil
}

// Len implements [expiry.Index].
func (x *Index) Len(context.Context) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.due) + len(x.flights), nil
}

// Missing implements [expiry.Comparer].
func (x *Index) Missing(_ context.Context, members ...expiry.Member) ([]expiry.Member, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []expiry.Member
	for _, m := range members {
		if x.flights[m.ID] != nil {
			continue
		}
		if d, ok := x.due[m.ID]; !ok || d.At.After(m.At) {
			out = append(out, m)
		}
	}
	return out, nil
}

// Waiting implements [expiry.Lister].
func (x *Index) Waiting(_ context.Context, target string, until time.Time, skip, limit int) (out []expiry.Member, _ error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	tree := x.targets[target]
	if tree == nil {
		return nil, nil
	}
	tree.Ascend(func(m expiry.Member) bool {
		if m.At.After(until) || len(out) >= limit {
			return false
		}
		if skip--; skip < 0 {
			out = append(out, m)
		}
		return true
	})
	return out, nil
}

var (
	_ expiry.Index    = (*Index)(nil)
	_ expiry.Comparer = (*Index)(nil)
	_ expiry.Lister   = (*Index)(nil)
)
