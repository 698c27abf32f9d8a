package leases

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Preview serves GET sys/leases/preview/<prefix>: what a revocation of the
// prefix would take now (A4), and takes nothing. It reads the store page by page:
// what begins or ends meanwhile may be in it or not.
func (b *Book) Preview(ctx context.Context, _ *request.Request, prefix string) (*wire.Answer, error) {
	below, err := b.below(prefix)
	if err != nil {
		return nil, err
	}
	now, err := b.store.Now(ctx)
	if err != nil {
		return nil, fmt.Errorf("preview revocation: %w", err)
	}
	s := newSummary()
	err = b.each(ctx, store.Query{Prefix: below, States: open()}, func(found []lease.Lease) error {
		for i := range found {
			s.add(&found[i])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.answer(below, now), nil
}

// owner is who created leases: its token's accessor, never the token.
type owner struct{ accessor, name string }

// summary is what is said of many leases without holding them.
type summary struct {
	total    int
	revoking int // beside them: these are in revocation already
	tokens   int
	forever  int // never expire
	roles    *counts[string]
	owners   *counts[owner]

	oldest, newest   time.Time // issued
	earliest, latest time.Time // expire
}

func newSummary() *summary {
	return &summary{roles: newCounts[string](), owners: newCounts[owner]()}
}

func (s *summary) add(l *lease.Lease) {
	if l.State == lease.Revoking {
		s.revoking++
		return
	}
	s.total++
	if l.Kind == lease.Token {
		s.tokens++
	}
	s.roles.add(l.ID.Path())
	s.owners.add(owner{l.IssuedBy.Name, l.IssuedBy.DisplayName})
	s.oldest, s.newest = earlier(s.oldest, l.IssuedAt), later(s.newest, l.IssuedAt)
	if l.ExpiresAt.IsZero() && l.State == lease.Active {
		s.forever++
	}
	s.earliest, s.latest = earlier(s.earliest, l.ExpiresAt), later(s.latest, l.ExpiresAt)
}

// earlier is the earlier of two times, of which the zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (s *summary) answer(prefix string, now time.Time) *wire.Answer {
	roles, owners := []map[string]any{}, []map[string]any{}
	moreRoles := s.roles.largest(func(path string, n int) {
		roles = append(roles, map[string]any{"path": path, "count": n})
	})
	moreOwners := s.owners.largest(func(o owner, n int) {
		owners = append(owners, map[string]any{"accessor": o.accessor, "display_name": o.name, "count": n})
	})
	answer := wire.OK(map[string]any{
		"prefix": prefix, "as_of": wire.Stamp(now), "total": s.total, "revoking": s.revoking, "tokens": s.tokens,
		"roles": roles, "other_roles": moreRoles, "owners": owners, "other_owners": moreOwners,
		"oldest_issue_time": wire.Stamp(s.oldest), "newest_issue_time": wire.Stamp(s.newest),
		"earliest_expire_time": wire.Stamp(s.earliest), "latest_expire_time": wire.Stamp(s.latest), "never_expire": s.forever,
	})
	if s.tokens > 0 {
		answer.Warnings = []string{fmt.Sprintf("%d of these leases are tokens: the tokens and leases that were made with them end with them and are not counted", s.tokens)}
	}
	return answer
}

const (
	// mostCounted bounds what one preview tells apart, and so its memory;
	// mostListed what it shows of that.
	mostCounted = 10_000
	mostListed  = 100
)

// counts counts leases by something of which there may be any number.
type counts[K comparable] struct {
	by     map[K]int
	beyond int // leases of what is not told apart any more
}

func newCounts[K comparable]() *counts[K] { return &counts[K]{by: map[K]int{}} }

func (c *counts[K]) add(key K) {
	if _, known := c.by[key]; !known && len(c.by) == mostCounted {
		c.beyond++
		return
	}
	c.by[key]++
}

// largest calls show with those that have the most leases, and tells how many
// others there are. More may share the rest, where it says "at least".
func (c *counts[K]) largest(show func(key K, n int)) (others map[string]any) {
	keys := slices.SortedFunc(maps.Keys(c.by), func(a, b K) int {
		return cmp.Or(cmp.Compare(c.by[b], c.by[a]), cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)))
	})
	shown := keys[:min(len(keys), mostListed)]
	for _, key := range shown {
		show(key, c.by[key])
	}
	distinct, leases := len(keys)-len(shown), c.beyond
	for _, key := range keys[len(shown):] {
		leases += c.by[key]
	}
	if c.beyond > 0 {
		distinct++
	}
	return map[string]any{"count": distinct, "at_least": c.beyond > 0, "leases": leases}
}
