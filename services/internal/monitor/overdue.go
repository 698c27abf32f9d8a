package monitor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	// sampleEvery is how old a look at what is overdue may be.
	sampleEvery = 5 * time.Second
	// share bounds what looking costs: it rests this many times as long as the
	// last look took.
	share = 20
	// overduePage and overduePages bound how many leases are counted whose turn
	// has passed: the most overdue first.
	overduePage, overduePages = 1000, 10
)

// place is what labels say of where leases are.
type place struct{ mount, target string }

// waiting is what of one place waits to be taken away.
type waiting struct {
	open, parked int64     // in revocation
	overdue      int64     // due now, and nobody has looked at them
	oldest       time.Time // when access had to end; zero: nothing is overdue
}

func (w *waiting) since(at time.Time) {
	if !at.IsZero() && (w.oldest.IsZero() || at.Before(w.oldest)) {
		w.oldest = at
	}
}

// overdue looks at what waits to be taken away, no more often than is cheap. It
// reads indexes that hold what is in revocation or due, never what lives.
type overdue struct {
	store Source
	names *names
	clock clock.Clock

	mu    sync.Mutex
	until time.Time // local: no look before
	now   time.Time // the store's, at the last look
	found map[place]*waiting
}

// get is the last look, or a new one; it is not to be changed.
func (o *overdue) get(ctx context.Context) (found map[place]*waiting, now time.Time, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	began := o.clock.Now()
	if began.Before(o.until) {
		return o.found, o.now, nil
	}
	found, now, err = o.look(ctx)
	if err != nil {
		return nil, now, err
	}
	took := o.clock.Now().Sub(began)
	o.found, o.now, o.until = found, now, began.Add(max(sampleEvery, share*took))
	return found, now, nil
}

func (o *overdue) look(ctx context.Context) (map[place]*waiting, time.Time, error) {
	now, err := o.store.Now(ctx)
	if err != nil {
		return nil, now, err
	}
	out := map[place]*waiting{}
	at := func(p place) *waiting {
		if out[p] == nil {
			out[p] = &waiting{}
		}
		return out[p]
	}
	sums, err := o.store.Revoking(ctx)
	if err != nil {
		return nil, now, fmt.Errorf("sum up revocations: %w", err)
	}
	for _, s := range sums {
		w := at(o.place(ctx, s.Kind, s.MountID, s.Target))
		w.open += s.Count
		w.parked += s.Parked
		w.since(s.Due)
	}
	err = o.due(ctx, now, func(d store.Due) {
		w := at(o.place(ctx, d.Kind, o.mountOf(ctx, d.Target), d.Target))
		w.overdue++
		w.since(d.At)
	})
	return out, now, err
}

// due goes through the leases whose turn has passed, most overdue first.
func (o *overdue) due(ctx context.Context, now time.Time, do func(store.Due)) error {
	var after store.Cursor
	for range overduePages {
		page, err := o.store.Due(ctx, now, after, overduePage)
		if err != nil {
			return fmt.Errorf("read overdue leases: %w", err)
		}
		for _, d := range page {
			do(d)
		}
		if len(page) < overduePage {
			return nil
		}
		last := page[len(page)-1]
		after = store.Cursor{At: last.At, ID: last.ID}
	}
	return nil
}

// mountOf is the mount's id that a connection's key begins with.
func (o *overdue) mountOf(ctx context.Context, target string) string {
	key, _ := o.names.key(ctx, store.KindConnection, target)
	id, _, _ := strings.Cut(key, "/")
	return id
}

func (o *overdue) place(ctx context.Context, kind lease.Kind, mountID, target string) place {
	if kind == lease.Token {
		return place{mount: "auth/token/"}
	}
	mount := o.names.mount(ctx, mountID)
	return place{mount, o.names.target(ctx, mount, target)}
}

// places are the keys of found in order.
func places(found map[place]*waiting) []place {
	return slices.SortedFunc(maps.Keys(found), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.mount, b.mount), cmp.Compare(a.target, b.target))
	})
}
