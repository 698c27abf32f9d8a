package storetest

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Living implements [store.Leases]: it counts them.
func (f *Fake) Living(ctx context.Context, path string) (int64, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return f.below(path) + f.drift[path], nil
}

func (f *Fake) below(path string) int64 {
	return f.count(func(id lease.ID) bool { return strings.HasPrefix(string(id), path) })
}

// Miscounts implements [store.Leases]: wrong is only what was mended wrongly.
func (f *Fake) Miscounts(ctx context.Context, _ func(context.Context) error) (all []store.Miscount, err error) {
	err = f.enter(ctx)
	defer f.mu.Unlock()
	for _, path := range slices.Sorted(maps.Keys(f.drift)) {
		if n := f.drift[path]; err == nil && n != 0 {
			living := f.below(path)
			all = append(all, store.Miscount{Path: path, Kept: living + n, Living: living})
		}
	}
	return all, err
}

func (f *Fake) mend(found []store.Miscount) {
	if f.drift == nil {
		f.drift = map[string]int64{}
	}
	for _, m := range found {
		f.drift[m.Path] += m.Living - m.Kept
	}
}

func (f *Fake) count(matches func(lease.ID) bool) (n int64) {
	for id := range f.leases {
		if l := f.lease(id); store.Counted(&l) && matches(id) {
			n++
		}
	}
	return n
}

// full is the rule said slowly: the quota of the longest path governs a lease,
// and counts those that it governs.
func (f *Fake) full(id lease.ID) (string, error) {
	q, found, err := f.governs(id)
	if err != nil || !found {
		return "", err
	}
	n := f.count(func(other lease.ID) bool {
		same, found, _ := f.governs(other) // its error would have been the first's
		return found && same.Name == q.Name
	})
	if n < q.Max {
		return "", nil
	}
	return q.Name, nil
}

func (f *Fake) governs(id lease.ID) (longest store.Quota, found bool, err error) {
	for _, e := range f.entries {
		if e.Kind != store.KindLeaseQuota || e.Withdrawn {
			continue
		}
		q, err := store.DecodeQuota(e)
		if err != nil {
			return q, false, err
		}
		if strings.HasPrefix(string(id), q.Path) && (!found || len(q.Path) > len(longest.Path)) {
			longest, found = q, true
		}
	}
	return longest, found, nil
}
