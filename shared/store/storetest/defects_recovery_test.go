package storetest

import (
	"context"
	"errors"
	"runtime"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// lift takes the suspension off a store while do runs.
func lift(f *Fake, do func()) {
	f.mu.Lock()
	was := f.suspension
	f.suspension = nil
	f.mu.Unlock()
	do()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.suspension == nil {
		f.suspension = was
	}
}

// lets makes a defect of Apply that does not see the suspension for some items.
func lets(some func(*store.Transition) bool) *broken {
	return &broken{apply: func(b *broken, ctx context.Context, items []store.Transition) []store.Outcome {
		out := make([]store.Outcome, len(items))
		for i := range items {
			apply := func() { out[i] = b.Fake.Apply(ctx, items[i])[0] }
			if some(&items[i]) {
				lift(b.Fake, apply)
			} else {
				apply()
			}
		}
		return out
	}}
}

// restoring makes a defect of what is known of a lease.
func restoring(edit func(*lease.Restore)) *broken {
	return &broken{apply: each(func(x *store.Transition) {
		if r, ok := x.Change.Do.(lease.Restore); ok {
			edit(&r)
			x.Change.Do = r
		}
	})}
}

type resumption = func(context.Context, *Fake, int64, event.Position, store.Write) error

func recoveryDefects() map[string]defect {
	b := func(law string, s func() *broken) defect { return defect{law, s} }
	suspends := func(law string, do func(context.Context, *Fake, store.Suspension) error) defect {
		return b(law, func() *broken { return &broken{suspend: do} })
	}
	resumes := func(law string, do resumption) defect {
		return b(law, func() *broken { return &broken{resume: do} })
	}
	const refuses, allows = "A7 a suspended store refuses", "A7 a suspended store does"
	return map[string]defect{
		"begins while suspended": b(refuses, func() *broken { return lets(does[lease.Begin]) }),
		"renews while suspended": b(refuses, func() *broken { return lets(does[lease.Renew]) }),
		"expires while suspended": b(refuses, func() *broken {
			return lets(func(x *store.Transition) bool { return x.Change.Do == lease.Action(lease.Revoke{If: lease.IfDue}) })
		}),
		"numbers while suspended": b(refuses, func() *broken {
			return &broken{number: func(f *Fake, l *store.Lock) {
				f.mu.Lock()
				defer f.mu.Unlock()
				if f.suspension != nil && f.locks[l.Name].Lock == *l {
					f.number(1)
				}
			}}
		}),
		"stays suspended": resumes(refuses, func(ctx context.Context, f *Fake, _ int64, _ event.Position, _ store.Write) error {
			_, _, err := f.Suspension(ctx)
			return err
		}),
		"refuses everything while suspended": b(allows, func() *broken {
			return &broken{apply: func(b *broken, ctx context.Context, items []store.Transition) []store.Outcome {
				_, suspended, _ := b.Suspension(ctx)
				if !suspended {
					return b.Fake.Apply(ctx, items...)
				}
				out := make([]store.Outcome, len(items))
				for i := range out {
					out[i].Err = store.ErrSuspended
				}
				return out
			}}
		}),
		"takes no configuration while suspended": b(allows, func() *broken {
			return &broken{write: func(ctx context.Context, f *Fake, w store.Write) ([]store.Entry, error) {
				if _, suspended, _ := f.Suspension(ctx); suspended {
					return nil, store.ErrSuspended
				}
				return f.Write(ctx, w)
			}}
		}),
		"ends the suspension with what is restored": b(allows, func() *broken {
			return &broken{apply: func(b *broken, ctx context.Context, items []store.Transition) []store.Outcome {
				if does[lease.Restore](&items[0]) {
					_ = b.Fake.Resume(ctx, 0, event.Position{}, store.Write{})
				}
				return b.Fake.Apply(ctx, items...)
			}}
		}),
		// The first beginning is slow: it looked before the suspension and
		// commits after it.
		"looks at the suspension before the commit": b("A7 nothing is begun behind", func() *broken {
			return &broken{apply: func(b *broken, ctx context.Context, items []store.Transition) (out []store.Outcome) {
				b.mu.Lock()
				b.calls++
				slow := b.calls == 1
				b.mu.Unlock()
				if !slow {
					return b.Fake.Apply(ctx, items...)
				}
				for suspended := false; !suspended; _, suspended, _ = b.Suspension(ctx) {
					runtime.Gosched()
				}
				lift(b.Fake, func() { out = b.Fake.Apply(ctx, items...) })
				return out
			}}
		}),
		"numbers nothing when it is suspended": suspends("A7 a suspension numbers", func(ctx context.Context, f *Fake, x store.Suspension) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.suspension = &x
			return ctx.Err()
		}),
		"forgets the first reason": suspends("A7 the first suspension", func(ctx context.Context, f *Fake, x store.Suspension) error {
			f.mu.Lock()
			if f.suspension != nil {
				x.Lost = x.Lost || f.suspension.Lost
			}
			f.suspension = nil
			f.mu.Unlock()
			return f.Suspend(ctx, x)
		}),
		"forgets the loss": suspends("A7 the first suspension", func(ctx context.Context, f *Fake, x store.Suspension) error {
			x.Lost = false
			return f.Suspend(ctx, x)
		}),
		"lets the caller say since when": suspends("A7 the first suspension", func(ctx context.Context, f *Fake, x store.Suspension) error {
			err := f.Suspend(ctx, x)
			f.mu.Lock()
			defer f.mu.Unlock()
			f.suspension.Since = x.Since
			return err
		}),
		"numbers at every suspension": suspends("A7 the first suspension", func(ctx context.Context, f *Fake, x store.Suspension) error {
			err := f.Suspend(ctx, x)
			f.mu.Lock()
			defer f.mu.Unlock()
			f.number(len(f.events))
			return err
		}),
		"restores nothing that is gone": b("A7 restoring brings back", func() *broken {
			return &broken{apply: func(b *broken, ctx context.Context, items []store.Transition) []store.Outcome {
				if _, err := b.Get(ctx, items[0].Change.ID); err != nil && does[lease.Restore](&items[0]) {
					return []store.Outcome{{Err: store.ErrNotFound}}
				}
				return b.Fake.Apply(ctx, items...)
			}}
		}),
		"restores below the record's version": b("A7 restoring brings back", func() *broken {
			return restoring(func(r *lease.Restore) { r.Known.Version = 0 })
		}),
		"restores without a place": b("A7 restoring brings back", func() *broken {
			return &broken{apply: func(b *broken, ctx context.Context, items []store.Transition) []store.Outcome {
				if does[lease.Restore](&items[0]) {
					b.Fake.mu.Lock()
					b.position = -1
					b.Fake.mu.Unlock()
				}
				return b.Fake.Apply(ctx, items...)
			}}
		}),
		"makes anew what ended": b("A7 restoring teaches", func() *broken {
			return restoring(func(r *lease.Restore) {
				if r.Known.State.Final() {
					r.Known.State = lease.Revoking
				}
			})
		}),
		"restores twice": b("A7 restoring teaches", func() *broken {
			version := int64(7)
			return restoring(func(r *lease.Restore) {
				version += 10
				r.Known.Version = version
			})
		}),
		"numbers nothing again": resumes("A7 an epoch numbers again", func(ctx context.Context, f *Fake, epoch int64, _ event.Position, w store.Write) error {
			head, _ := f.Head(ctx)
			return f.Resume(ctx, epoch, head, w)
		}),
		"numbers everything again": resumes("A7 an epoch numbers again", func(ctx context.Context, f *Fake, epoch int64, _ event.Position, w store.Write) error {
			return f.Resume(ctx, epoch, event.Position{}, w)
		}),
		"numbers what waits at once": resumes("A7 an epoch numbers again", func(ctx context.Context, f *Fake, epoch int64, after event.Position, w store.Write) error {
			err := f.Resume(ctx, epoch, after, w)
			f.mu.Lock()
			defer f.mu.Unlock()
			f.number(1)
			return err
		}),
		"takes a confirmation back": resumes("A7 positions of an old epoch", func(ctx context.Context, f *Fake, epoch int64, after event.Position, w store.Write) error {
			err := f.Resume(ctx, epoch, after, w)
			f.mu.Lock()
			defer f.mu.Unlock()
			f.confirm["c"] = after
			return err
		}),
		"counts on over epochs": resumes("A7 positions of an old epoch", func(ctx context.Context, f *Fake, epoch int64, after event.Position, w store.Write) error {
			err := f.Resume(ctx, epoch, after, w)
			f.mu.Lock()
			defer f.mu.Unlock()
			for i := range f.positions {
				f.positions[i].Number = int64(i) + 1
			}
			f.head.Number = int64(len(f.positions))
			return err
		}),
		"takes back no epoch": resumes("A7 an epoch may take back", func(ctx context.Context, f *Fake, epoch int64, after event.Position, w store.Write) error {
			if head, _ := f.Head(ctx); after.Epoch < head.Epoch {
				after = event.Position{Epoch: head.Epoch}
			}
			return f.Resume(ctx, epoch, after, w)
		}),
		"counts what was trimmed": resumes("A7 what was trimmed", func(ctx context.Context, f *Fake, epoch int64, after event.Position, w store.Write) error {
			err := f.Resume(ctx, epoch, after, w)
			f.mu.Lock()
			defer f.mu.Unlock()
			f.head.Number += f.trimmed
			for i := range f.positions {
				if f.positions[i].Epoch == epoch {
					f.positions[i].Number += f.trimmed
				}
			}
			return err
		}),
		"takes a confirmation along": resumes("A7 what was confirmed", func(ctx context.Context, f *Fake, epoch int64, after event.Position, w store.Write) error {
			err := f.Resume(ctx, epoch, after, w)
			head, _ := f.Head(ctx)
			return errors.Join(err, f.Confirm(ctx, store.Ledger, head))
		}),
		"numbers again without an epoch": resumes("A7 resuming without an epoch", func(ctx context.Context, f *Fake, epoch int64, after event.Position, w store.Write) error {
			head, _ := f.Head(ctx)
			return f.Resume(ctx, max(epoch, head.Epoch+1), after, w)
		}),
		"checks a position that it ignores": resumes("A7 resuming without an epoch", func(ctx context.Context, f *Fake, epoch int64, after event.Position, w store.Write) error {
			if head, _ := f.Head(ctx); head.Before(after) {
				return store.ErrEpoch
			}
			return f.Resume(ctx, epoch, after, w)
		}),
		"resumes before it writes": resumes("A7 resuming is one commit", func(ctx context.Context, f *Fake, epoch int64, after event.Position, w store.Write) error {
			if err := f.Resume(ctx, epoch, after, store.Write{}); err != nil {
				return err
			}
			_, err := f.Write(ctx, w)
			return err
		}),
		"writes half of it": resumes("A7 resuming is one commit", func(ctx context.Context, f *Fake, epoch int64, after event.Position, w store.Write) error {
			_, _ = f.Write(ctx, store.Write{Events: w.Events})
			return f.Resume(ctx, epoch, after, store.Write{Puts: w.Puts})
		}),
		"forgets what is to be written": resumes("A7 resuming is one commit", func(ctx context.Context, f *Fake, epoch int64, after event.Position, w store.Write) error {
			if err := f.Resume(ctx, epoch, after, w); err != nil {
				return err
			}
			e, _ := f.Entry(ctx, store.KindSystem, "doubt")
			_, err := f.Write(ctx, store.Write{Deletes: []store.Ref{ref(e)}})
			return err
		}),
		"resumes what was not suspended": resumes("A7 resuming out of place", func(ctx context.Context, f *Fake, epoch int64, after event.Position, w store.Write) error {
			_ = f.Suspend(ctx, store.Suspension{})
			return f.Resume(ctx, epoch, after, w)
		}),
		"goes on in the present epoch": resumes("A7 resuming out of place", func(ctx context.Context, f *Fake, epoch int64, after event.Position, w store.Write) error {
			if head, _ := f.Head(ctx); epoch == head.Epoch {
				epoch = 0
			}
			return f.Resume(ctx, epoch, after, w)
		}),
		"begins an epoch ahead of the head": resumes("A7 resuming out of place", func(ctx context.Context, f *Fake, epoch int64, after event.Position, w store.Write) error {
			if head, _ := f.Head(ctx); head.Before(after) {
				after = head
			}
			return f.Resume(ctx, epoch, after, w)
		}),
		"resumes silently": b("A7 resuming hints", func() *broken { return &broken{hint: true} }),
	}
}
