package storetest

import (
	"context"
	"fmt"
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

func (b *broken) Children(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	all, err := b.Fake.Children(ctx, prefix, after, limit)
	if b.child != nil {
		all = b.child(all)
	}
	return all, err
}

func (b *broken) Watch() (<-chan struct{}, func()) {
	if b.hint {
		return nil, func() {}
	}
	return b.Fake.Watch()
}

// each makes a defect of Apply that changes every item before it is applied.
func each(edit func(*store.Transition)) func(*broken, context.Context, []store.Transition) []store.Outcome {
	return func(b *broken, ctx context.Context, items []store.Transition) []store.Outcome {
		for i := range items {
			edit(&items[i])
		}
		return b.Fake.Apply(ctx, items...)
	}
}

func does[A lease.Action](item *store.Transition) bool {
	_, ok := item.Change.Do.(A)
	return ok
}

// TestSuiteCatches shows that the suite can fail: each broken store is caught
// by the law that is there for its defect.
func TestSuiteCatches(t *testing.T) {
	t.Parallel()
	for name, c := range defects() {
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

type defect struct {
	law   string // prefix of the law that must catch it
	store func() *broken
}

func defects() map[string]defect {
	b := func(law string, s func() *broken) defect { return defect{law, s} }
	apply := func(law string, edit func(*store.Transition)) defect {
		return b(law, func() *broken { return &broken{apply: each(edit)} })
	}
	return map[string]defect{
		"ignores versions": apply("A1 a change applies to the version", func(x *store.Transition) {
			if x.Change.Version > 0 {
				x.Change.Version = lease.AnyVersion
			}
		}),
		"ignores versions in a race": apply("A1 racing changes", func(x *store.Transition) {
			if x.Change.Version > 0 {
				x.Change.Version = lease.AnyVersion
			}
		}),
		"skips the guard of a beginning": apply("A3 a guard refuses the beginning", func(x *store.Transition) {
			if does[lease.Begin](x) {
				x.Guard = store.Guard{}
			}
		}),
		"skips the guard of an activation": apply("A3 a guard turns an activation", func(x *store.Transition) {
			if does[lease.Activate](x) {
				x.Guard = store.Guard{}
			}
		}),
		"skips the guard of an activation in a race": apply("A3 a withdrawal and a listing", func(x *store.Transition) {
			if does[lease.Activate](x) {
				x.Guard = store.Guard{}
			}
		}),
		"checks no token":    apply("A3 a guard refuses the beginning", func(x *store.Transition) { x.Guard.Token = "" }),
		"checks no barriers": apply("A4 a barrier takes", func(x *store.Transition) { x.Guard.Barriers = false }),
		"checks guards of everything": apply("A3 a guard is ignored", func(x *store.Transition) {
			if does[lease.Renew](x) && x.Guard.Barriers {
				x.Change.Version = 99
			}
		}),
		"loses the handle": apply("A3 a guard turns an activation", func(x *store.Transition) {
			if does[lease.Activate](x) {
				x.Change.Do = lease.Activate{}
			}
		}),
		"forgets the plan": apply("A2", func(x *store.Transition) {
			if begin, ok := x.Change.Do.(lease.Begin); ok {
				begin.Lease.Plan = nil
				x.Change.Do = begin
			}
		}),
		"forgets the key":                apply("A6 the row says", func(x *store.Transition) { x.Change.Key = "" }),
		"forgets the actor":              apply("A10", func(x *store.Transition) { x.Change.By = lease.Actor{} }),
		"forgets events that come along": apply("D6", func(x *store.Transition) { x.Also = nil }),
		"expires early": apply("A5 expiry", func(x *store.Transition) {
			if does[lease.Revoke](x) {
				x.Change.Do = lease.Revoke{}
			}
		}),
		"stops at the first bad item": b("A6 items are independent", func() *broken {
			return &broken{apply: func(b *broken, ctx context.Context, items []store.Transition) []store.Outcome {
				out := make([]store.Outcome, len(items))
				for i := range items {
					if out[i] = b.Fake.Apply(ctx, items[i])[0]; out[i].Err != nil {
						return out
					}
				}
				return out
			}}
		}),
		"applies a call backwards": b("A6 changes of one lease", func() *broken {
			return &broken{apply: func(b *broken, ctx context.Context, items []store.Transition) []store.Outcome {
				slices.Reverse(items)
				out := b.Fake.Apply(ctx, items...)
				slices.Reverse(out)
				return out
			}}
		}),
		"acknowledges what it drops": b("A1 racing changes", func() *broken {
			return &broken{apply: func(b *broken, ctx context.Context, items []store.Transition) []store.Outcome {
				b.mu.Lock()
				defer b.mu.Unlock()
				if b.calls++; b.calls%9 == 0 && does[lease.Renew](&items[0]) {
					l, _ := b.Get(ctx, items[0].Change.ID)
					l.Version++
					return []store.Outcome{{Lease: l}}
				}
				return b.Fake.Apply(ctx, items...)
			}}
		}),
		"does not listen to a dead context": b("E whoever gave up", func() *broken {
			return &broken{apply: func(b *broken, ctx context.Context, items []store.Transition) []store.Outcome {
				return b.Fake.Apply(context.WithoutCancel(ctx), items...)
			}}
		}),
		"numbers with gaps": b("D3 numbers are dense", func() *broken {
			return &broken{events: func(all []event.Event) []event.Event {
				for i := range all {
					if all[i].Position.Number > 2 {
						all[i].Position.Number++
					}
				}
				return all
			}}
		}),
		"loses an event": b("A10", func() *broken {
			return &broken{events: func(all []event.Event) []event.Event {
				return slices.DeleteFunc(all, func(e event.Event) bool { return e.Type == event.LeaseRenewed })
			}}
		}),
		"swaps events": b("D3 numbers follow", func() *broken {
			return &broken{events: func(all []event.Event) []event.Event {
				if len(all) > 1 {
					all[0], all[1] = all[1], all[0]
					all[0].Position, all[1].Position = all[1].Position, all[0].Position
				}
				return all
			}}
		}),
		"ignores the fence": b("D3 who lost the lock", func() *broken {
			return &broken{number: func(f *Fake, l *store.Lock) {
				f.mu.Lock()
				defer f.mu.Unlock()
				*l = f.locks["publisher"].Lock
			}}
		}),
		"lets confirmations go back": b("D4 a confirmation", func() *broken {
			return &broken{confirm: func(ctx context.Context, f *Fake, consumer string, p event.Position) error {
				f.mu.Lock()
				delete(f.confirm, consumer)
				f.mu.Unlock()
				return f.Confirm(ctx, consumer, p)
			}}
		}),
		"believes confirmations of the future": b("D4 a confirmation", func() *broken {
			return &broken{confirm: func(ctx context.Context, f *Fake, consumer string, p event.Position) error {
				_ = f.Confirm(ctx, consumer, p)
				return nil
			}}
		}),
		"trims what has no number": b("D4 trimming", func() *broken {
			return &broken{trim: func(f *Fake) {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.head = f.first + int64(len(f.events)) - 1
			}}
		}),
		"prunes what the ledger does not have": b("prune", func() *broken {
			return &broken{prune: func(ctx context.Context, f *Fake) {
				head, _ := f.Head(ctx)
				_ = f.Confirm(ctx, store.Ledger, head)
			}}
		}),
		"takes a lock from its owner": b("locks: one owner", func() *broken {
			return &broken{acquire: func(f *Fake, name string) {
				f.mu.Lock()
				defer f.mu.Unlock()
				l := f.locks[name]
				l.Owner = ""
				f.locks[name] = l
			}}
		}),
		"gives no hints": b("watch", func() *broken { return &broken{hint: true} }),
		"finds too little": b("find: each field", func() *broken {
			return &broken{found: func(all []lease.Lease) []lease.Lease { return all[:len(all)/2] }}
		}),
		"finds other states": b("find: each field", func() *broken {
			return &broken{find: func(q *store.Query) { q.States = nil }}
		}),
		"takes a prefix for an element": b("find: a prefix", func() *broken {
			return &broken{find: func(q *store.Query) {
				if q.Prefix != "" && !strings.HasSuffix(q.Prefix, "/") {
					q.Prefix += "/"
				}
			}}
		}),
		"answers any query": b("find: a query that selects nothing", func() *broken {
			return &broken{find: func(q *store.Query) {
				if q.Prefix+string(q.Token)+q.Account+q.MountID+q.Target == "" {
					q.Prefix = "database/"
				}
			}}
		}),
		"lists children twice": b("children", func() *broken {
			return &broken{child: func(all []string) []string { return append(all, all...) }}
		}),
		"due out of order": b("due: earliest first", func() *broken {
			return &broken{due: func(ctx context.Context, f *Fake, until time.Time, after store.Cursor, limit int) ([]store.Due, error) {
				all, err := f.Due(ctx, until, after, limit)
				slices.Reverse(all)
				return all, err
			}}
		}),
		"due by time alone loses ties between pages": b("due: earliest first", func() *broken {
			return &broken{due: func(ctx context.Context, f *Fake, until time.Time, after store.Cursor, limit int) ([]store.Due, error) {
				if after.ID != "" {
					after.ID = "\xff"
				}
				return f.Due(ctx, until, after, limit)
			}}
		}),
		"due too early": b("due: earliest first", func() *broken {
			return &broken{due: func(ctx context.Context, f *Fake, until time.Time, after store.Cursor, limit int) ([]store.Due, error) {
				return f.Due(ctx, until.Add(1), after, limit)
			}}
		}),
		"time goes back": b("A5 time", func() *broken {
			return &broken{now: func(t time.Time) time.Time { return t.Add(-time.Second) }}
		}),
		"writes half": b("entries: a write is one commit", func() *broken {
			return &broken{write: func(ctx context.Context, f *Fake, w store.Write) (put []store.Entry, err error) {
				_, _ = f.Write(ctx, store.Write{Events: w.Events, Deletes: w.Deletes})
				return f.Write(ctx, store.Write{Withdrawals: w.Withdrawals, Puts: w.Puts})
			}}
		}),
		"deletes what is withdrawn": b("entries: a key has one incarnation", func() *broken {
			return &broken{write: func(ctx context.Context, f *Fake, w store.Write) ([]store.Entry, error) {
				put, err := f.Write(ctx, w)
				if err == nil && len(w.Withdrawals) > 0 {
					_, err = f.Write(ctx, store.Write{Deletes: w.Withdrawals})
				}
				return put, err
			}}
		}),
		"ignores revisions": b("entries: made, read, edited", func() *broken {
			return &broken{write: func(ctx context.Context, f *Fake, w store.Write) ([]store.Entry, error) {
				for i, e := range w.Puts {
					if have, err := f.Entry(ctx, e.Kind, e.Key); err == nil && e.Revision != 0 {
						w.Puts[i].Revision = have.Revision
					}
				}
				return f.Write(ctx, w)
			}}
		}),
		"lists out of order": b("entries: lists", func() *broken {
			return &broken{list: func(all []store.Entry) []store.Entry { slices.Reverse(all); return all }}
		}),
		"raises a barrier that takes later issues": b("A4 a barrier takes", func() *broken {
			return &broken{raise: func(ctx context.Context, f *Fake, x store.Barrier) (store.Barrier, error) {
				f.mu.Lock()
				f.position += 10
				f.mu.Unlock()
				raised, err := f.Raise(ctx, x)
				f.mu.Lock()
				f.position -= 11
				f.mu.Unlock()
				return raised, err
			}}
		}),
		"raises a barrier without its event": b("A4 a barrier is kept", func() *broken {
			return &broken{raise: func(ctx context.Context, f *Fake, x store.Barrier) (store.Barrier, error) { return f.Raise(ctx, x) }}
		}),
	}
}
