package sim_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// storeOf is the store as one process reaches it.
type storeOf struct {
	*process
	w *world
}

// asked makes a call of the store. A change whose answer is lost has an unknown
// outcome (A6).
func asked[A any](ctx context.Context, s storeOf, method, about string, change bool, effect func(ctx context.Context) (A, error)) (A, error) {
	detached := context.WithoutCancel(ctx)
	got, err := ask(ctx, s.process, call{method: "store." + method, about: about, target: "store", change: change, pure: reads[method]}, func() (A, error) { return effect(detached) })
	if change && errors.Is(err, errLost) {
		err = fmt.Errorf("%w: %w", store.ErrUnknown, err)
	}
	return got, err
}

// reads are the methods that change nothing.
var reads = map[string]bool{
	"Get": true, "Find": true, "Count": true, "Living": true, "Children": true, "Due": true, "Entry": true, "EntryByID": true,
	"List": true, "Head": true, "Events": true, "Confirmed": true, "Backlog": true, "GetMany": true, "ChangedTokens": true, "Suspension": true, "Now": true,
}

type nothing struct{}

// said is what a transition is about, for the trace.
func said(items []store.Transition) string {
	text := ""
	for i := range items {
		c := &items[i].Change
		text += fmt.Sprintf(" %T %s", c.Do, c.ID)
	}
	return text
}

func written(w store.Write) (about string) {
	for _, e := range w.Puts {
		about += " " + string(e.Kind) + " " + e.Key
	}
	for _, ref := range append(w.Withdrawals, w.Deletes...) {
		about += " -" + string(ref.Kind) + " " + ref.ID
	}
	return about
}

func (s storeOf) Apply(ctx context.Context, items ...store.Transition) []store.Outcome {
	out, err := asked(ctx, s, "Apply", said(items), true, func(ctx context.Context) ([]store.Outcome, error) { return s.w.apply(ctx, items), nil })
	if err != nil {
		out = make([]store.Outcome, len(items))
		for i := range out {
			out[i].Err = err
		}
	}
	return out
}

func (s storeOf) Get(ctx context.Context, id lease.ID) (lease.Lease, error) {
	return asked(ctx, s, "Get", string(id), false, func(ctx context.Context) (lease.Lease, error) { return s.w.store.Get(ctx, id) })
}

func (s storeOf) GetMany(ctx context.Context, ids ...lease.ID) ([]lease.Lease, error) {
	return asked(ctx, s, "GetMany", fmt.Sprint(ids), false, func(ctx context.Context) ([]lease.Lease, error) { return s.w.store.GetMany(ctx, ids...) })
}

func (s storeOf) Find(ctx context.Context, q store.Query) ([]lease.Lease, error) {
	return asked(ctx, s, "Find", q.Prefix+string(q.Token)+q.Account+q.Target, false, func(ctx context.Context) ([]lease.Lease, error) { return s.w.find(ctx, q) })
}

func (s storeOf) Count(ctx context.Context, q store.Query) (int64, error) {
	return asked(ctx, s, "Count", q.Prefix, false, func(ctx context.Context) (int64, error) { return s.w.store.Count(ctx, q) })
}

func (s storeOf) Living(ctx context.Context, path string) (int64, error) {
	return asked(ctx, s, "Living", path, false, func(ctx context.Context) (int64, error) { return s.w.store.Living(ctx, path) })
}

func (s storeOf) Miscounts(ctx context.Context, _ func(context.Context) error) ([]store.Miscount, error) {
	return asked(ctx, s, "Miscounts", "", false, func(ctx context.Context) ([]store.Miscount, error) {
		// Its pauses are no calls of their own: they would be within this one.
		return s.w.store.Miscounts(ctx, func(context.Context) error { return nil })
	})
}

func (s storeOf) Revoking(ctx context.Context) ([]store.Revoking, error) {
	return asked(ctx, s, "Revoking", "", false, s.w.store.Revoking)
}

func (s storeOf) Children(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	return asked(ctx, s, "Children", prefix, false, func(ctx context.Context) ([]string, error) {
		return s.w.store.Children(ctx, prefix, after, limit)
	})
}

func (s storeOf) Due(ctx context.Context, until time.Time, after store.Cursor, limit int) ([]store.Due, error) {
	return asked(ctx, s, "Due", "", false, func(ctx context.Context) ([]store.Due, error) { return s.w.store.Due(ctx, until, after, limit) })
}

func (s storeOf) Prune(ctx context.Context, endedBefore time.Time, limit int) (int, error) {
	return asked(ctx, s, "Prune", "", false, func(ctx context.Context) (int, error) { return s.w.store.Prune(ctx, endedBefore, limit) })
}

func (s storeOf) Entry(ctx context.Context, kind store.Kind, key string) (store.Entry, error) {
	return asked(ctx, s, "Entry", string(kind)+" "+key, false, func(ctx context.Context) (store.Entry, error) { return s.w.store.Entry(ctx, kind, key) })
}

func (s storeOf) EntryByID(ctx context.Context, kind store.Kind, id string) (store.Entry, error) {
	return asked(ctx, s, "EntryByID", string(kind)+" "+id, false, func(ctx context.Context) (store.Entry, error) { return s.w.store.EntryByID(ctx, kind, id) })
}

func (s storeOf) List(ctx context.Context, kind store.Kind, prefix, after string, withdrawn bool, limit int) ([]store.Entry, error) {
	return asked(ctx, s, "List", string(kind)+" "+prefix, false, func(ctx context.Context) ([]store.Entry, error) {
		return s.w.store.List(ctx, kind, prefix, after, withdrawn, limit)
	})
}

