package storetest

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// notes is a test that only takes notes of what a law says.
type notes struct {
	ctx      context.Context
	mu       sync.Mutex
	failures []string
}

func (n *notes) Helper()                  {}
func (n *notes) Context() context.Context { return n.ctx }
func (n *notes) Cleanup(func())           {}

func (n *notes) Errorf(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failures = append(n.failures, fmt.Sprintf(format, args...))
}

func (n *notes) Fatalf(format string, args ...any) {
	n.Errorf(format, args...)
	runtime.Goexit()
}

// try checks one law against s and returns what it complained of.
func try(ctx context.Context, l law, s store.Store, c *Clock) []string {
	n := &notes{ctx: ctx}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				n.Errorf("panic: %v", p)
			}
		}()
		l.check(n, &subject{Store: s, clock: c})
	})
	wg.Wait()
	return n.failures
}

// broken is a store with one defect.
type broken struct {
	*Fake
	mu      sync.Mutex
	apply   func(*broken, context.Context, []store.Transition) []store.Outcome
	events  func([]event.Event) []event.Event
	find    func(*store.Query)
	found   func([]lease.Lease) []lease.Lease
	due     func(context.Context, *Fake, time.Time, store.Cursor, int) ([]store.Due, error)
	now     func(time.Time) time.Time
	write   func(context.Context, *Fake, store.Write) ([]store.Entry, error)
	raise   func(context.Context, *Fake, store.Barrier) (store.Barrier, error)
	number  func(*Fake, *store.Lock)
	confirm func(context.Context, *Fake, string, event.Position) error
	prune   func(context.Context, *Fake)
	trim    func(*Fake)
	acquire func(*Fake, string)
	list    func([]store.Entry) []store.Entry
	child   func([]string) []string
	many    func([]lease.Lease) []lease.Lease
	suspend func(context.Context, *Fake, store.Suspension) error
	resume  func(context.Context, *Fake, int64, event.Position, store.Write) error
	changed func(context.Context, *Fake, event.Position, *store.TokenChanges)
	hint    bool
	calls   int
}

func (b *broken) Apply(ctx context.Context, items ...store.Transition) []store.Outcome {
	if b.apply == nil {
		return b.Fake.Apply(ctx, items...)
	}
	return b.apply(b, ctx, slices.Clone(items))
}

func (b *broken) Events(ctx context.Context, after event.Position, limit int) ([]event.Event, error) {
	all, err := b.Fake.Events(ctx, after, limit)
	if b.events != nil {
		all = b.events(all)
	}
	return all, err
}

func (b *broken) ChangedTokens(ctx context.Context, after event.Position, limit int) (store.TokenChanges, error) {
	c, err := b.Fake.ChangedTokens(ctx, after, limit)
	if b.changed != nil {
		b.changed(ctx, b.Fake, after, &c)
	}
	return c, err
}

func (b *broken) Find(ctx context.Context, q store.Query) ([]lease.Lease, error) {
	if b.find != nil {
		b.find(&q)
	}
	all, err := b.Fake.Find(ctx, q)
	if b.found != nil {
		all = b.found(all)
	}
	return all, err
}

func (b *broken) Due(ctx context.Context, until time.Time, after store.Cursor, limit int) ([]store.Due, error) {
	if b.due == nil {
		return b.Fake.Due(ctx, until, after, limit)
	}
	return b.due(ctx, b.Fake, until, after, limit)
}

func (b *broken) Now(ctx context.Context) (time.Time, error) {
	now, err := b.Fake.Now(ctx)
	if b.now != nil {
		now = b.now(now)
	}
	return now, err
}

func (b *broken) Write(ctx context.Context, w store.Write) ([]store.Entry, error) {
	if b.write == nil {
		return b.Fake.Write(ctx, w)
	}
	return b.write(ctx, b.Fake, w)
}

