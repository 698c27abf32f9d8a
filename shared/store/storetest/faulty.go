package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// ErrInjected is the error of a call that a [Fault] broke.
var ErrInjected = errors.New("injected fault")

// Fault breaks one call. A call fails in one of two ways: it is not made; or it
// is made and its answer is lost, then the error wraps [store.ErrUnknown] too.
type Fault struct {
	Method string // name of the method, such as "Apply"
	Nth    int    // which call of it, from 1; 0: every one
	Done   bool   // the call is made, its answer is lost
}

// Faulty is a store that breaks as planned.
type Faulty struct {
	inner  store.Store
	mu     sync.Mutex
	faults []Fault
	calls  map[string]int
}

// NewFaulty wraps s.
func NewFaulty(s store.Store, faults ...Fault) *Faulty {
	return &Faulty{inner: s, faults: faults, calls: map[string]int{}}
}

// Break replaces the plan; calls are counted from 1 again.
func (f *Faulty) Break(faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults, f.calls = faults, map[string]int{}
}

// Calls is how often a method was called since the plan was made.
func (f *Faulty) Calls(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[method]
}

func (f *Faulty) next(method string) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[method]++
	for _, x := range f.faults {
		if x.Method == method && (x.Nth == 0 || x.Nth == f.calls[method]) {
			return x, true
		}
	}
	return Fault{}, false
}

// call makes a call unless it is to fail before, and returns the fault's error.
func (f *Faulty) call(method string, do func()) error {
	x, broken := f.next(method)
	if !broken || x.Done {
		do()
	}
	switch {
	case !broken:
		return nil
	case x.Done:
		return fmt.Errorf("%s: %w: %w", method, store.ErrUnknown, ErrInjected)
	}
	return fmt.Errorf("%s: %w", method, ErrInjected)
}

// get is call for a method with one result.
func get[A any](f *Faulty, method string, do func() (A, error)) (a A, err error) {
	if broken := f.call(method, func() { a, err = do() }); broken != nil {
		var zero A
		return zero, broken
	}
	return a, err
}

// Apply implements [store.Leases].
func (f *Faulty) Apply(ctx context.Context, items ...store.Transition) (out []store.Outcome) {
	if broken := f.call("Apply", func() { out = f.inner.Apply(ctx, items...) }); broken != nil {
		out = make([]store.Outcome, len(items))
		for i := range out {
			out[i].Err = broken
		}
	}
	return out
}

// Get implements [store.Leases].
func (f *Faulty) Get(ctx context.Context, id lease.ID) (lease.Lease, error) {
	return get(f, "Get", func() (lease.Lease, error) { return f.inner.Get(ctx, id) })
}

// GetMany implements [store.Leases].
func (f *Faulty) GetMany(ctx context.Context, ids ...lease.ID) ([]lease.Lease, error) {
	return get(f, "GetMany", func() ([]lease.Lease, error) { return f.inner.GetMany(ctx, ids...) })
}

// Find implements [store.Leases].
func (f *Faulty) Find(ctx context.Context, q store.Query) ([]lease.Lease, error) {
	return get(f, "Find", func() ([]lease.Lease, error) { return f.inner.Find(ctx, q) })
}

// Count implements [store.Leases].
func (f *Faulty) Count(ctx context.Context, q store.Query) (int64, error) {
	return get(f, "Count", func() (int64, error) { return f.inner.Count(ctx, q) })
}

// Revoking implements [store.Leases].
func (f *Faulty) Revoking(ctx context.Context) ([]store.Revoking, error) {
	return get(f, "Revoking", func() ([]store.Revoking, error) { return f.inner.Revoking(ctx) })
}

// Living implements [store.Leases].
func (f *Faulty) Living(ctx context.Context, path string) (int64, error) {
	return get(f, "Living", func() (int64, error) { return f.inner.Living(ctx, path) })
}

// Miscounts implements [store.Leases].
func (f *Faulty) Miscounts(ctx context.Context, between func(context.Context) error) ([]store.Miscount, error) {
	return get(f, "Miscounts", func() ([]store.Miscount, error) { return f.inner.Miscounts(ctx, between) })
}

// Children implements [store.Leases].
func (f *Faulty) Children(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	return get(f, "Children", func() ([]string, error) { return f.inner.Children(ctx, prefix, after, limit) })
}

// Due implements [store.Leases].
func (f *Faulty) Due(ctx context.Context, until time.Time, after store.Cursor, limit int) ([]store.Due, error) {
	return get(f, "Due", func() ([]store.Due, error) { return f.inner.Due(ctx, until, after, limit) })
}

// Prune implements [store.Leases].
func (f *Faulty) Prune(ctx context.Context, endedBefore time.Time, limit int) (int, error) {
	return get(f, "Prune", func() (int, error) { return f.inner.Prune(ctx, endedBefore, limit) })
}

// Entry implements [store.Entries].
func (f *Faulty) Entry(ctx context.Context, kind store.Kind, key string) (store.Entry, error) {
	return get(f, "Entry", func() (store.Entry, error) { return f.inner.Entry(ctx, kind, key) })
}

// EntryByID implements [store.Entries].
func (f *Faulty) EntryByID(ctx context.Context, kind store.Kind, id string) (store.Entry, error) {
	return get(f, "EntryByID", func() (store.Entry, error) { return f.inner.EntryByID(ctx, kind, id) })
}

