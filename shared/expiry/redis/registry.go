package redis

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	goredis "github.com/redis/go-redis/v9"

	"github.com/curfew-project/curfew/shared/lease"
)

// page is how many targets are read from the registry at a time.
const page = 256

// entry is a target as the registry has it.
type entry struct {
	target, stamp, at string
}

// settlement is what the registry has of a target and what was found there
// afterwards.
type settlement struct {
	entry    entry
	standing standing
}

func (s settlement) target() string { return s.entry.target }

// announce tells the registry where targets stand, after they changed. It says
// nothing of those that are empty: who looks at one drops it, and nobody would
// look at one that is written down as such.
func (x *Index) announce(ctx context.Context, changed ...standing) error {
	changed = slices.DeleteFunc(changed, standing.empty)
	for batch := range slices.Chunk(changed, page) {
		args := []any{lease.RandomBase62(8)}
		for _, s := range batch {
			args = append(args, s.target, s.first, s.claims)
		}
		if _, err := x.one(ctx, x.scripts.announce, x.registryKeys(), args...); err != nil {
			return fmt.Errorf("announce targets: %w", err)
		}
	}
	return nil
}

// settle corrects the registry where nothing was announced since it was read.
func (x *Index) settle(ctx context.Context, found []settlement) error {
	for batch := range slices.Chunk(found, page) {
		var args []any
		for _, s := range batch {
			args = append(args, s.entry.target, s.entry.stamp, s.standing.first, s.standing.claims)
		}
		if _, err := x.one(ctx, x.scripts.settle, x.registryKeys(), args...); err != nil {
			return fmt.Errorf("settle targets: %w", err)
		}
	}
	return nil
}

// soon reads a page of the targets announced for a time.
func (x *Index) soon(ctx context.Context, until string, offset int) ([]entry, error) {
	return entries(x.one(ctx, x.scripts.soon, x.registryKeys(), until, offset, page))
}

// first is before every target, after(t) behind t.
const first = "-"

func after(target string) string { return "(" + target }

// flying reads a page of the targets that may have claims.
func (x *Index) flying(ctx context.Context, from string) ([]entry, error) {
	return entries(x.one(ctx, x.scripts.flying, x.registryKeys(), from, page))
}

func entries(flat []any, err error) ([]entry, error) {
	if err != nil {
		return nil, err
	}
	out := make([]entry, 0, len(flat)/3)
	for part := range slices.Chunk(flat, 3) {
		var s [3]string
		for i, v := range part {
			if s[i], err = text(v); err != nil {
				return nil, err
			}
		}
		out = append(out, entry{target: s[0], stamp: s[1], at: s[2]})
	}
	return out, nil
}

// look reads where targets stand.
func (x *Index) look(ctx context.Context, entries []entry) ([]settlement, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	pipe := x.client.Pipeline()
	firsts, claims := make([]*goredis.ZSliceCmd, len(entries)), make([]*goredis.IntCmd, len(entries))
	for i, e := range entries {
		keys := x.targetKeys(e.target)
		firsts[i] = pipe.ZRangeWithScores(ctx, keys[0], 0, 0)
		claims[i] = pipe.ZCard(ctx, keys[2])
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	out := make([]settlement, len(entries))
	for i, e := range entries {
		s := standing{target: e.target, first: none, claims: strconv.FormatInt(claims[i].Val(), 10)}
		if z := firsts[i].Val(); len(z) > 0 {
			s.first = score(int64(z[0].Score))
		}
		out[i] = settlement{entry: e, standing: s}
	}
	return out, nil
}

// Len implements [expiry.Index]. It counts target by target, not at one instant.
func (x *Index) Len(ctx context.Context) (int, error) {
	n, seen := 0, map[string]bool{}
	for from := int64(0); ; from += page {
		targets, more, err := x.lenPage(ctx, from)
		if err != nil {
			return 0, fmt.Errorf("count leases: %w", err)
		}
		for target, k := range targets {
			if !seen[target] {
				seen[target] = true
				n += k
			}
		}
		if !more {
			return n, nil
		}
	}
}

func (x *Index) lenPage(ctx context.Context, from int64) (counts map[string]int, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	targets, err := x.client.ZRange(ctx, x.registryKeys()[0], from, from+page-1).Result()
	if err != nil || len(targets) == 0 {
		return nil, false, err
	}
	pipe := x.client.Pipeline()
	dues, flights := make([]*goredis.IntCmd, len(targets)), make([]*goredis.IntCmd, len(targets))
	for i, target := range targets {
		keys := x.targetKeys(target)
		dues[i], flights[i] = pipe.ZCard(ctx, keys[0]), pipe.HLen(ctx, keys[1])
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, false, err
	}
	counts = map[string]int{}
	for i, target := range targets {
		counts[target] = int(dues[i].Val() + flights[i].Val())
	}
	return counts, len(targets) == page, nil
}
