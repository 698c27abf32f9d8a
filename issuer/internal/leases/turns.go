package leases

import (
	"context"
	"slices"
	"sync"

	"github.com/curfew-project/curfew/shared/lease"
)

// turns lets one renewal of a lease go on at a time, in the order in which they
// came. It only spares them each other's way: what other processes do is found
// out by the commit (A1).
type turns struct {
	mu sync.Mutex
	// waiting has a lease whose turn is taken, with those who wait for it.
	waiting map[lease.ID][]chan struct{}
}

// take waits for the turn of a lease until ctx ends. Who has taken it gives it
// back.
func (t *turns) take(ctx context.Context, id lease.ID) (give func(), err error) {
	give = func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.next(id)
	}
	t.mu.Lock()
	queue, taken := t.waiting[id]
	if !taken {
		if t.waiting == nil {
			t.waiting = map[lease.ID][]chan struct{}{}
		}
		t.waiting[id] = nil
		t.mu.Unlock()
		return give, nil
	}
	mine := make(chan struct{}, 1)
	t.waiting[id] = append(queue, mine)
	t.mu.Unlock()
	select {
	case <-mine:
		return give, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.waiting[id], mine); i >= 0 {
		t.waiting[id] = slices.Delete(t.waiting[id], i, i+1)
	} else {
		t.next(id) // it was ours by then
	}
	return nil, ctx.Err()
}

// next hands the turn of a lease on; the lock is held.
func (t *turns) next(id lease.ID) {
	queue := t.waiting[id]
	if len(queue) == 0 {
		delete(t.waiting, id)
		return
	}
	queue[0] <- struct{}{} // there is room for one
	t.waiting[id] = queue[1:]
}