func (b *broken) Raise(ctx context.Context, x store.Barrier, events ...event.Event) (store.Barrier, error) {
	if b.raise == nil {
		return b.Fake.Raise(ctx, x, events...)
	}
	return b.raise(ctx, b.Fake, x)
}

func (b *broken) Number(ctx context.Context, l store.Lock, limit int) (event.Position, int, error) {
	if b.number != nil {
		b.number(b.Fake, &l)
	}
	return b.Fake.Number(ctx, l, limit)
}

func (b *broken) Confirm(ctx context.Context, consumer string, upTo event.Position) error {
	if b.confirm == nil {
		return b.Fake.Confirm(ctx, consumer, upTo)
	}
	return b.confirm(ctx, b.Fake, consumer, upTo)
}

func (b *broken) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	if b.prune != nil {
		b.prune(ctx, b.Fake)
	}
	return b.Fake.Prune(ctx, before, limit)
}

func (b *broken) Trim(ctx context.Context, upTo event.Position, limit int) (int, error) {
	if b.trim != nil {
		b.trim(b.Fake)
	}
	return b.Fake.Trim(ctx, upTo, limit)
}

func (b *broken) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (store.Lock, bool, error) {
	if b.acquire != nil {
		b.acquire(b.Fake, name)
	}
	return b.Fake.Acquire(ctx, name, owner, ttl)
}

func (b *broken) List(ctx context.Context, kind store.Kind, prefix, after string, withdrawn bool, limit int) ([]store.Entry, error) {
	all, err := b.Fake.List(ctx, kind, prefix, after, withdrawn, limit)
	if b.list != nil {
		all = b.list(all)
	}
	return all, err
}

func (b *broken) GetMany(ctx context.Context, ids ...lease.ID) ([]lease.Lease, error) {
	all, err := b.Fake.GetMany(ctx, ids...)
	if b.many != nil {
		all = b.many(all)
	}
	return all, err
}

func (b *broken) Children(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	all, err := b.Fake.Children(ctx, prefix, after, limit)
	if b.child != nil {
		all = b.child(all)
	}
	return all, err
}

func (b *broken) Suspend(ctx context.Context, x store.Suspension) error {
	if b.suspend == nil {
		return b.Fake.Suspend(ctx, x)
	}
	return b.suspend(ctx, b.Fake, x)
}

func (b *broken) Resume(ctx context.Context, epoch int64, after event.Position, w store.Write) error {
	if b.resume == nil {
		return b.Fake.Resume(ctx, epoch, after, w)
	}
	return b.resume(ctx, b.Fake, epoch, after, w)
}

func (b *broken) Watch() (<-chan struct{}, func()) {
	if b.hint {
		return nil, func() {}
	}
	return b.Fake.Watch()
}

// TestSuiteCatches shows that the suite can fail: each broken store is caught
// by the law that is there for its defect.
func TestSuiteCatches(t *testing.T) {
	t.Parallel()
	all := defects()
	maps.Copy(all, recoveryDefects())
	maps.Copy(all, tokenDefects())
	for name, c := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checked := 0
			for _, l := range laws() {
				if !strings.HasPrefix(l.name, c.law) {
					continue
				}
				checked++
				clock := NewClock()
				b := c.store()
				b.Fake = NewFake(clock)
				if len(try(t.Context(), l, b, clock)) == 0 {
					t.Errorf("law %q did not catch it", l.name)
				}
			}
			if checked != 1 {
				t.Errorf("%q names %d laws, want one", c.law, checked)
			}
		})
	}
}

// The notes themselves must be clean on a store that is right, or the above
// shows nothing.
func TestSuiteCatchesNothingInARightStore(t *testing.T) {
	t.Parallel()
	for _, l := range laws() {
		c := NewClock()
		if complaints := try(t.Context(), l, &broken{Fake: NewFake(c)}, c); len(complaints) > 0 {
			t.Errorf("%s: %q", l.name, complaints)
		}
	}
}
