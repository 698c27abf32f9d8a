package storetest

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

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
		"knows no quotas": b("E a quota refuses", func() *broken {
			return &broken{write: func(ctx context.Context, f *Fake, w store.Write) ([]store.Entry, error) {
				for i := range w.Puts {
					if w.Puts[i].Kind == store.KindLeaseQuota {
						w.Puts[i].Kind = store.KindSystem
					}
				}
				return f.Write(ctx, w)
			}}
		}),
		"lets one too many in": b("E a quota holds for the items of one call", func() *broken {
			return &broken{write: func(ctx context.Context, f *Fake, w store.Write) ([]store.Entry, error) {
				for i := range w.Puts {
					if string(w.Puts[i].Value) == `{"max_leases":40}` {
						w.Puts[i].Value = []byte(`{"max_leases":41}`)
					}
				}
				return f.Write(ctx, w)
			}}
		}),
		"frees what is being revoked": b("E what ends makes room", func() *broken {
			return &broken{apply: func(b *broken, ctx context.Context, items []store.Transition) []store.Outcome {
				out := b.Fake.Apply(ctx, items...)
				if out[0].Err == nil && out[0].Lease.State == lease.Revoking {
					items[0].Change.Do, items[0].Change.Version = lease.Finish{To: lease.Revoked}, lease.AnyVersion
					b.Fake.Apply(ctx, items[0])
				}
				return out
			}}
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
				f.number(len(f.events))
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
		"gets too few": b("get: many", func() *broken {
			return &broken{many: func(all []lease.Lease) []lease.Lease { return all[:len(all)/2] }}
		}),
		"gets those that run": b("get: many", func() *broken {
			return &broken{many: func(all []lease.Lease) []lease.Lease {
				return slices.DeleteFunc(all, func(l lease.Lease) bool { return l.State.Final() })
			}}
		}),
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
