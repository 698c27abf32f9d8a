package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
)

// Bounds of one script: what it does holds up every other client.
const (
	offered = 256  // members of one offer
	claimed = 1000 // members of one claim
	lapsed  = 32   // claims
	rounds  = 32   // of lapsing, of one target in one call
)

// Index implements [expiry.Index]. Make it with [New], end it with
// [Index.Close]. It may be used concurrently.
type Index struct {
	client  goredis.UniversalClient
	scripts scripts
	prefix  string
	timeout time.Duration
	cluster bool
}

// Close closes the connections.
func (x *Index) Close() error { return x.client.Close() }

// Offer implements [expiry.Index]. Where it fails it may have been done in part;
// it may be done again.
func (x *Index) Offer(ctx context.Context, members ...expiry.Member) error {
	if len(members) == 0 {
		return nil
	}
	byTarget := map[string][]expiry.Member{}
	for _, m := range members {
		byTarget[m.Target] = append(byTarget[m.Target], m)
	}
	var all []call
	var targets []string
	for _, target := range slices.Sorted(maps.Keys(byTarget)) {
		for batch := range slices.Chunk(byTarget[target], offered) {
			all = append(all, call{keys: x.targetKeys(target), args: pairs(batch)})
			targets = append(targets, target)
		}
	}
	var errs error
	var changed []standing
	for i, a := range x.run(ctx, x.scripts.offer, all) {
		s, err := stands(targets[i], a, 2)
		if err != nil {
			errs = cmp.Or(errs, err) // one of a kind says it
			continue
		}
		changed = append(changed, s)
	}
	// What was done is announced, whatever became of the rest.
	if err := errors.Join(errs, x.announce(ctx, changed...)); err != nil {
		return fmt.Errorf("offer leases: %w", err)
	}
	return nil
}

// Claim implements [expiry.Index]. A claim holds at most 1,000 members. Where
// the answer is lost for good, the claim lapses after hold.
func (x *Index) Claim(ctx context.Context, target string, now time.Time, limit int, hold time.Duration) (expiry.Claim, error) {
	c := expiry.Claim{Target: target}
	if limit <= 0 {
		return c, nil
	}
	token := lease.RandomBase62(16)
	values, err := x.one(ctx, x.scripts.claim, x.targetKeys(target),
		nowScore(now), min(limit, claimed), max(hold.Milliseconds(), 0), token)
	s, err := stands(target, answer{values: values, err: err}, 3)
	if err != nil {
		return c, fmt.Errorf("claim leases: %w", err)
	}
	flat, _ := values[2].([]any)
	if c.Members, err = members(target, flat); err != nil {
		return c, fmt.Errorf("claim leases: %w", err)
	}
	if len(c.Members) == 0 {
		return c, nil
	}
	c.Token = token
	// The claim stands. Should nobody know of it, then who next offers or claims
	// a lease of the target announces it.
	_ = x.announce(ctx, s)
	return c, nil
}

// Complete implements [expiry.Index]. Where the answer to a completion was lost
// and the client asked again, it returns [expiry.ErrLapsed], although it was done.
func (x *Index) Complete(ctx context.Context, c expiry.Claim, later ...expiry.Member) error {
	if c.Token == "" {
		return nil
	}
	return x.finish(ctx, "complete a claim", x.scripts.complete, c, append([]any{c.Token}, pairs(later)...))
}

// Extend implements [expiry.Index]; it counts by the server's clock, not now.
func (x *Index) Extend(ctx context.Context, c expiry.Claim, _ time.Time, hold time.Duration) error {
	if c.Token == "" {
		return expiry.ErrLapsed
	}
	return x.finish(ctx, "extend a claim", x.scripts.extend, c, []any{c.Token, max(hold.Milliseconds(), 0)})
}

// finish runs a script that needs the claim. The target is announced also where
// the claim had lapsed: it may be this very call that ended it.
func (x *Index) finish(ctx context.Context, act string, script *goredis.Script, c expiry.Claim, args []any) error {
	values, err := x.one(ctx, script, x.targetKeys(c.Target), args...)
	s, err := stands(c.Target, answer{values: values, err: err}, 3)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	ok, err := number(values[2])
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	if err := x.announce(ctx, s); err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	if ok == 0 {
		return fmt.Errorf("%s: %w", act, expiry.ErrLapsed)
	}
	return nil
}

// Lapse implements [expiry.Index]; it goes by the server's clock, not now (A5).
func (x *Index) Lapse(ctx context.Context, _ time.Time) (int, error) {
	n, from := 0, first
	for {
		page, err := x.flying(ctx, from)
		if err != nil {
			return n, fmt.Errorf("lapse claims: %w", err)
		}
		if len(page) == 0 {
			return n, nil
		}
		from = after(page[len(page)-1].target)
		put, err := x.lapse(ctx, page)
		n += put
		if err != nil {
			return n, fmt.Errorf("lapse claims: %w", err)
		}
	}
}

// lapse ends claims of some targets that ran out.
func (x *Index) lapse(ctx context.Context, page []entry) (n int, errs error) {
	for round := 0; len(page) > 0 && round < rounds; round++ {
		all := make([]call, len(page))
		for i, e := range page {
			all[i] = call{keys: x.targetKeys(e.target), args: []any{lapsed}}
		}
		var changed []standing
		var idle []settlement
		var more []entry
		for i, a := range x.run(ctx, x.scripts.lapse, all) {
			s, err := stands(page[i].target, a, 4)
			if err != nil {
				errs = cmp.Or(errs, err)
				continue
			}
			put, err := number(a.values[2])
			if err != nil {
				return n, err
			}
			ended, err := number(a.values[3])
			if err != nil {
				return n, err
			}
			n += put
			switch {
			case ended > 0:
				changed = append(changed, s)
			case s.claims == "0":
				idle = append(idle, settlement{entry: page[i], standing: s})
			}
			if ended == lapsed {
				more = append(more, page[i])
			}
		}
		errs = cmp.Or(errs, errors.Join(x.announce(ctx, changed...), x.settle(ctx, idle)))
		page = more
	}
	return n, errs
}

// Upcoming implements [expiry.Index].
func (x *Index) Upcoming(ctx context.Context, until time.Time) ([]expiry.Upcoming, error) {
	var out []expiry.Upcoming
	var wrong []settlement
	limit := nowScore(until)
	seen := map[string]bool{}
	for offset := 0; ; offset += page {
		entries, err := x.soon(ctx, limit, offset)
		if err != nil {
			return nil, fmt.Errorf("list targets with due leases: %w", err)
		}
		// Others may have moved a target between two pages.
		fresh := slices.DeleteFunc(slices.Clone(entries), func(e entry) bool {
			again := seen[e.target]
			seen[e.target] = true
			return again
		})
		found, err := x.look(ctx, fresh)
		if err != nil {
			return nil, fmt.Errorf("look at targets with due leases: %w", err)
		}
		for _, s := range found {
			if s.standing.first != s.entry.at {
				wrong = append(wrong, s)
			}
			if s.standing.first == none {
				continue
			}
			at, err := parseScore(s.standing.first)
			if err != nil {
				return nil, fmt.Errorf("look at targets with due leases: %w", err)
			}
			if !at.After(until) {
				out = append(out, expiry.Upcoming{Target: s.target(), At: at})
			}
		}
		if len(entries) < page {
			break
		}
	}
	// What is not settled now is found again the next time.
	_ = x.settle(ctx, wrong)
	slices.SortStableFunc(out, func(a, b expiry.Upcoming) int { return a.At.Compare(b.At) })
	return out, nil
}

var _ expiry.Index = (*Index)(nil)