// List implements [store.Entries].
func (f *Faulty) List(ctx context.Context, kind store.Kind, prefix, after string, withdrawn bool, limit int) ([]store.Entry, error) {
	return get(f, "List", func() ([]store.Entry, error) { return f.inner.List(ctx, kind, prefix, after, withdrawn, limit) })
}

// Write implements [store.Entries].
func (f *Faulty) Write(ctx context.Context, w store.Write) ([]store.Entry, error) {
	return get(f, "Write", func() ([]store.Entry, error) { return f.inner.Write(ctx, w) })
}

// Raise implements [store.Entries].
func (f *Faulty) Raise(ctx context.Context, b store.Barrier, events ...event.Event) (store.Barrier, error) {
	return get(f, "Raise", func() (store.Barrier, error) { return f.inner.Raise(ctx, b, events...) })
}

// Append implements [store.Outbox].
func (f *Faulty) Append(ctx context.Context, events ...event.Event) error {
	_, err := get(f, "Append", func() (struct{}, error) { return struct{}{}, f.inner.Append(ctx, events...) })
	return err
}

// Number implements [store.Outbox].
func (f *Faulty) Number(ctx context.Context, lock store.Lock, limit int) (head event.Position, numbered int, err error) {
	if broken := f.call("Number", func() { head, numbered, err = f.inner.Number(ctx, lock, limit) }); broken != nil {
		return event.Position{}, 0, broken
	}
	return head, numbered, err
}

// Head implements [store.Outbox].
func (f *Faulty) Head(ctx context.Context) (event.Position, error) {
	return get(f, "Head", func() (event.Position, error) { return f.inner.Head(ctx) })
}

// Events implements [store.Outbox].
func (f *Faulty) Events(ctx context.Context, after event.Position, limit int) ([]event.Event, error) {
	return get(f, "Events", func() ([]event.Event, error) { return f.inner.Events(ctx, after, limit) })
}

// ChangedTokens implements [store.Changes].
func (f *Faulty) ChangedTokens(ctx context.Context, after event.Position, limit int) (store.TokenChanges, error) {
	return get(f, "ChangedTokens", func() (store.TokenChanges, error) { return f.inner.ChangedTokens(ctx, after, limit) })
}

// Confirm implements [store.Outbox].
func (f *Faulty) Confirm(ctx context.Context, consumer string, upTo event.Position) error {
	_, err := get(f, "Confirm", func() (struct{}, error) { return struct{}{}, f.inner.Confirm(ctx, consumer, upTo) })
	return err
}

// Confirmed implements [store.Outbox].
func (f *Faulty) Confirmed(ctx context.Context, consumer string) (event.Position, error) {
	return get(f, "Confirmed", func() (event.Position, error) { return f.inner.Confirmed(ctx, consumer) })
}

// Trim implements [store.Outbox].
func (f *Faulty) Trim(ctx context.Context, upTo event.Position, limit int) (int, error) {
	return get(f, "Trim", func() (int, error) { return f.inner.Trim(ctx, upTo, limit) })
}

// Backlog implements [store.Outbox].
func (f *Faulty) Backlog(ctx context.Context) (int64, error) {
	return get(f, "Backlog", func() (int64, error) { return f.inner.Backlog(ctx) })
}

// Acquire implements [store.Locks].
func (f *Faulty) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (l store.Lock, ok bool, err error) {
	if broken := f.call("Acquire", func() { l, ok, err = f.inner.Acquire(ctx, name, owner, ttl) }); broken != nil {
		return store.Lock{}, false, broken
	}
	return l, ok, err
}

// Release implements [store.Locks].
func (f *Faulty) Release(ctx context.Context, l store.Lock) error {
	_, err := get(f, "Release", func() (struct{}, error) { return struct{}{}, f.inner.Release(ctx, l) })
	return err
}

// Suspension implements [store.Recovery].
func (f *Faulty) Suspension(ctx context.Context) (s store.Suspension, suspended bool, err error) {
	if broken := f.call("Suspension", func() { s, suspended, err = f.inner.Suspension(ctx) }); broken != nil {
		return store.Suspension{}, false, broken
	}
	return s, suspended, err
}

// Suspend implements [store.Recovery].
func (f *Faulty) Suspend(ctx context.Context, s store.Suspension) error {
	_, err := get(f, "Suspend", func() (struct{}, error) { return struct{}{}, f.inner.Suspend(ctx, s) })
	return err
}

// Compared implements [store.Recovery].
func (f *Faulty) Compared(ctx context.Context, s store.Suspension) error {
	_, err := get(f, "Compared", func() (struct{}, error) { return struct{}{}, f.inner.Compared(ctx, s) })
	return err
}

// Resume implements [store.Recovery].
func (f *Faulty) Resume(ctx context.Context, epoch int64, after event.Position, w store.Write) error {
	_, err := get(f, "Resume", func() (struct{}, error) { return struct{}{}, f.inner.Resume(ctx, epoch, after, w) })
	return err
}

// Now implements [store.Time].
func (f *Faulty) Now(ctx context.Context) (time.Time, error) {
	return get(f, "Now", func() (time.Time, error) { return f.inner.Now(ctx) })
}

// Watch implements [store.Watcher]: no hints where the store gives none.
func (f *Faulty) Watch() (<-chan struct{}, func()) {
	if w, ok := f.inner.(store.Watcher); ok {
		return w.Watch()
	}
	return nil, func() {}
}

// Close implements [store.Store]; it never fails by plan.
func (f *Faulty) Close() error { return f.inner.Close() }

var (
	_ store.Store   = (*Faulty)(nil)
	_ store.Watcher = (*Faulty)(nil)
)