func (s storeOf) Write(ctx context.Context, w store.Write) ([]store.Entry, error) {
	return asked(ctx, s, "Write", written(w), true, func(ctx context.Context) ([]store.Entry, error) { return s.w.store.Write(ctx, w) })
}

func (s storeOf) Raise(ctx context.Context, b store.Barrier, events ...event.Event) (store.Barrier, error) {
	return asked(ctx, s, "Raise", b.Prefix, true, func(ctx context.Context) (store.Barrier, error) { return s.w.store.Raise(ctx, b, events...) })
}

func (s storeOf) Append(ctx context.Context, events ...event.Event) error {
	_, err := asked(ctx, s, "Append", "", true, func(ctx context.Context) (nothing, error) { return nothing{}, s.w.store.Append(ctx, events...) })
	return err
}

func (s storeOf) Number(ctx context.Context, l store.Lock, limit int) (event.Position, int, error) {
	type numbered struct {
		head event.Position
		n    int
	}
	got, err := asked(ctx, s, "Number", "", false, func(ctx context.Context) (numbered, error) {
		head, n, err := s.w.store.Number(ctx, l, limit)
		return numbered{head, n}, err
	})
	return got.head, got.n, err
}

func (s storeOf) Head(ctx context.Context) (event.Position, error) {
	return asked(ctx, s, "Head", "", false, func(ctx context.Context) (event.Position, error) { return s.w.store.Head(ctx) })
}

func (s storeOf) Events(ctx context.Context, after event.Position, limit int) ([]event.Event, error) {
	return asked(ctx, s, "Events", after.String(), false, func(ctx context.Context) ([]event.Event, error) { return s.w.store.Events(ctx, after, limit) })
}

func (s storeOf) ChangedTokens(ctx context.Context, after event.Position, limit int) (store.TokenChanges, error) {
	return asked(ctx, s, "ChangedTokens", after.String(), false, func(ctx context.Context) (store.TokenChanges, error) {
		return s.w.store.ChangedTokens(ctx, after, limit)
	})
}

func (s storeOf) Confirm(ctx context.Context, consumer string, upTo event.Position) error {
	_, err := asked(ctx, s, "Confirm", consumer+" "+upTo.String(), false, func(ctx context.Context) (nothing, error) {
		return nothing{}, s.w.store.Confirm(ctx, consumer, upTo)
	})
	return err
}

func (s storeOf) Confirmed(ctx context.Context, consumer string) (event.Position, error) {
	return asked(ctx, s, "Confirmed", consumer, false, func(ctx context.Context) (event.Position, error) { return s.w.store.Confirmed(ctx, consumer) })
}

func (s storeOf) Trim(ctx context.Context, upTo event.Position, limit int) (int, error) {
	return asked(ctx, s, "Trim", upTo.String(), false, func(ctx context.Context) (int, error) { return s.w.trim(ctx, upTo, limit) })
}

func (s storeOf) Backlog(ctx context.Context) (int64, error) {
	return asked(ctx, s, "Backlog", "", false, func(ctx context.Context) (int64, error) { return s.w.store.Backlog(ctx) })
}

func (s storeOf) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (store.Lock, bool, error) {
	type acquired struct {
		lock store.Lock
		ok   bool
	}
	got, err := asked(ctx, s, "Acquire", name, false, func(ctx context.Context) (acquired, error) {
		l, ok, err := s.w.store.Acquire(ctx, name, owner, ttl)
		return acquired{l, ok}, err
	})
	return got.lock, got.ok, err
}

func (s storeOf) Release(ctx context.Context, l store.Lock) error {
	_, err := asked(ctx, s, "Release", l.Name, false, func(ctx context.Context) (nothing, error) { return nothing{}, s.w.store.Release(ctx, l) })
	return err
}

func (s storeOf) Suspension(ctx context.Context) (store.Suspension, bool, error) {
	type suspended struct {
		why store.Suspension
		is  bool
	}
	got, err := asked(ctx, s, "Suspension", "", false, func(ctx context.Context) (suspended, error) {
		why, is, err := s.w.store.Suspension(ctx)
		return suspended{why, is}, err
	})
	return got.why, got.is, err
}

func (s storeOf) Suspend(ctx context.Context, why store.Suspension) error {
	_, err := asked(ctx, s, "Suspend", why.Reason, true, func(ctx context.Context) (nothing, error) { return nothing{}, s.w.store.Suspend(ctx, why) })
	return err
}

func (s storeOf) Compared(ctx context.Context, why store.Suspension) error {
	_, err := asked(ctx, s, "Compared", "", true, func(ctx context.Context) (nothing, error) { return nothing{}, s.w.store.Compared(ctx, why) })
	return err
}

func (s storeOf) Resume(ctx context.Context, epoch int64, after event.Position, w store.Write) error {
	_, err := asked(ctx, s, "Resume", after.String(), true, func(ctx context.Context) (nothing, error) {
		return nothing{}, s.w.store.Resume(ctx, epoch, after, w)
	})
	return err
}

// Now implements store.Time.
func (s storeOf) Now(ctx context.Context) (time.Time, error) {
	return asked(ctx, s, "Now", "", false, func(ctx context.Context) (time.Time, error) { return s.w.store.Now(ctx) })
}

// Close implements store.Store.
func (storeOf) Close() error { return nil }

var _ store.Store = storeOf{}
