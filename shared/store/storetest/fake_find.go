package storetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Get implements [store.Leases].
func (f *Fake) Get(ctx context.Context, id lease.ID) (lease.Lease, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	l := f.lease(id)
	if err == nil && l.State == "" {
		err = fmt.Errorf("get lease: %w", store.ErrNotFound)
	}
	return l, err
}

// GetMany implements [store.Leases].
func (f *Fake) GetMany(ctx context.Context, ids ...lease.ID) ([]lease.Lease, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	all := f.sorted()
	return slices.DeleteFunc(all, func(l lease.Lease) bool { return !slices.Contains(ids, l.ID) }), nil
}

// Find implements [store.Leases].
func (f *Fake) Find(ctx context.Context, q store.Query) ([]lease.Lease, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	all, err := f.matching(q)
	all = slices.DeleteFunc(all, func(l lease.Lease) bool { return l.ID <= q.After })
	return firstOf(all, cmp.Or(q.Limit, 1000)), err
}

// Count implements [store.Leases].
func (f *Fake) Count(ctx context.Context, q store.Query) (int64, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err != nil {
		return 0, err
	}
	all, err := f.matching(q)
	return int64(len(all)), err
}

func (f *Fake) matching(q store.Query) ([]lease.Lease, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	all := f.sorted()
	return slices.DeleteFunc(all, func(l lease.Lease) bool { return !matches(&l, &q) }), nil
}

func matches(l *lease.Lease, q *store.Query) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	return strings.HasPrefix(string(l.ID), q.Prefix) &&
		is(string(q.Token), string(l.TokenID)) && is(q.Account, l.Account) &&
		is(q.MountID, l.MountID) && is(q.Target, l.Target) && is(string(q.Kind), string(l.Kind)) &&
		(len(q.States) == 0 || slices.Contains(q.States, l.State)) &&
		(!q.Parked || l.Revocation.Parked) && (q.Before == 0 || l.Position < q.Before)
}

func firstOf[T any](all []T, n int) []T { return all[:min(len(all), max(0, n))] }

// Revoking implements [store.Leases].
func (f *Fake) Revoking(ctx context.Context) ([]store.Revoking, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	all := f.sorted()
	return sumUp(slices.DeleteFunc(all, func(l lease.Lease) bool { return l.State != lease.Revoking })), nil
}

// sumUp is what a store says of leases in revocation.
func sumUp(all []lease.Lease) (out []store.Revoking) {
	for _, l := range all {
		i := slices.IndexFunc(out, func(r store.Revoking) bool {
			return r.MountID == l.MountID && r.Target == l.Target && r.Kind == l.Kind
		})
		if i < 0 {
			i = len(out)
			out = append(out, store.Revoking{MountID: l.MountID, Target: l.Target, Kind: l.Kind, Due: l.Revocation.DueAt.UTC()})
		}
		r := &out[i]
		if r.Count++; l.Revocation.Parked {
			r.Parked++
		}
		if due := l.Revocation.DueAt; due.Before(r.Due) {
			r.Due = due.UTC()
		}
	}
	slices.SortFunc(out, func(a, b store.Revoking) int {
		return cmp.Or(cmp.Compare(a.MountID, b.MountID), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}

// Children implements [store.Leases].
func (f *Fake) Children(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, l := range f.sorted() {
		rest, inside := strings.CutPrefix(string(l.ID), prefix)
		if !inside || rest == "" || l.State.Final() {
			continue
		}
		if name, _, inner := strings.Cut(rest, "/"); inner {
			rest = name + "/"
		}
		if place(rest) > place(after) && !slices.Contains(all, rest) {
			all = append(all, rest)
		}
	}
	return firstOf(all, limit), nil
}

// place is where an element stands among its siblings: an inner one behind
// everything that begins with its name and a slash.
func place(element string) string {
	if name, inner := strings.CutSuffix(element, "/"); inner {
		return name + "/\xff"
	}
	return element
}

// Due implements [store.Leases].
func (f *Fake) Due(ctx context.Context, until time.Time, after store.Cursor, limit int) ([]store.Due, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var all []store.Due
	for _, l := range f.sorted() {
		at := l.DueAt()
		later := at.After(after.At) || at.Equal(after.At) && l.ID > after.ID
		if !at.IsZero() && !at.After(until) && later {
			all = append(all, store.Due{ID: l.ID, Kind: l.Kind, Target: l.Target, At: at.UTC()})
		}
	}
	slices.SortStableFunc(all, func(a, b store.Due) int { return a.At.Compare(b.At) })
	return firstOf(all, limit), nil
}

// Prune implements [store.Leases].
func (f *Fake) Prune(ctx context.Context, endedBefore time.Time, limit int) (int, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n := 0
	for _, l := range f.byLastEvent() {
		last, numbered := f.positionOf(f.leases[l.ID].event)
		if n == limit || !numbered || f.confirm[store.Ledger].Before(last) || !l.Revocation.EndedAt.Before(endedBefore) {
			break
		}
		delete(f.leases, l.ID)
		n++
	}
	return n, nil
}

// byLastEvent lists ended leases in the order in which they ended.
func (f *Fake) byLastEvent() []lease.Lease {
	all := slices.DeleteFunc(f.sorted(), func(l lease.Lease) bool { return !l.State.Final() })
	slices.SortFunc(all, func(a, b lease.Lease) int { return cmp.Compare(f.leases[a.ID].event, f.leases[b.ID].event) })
	return all
}
