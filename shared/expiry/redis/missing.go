package redis

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/curfew-project/curfew/shared/expiry"
)

// Missing implements [expiry.Comparer]. It looks at the registry first: a member
// that waits in a target of which no claimer knows would not be brought.
func (x *Index) Missing(ctx context.Context, members ...expiry.Member) ([]expiry.Member, error) {
	byTarget := map[string][]int{} // places in members
	for i, m := range members {
		byTarget[m.Target] = append(byTarget[m.Target], i)
	}
	known, err := x.announced(ctx, slices.Sorted(maps.Keys(byTarget)))
	if err != nil {
		return nil, fmt.Errorf("read the registry of targets: %w", err)
	}
	var all []call
	var places [][]int
	for target, of := range byTarget {
		for batch := range slices.Chunk(of, offered) {
			args := append(make([]any, 0, 2+2*len(batch)), known[target]...)
			for _, i := range batch {
				args = append(args, dueScore(members[i].At), string(members[i].ID))
			}
			all = append(all, call{keys: x.targetKeys(target), args: args})
			places = append(places, batch)
		}
	}
	var missing []int
	for i, a := range x.run(ctx, x.scripts.missing, all) {
		if a.err != nil {
			return nil, fmt.Errorf("look for leases: %w", a.err)
		}
		for _, v := range a.values {
			k, err := number(v)
			if err != nil || k < 0 || k >= len(places[i]) {
				return nil, fmt.Errorf("look for leases: unexpected answer %v", v)
			}
			missing = append(missing, places[i][k])
		}
	}
	slices.Sort(missing)
	out := make([]expiry.Member, len(missing))
	for i, k := range missing {
		out[i] = members[k]
	}
	return out, nil
}

// announced reads the first two arguments of missingSource of each target.
func (x *Index) announced(ctx context.Context, targets []string) (map[string][]any, error) {
	out := map[string][]any{}
	for batch := range slices.Chunk(targets, page) {
		args := make([]any, len(batch))
		for i, target := range batch {
			args[i] = target
		}
		values, err := x.one(ctx, x.scripts.announced, x.registryKeys(), args...)
		if err != nil {
			return nil, err
		}
		if len(values) != 2*len(batch) {
			return nil, fmt.Errorf("unexpected answer of %d values", len(values))
		}
		for i, target := range batch {
			at, err := text(values[2*i])
			if err != nil {
				return nil, err
			}
			if at == none { // it stands there for its claims only
				at = ""
			}
			out[target] = []any{at, values[2*i+1]}
		}
	}
	return out, nil
}

var _ expiry.Comparer = (*Index)(nil)
