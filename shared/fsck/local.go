package fsck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/store"
)

// LocalStore is what [Local] reads.
type LocalStore interface {
	store.Leases
	store.Entries
	store.Outbox
	store.Time
	// Suspension is that of [store.Recovery].
	Suspension(ctx context.Context) (store.Suspension, bool, error)
}

// Local reads a store and the targets that it knows. It changes nothing.
type Local struct {
	store   LocalStore
	engines map[string]engine.Sweeper
	// Tail, if set, asks for the end of the event stream.
	Tail func(context.Context) *Tail
}

// NewLocal returns the view of a store and of those engines that can list
// accounts.
func NewLocal(s LocalStore, engines map[string]engine.Engine) *Local {
	l := &Local{store: s, engines: map[string]engine.Sweeper{}}
	for kind, e := range engines {
		if sweeper, ok := e.(engine.Sweeper); ok {
			l.engines[kind] = sweeper
		}
	}
	return l
}

// Standing implements [Store].
func (l *Local) Standing(ctx context.Context) (st Standing, err error) {
	// The head is read last: what is confirmed is never beyond it.
	if st.Sent, err = l.store.Confirmed(ctx, publish.Sent); err != nil {
		return st, err
	}
	if st.Confirmed, err = l.store.Confirmed(ctx, store.Ledger); err != nil {
		return st, err
	}
	if st.Unnumbered, err = l.unnumbered(ctx); err != nil {
		return st, err
	}
	if st.Head, err = l.store.Head(ctx); err != nil {
		return st, err
	}
	if l.Tail != nil {
		st.Stream = l.Tail(ctx)
	}
	if err := l.people(ctx, &st); err != nil {
		return st, err
	}
	if st.Living, err = l.store.Living(ctx, ""); err != nil {
		return st, err
	}
	st.Targets = []Target{}
	for _, kind := range slices.Sorted(maps.Keys(l.engines)) {
		targets, err := l.engines[kind].Targets(ctx)
		if err != nil {
			return st, fmt.Errorf("list connections of engine %s: %w", kind, err)
		}
		for _, t := range targets {
			st.Targets = append(st.Targets, Target{ID: t.ID, Name: t.Mount + "config/" + t.Name})
		}
	}
	st.Now, err = l.store.Now(ctx)
	return st, err
}

// people is what is for people: doubts, and processes.
func (l *Local) people(ctx context.Context, st *Standing) error {
	why, suspended, err := l.store.Suspension(ctx)
	if err != nil {
		return err
	}
	if suspended {
		st.Suspended = cmp.Or(why.Reason, "no reason is given")
	}
	if st.Doubts, err = installation.Current(ctx, l.store); err != nil {
		return err
	}
	contested, err := installation.Contested(ctx, l.store)
	if err != nil {
		return err
	}
	st.Contested = slices.Sorted(maps.Keys(contested))
	st.Processes, err = installation.Processes(ctx, l.store)
	return err
}

// unnumbered is how many events wait for a number: those that are stored, less
// those from the first that has one to the head.
func (l *Local) unnumbered(ctx context.Context) (int64, error) {
	stored, err := l.store.Backlog(ctx)
	if err != nil || stored == 0 {
		return 0, err
	}
	first, err := l.store.Events(ctx, event.Position{}, 1)
	if err != nil {
		return 0, err
	}
	head, err := l.store.Head(ctx)
	switch {
	case err != nil:
		return 0, err
	case len(first) == 0:
		return stored, nil
	case first[0].Position.Epoch != head.Epoch:
		return -1, nil // between two epochs their ends are not known
	}
	return max(0, stored-(head.Number-first[0].Position.Number+1)), nil
}

// open are the states of leases that have not ended.
func open() []lease.State { return []lease.State{lease.Intent, lease.Active, lease.Revoking} }

// Leases implements [Store]. Ids are asked for by their first element, so that
// no page walks over leases that have ended.
func (l *Local) Leases(ctx context.Context, after lease.ID, limit int) ([]Row, error) {
	prefix := ""
	if at := strings.IndexByte(string(after), '/'); at >= 0 {
		prefix = string(after[:at+1])
	}
	for {
		if prefix != "" {
			found, err := l.store.Find(ctx, store.Query{Prefix: prefix, States: open(), After: after, Limit: limit})
			if err != nil {
				return nil, err
			}
			if len(found) > 0 {
				// What follows in the next element makes no page short of the last.
				return l.fill(ctx, prefix, rows(found), limit)
			}
		}
		next, err := l.store.Children(ctx, "", prefix, 1)
		if err != nil || len(next) == 0 {
			return nil, err
		}
		prefix, after = next[0], ""
	}
}

// fill adds rows of the next elements until a page is full.
func (l *Local) fill(ctx context.Context, prefix string, page []Row, limit int) ([]Row, error) {
	for len(page) < limit {
		next, err := l.store.Children(ctx, "", prefix, 1)
		if err != nil || len(next) == 0 {
			return page, err
		}
		prefix = next[0]
		found, err := l.store.Find(ctx, store.Query{Prefix: prefix, States: open(), Limit: limit - len(page)})
		if err != nil {
			return nil, err
		}
		page = append(page, rows(found)...)
	}
	return page, nil
}

func rows(found []lease.Lease) []Row {
	out := make([]Row, len(found))
	for i := range found {
		out[i] = RowOf(&found[i])
	}
	return out
}

// Named implements [Store].
func (l *Local) Named(ctx context.Context, account string) ([]Row, error) {
	found, err := l.store.Find(ctx, store.Query{Account: account})
	return rows(found), err
}

// Lease implements [Store].
func (l *Local) Lease(ctx context.Context, id lease.ID) (Row, bool, error) {
	found, err := l.store.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return Row{}, false, nil
	}
	return RowOf(&found), err == nil, err
}

// Overdue implements [Store].
func (l *Local) Overdue(ctx context.Context, since time.Duration, limit int) ([]Row, error) {
	now, err := l.store.Now(ctx)
	if err != nil {
		return nil, err
	}
	due, err := l.store.Due(ctx, now.Add(-since), store.Cursor{}, limit)
	if err != nil {
		return nil, err
	}
	out := make([]Row, 0, len(due))
	for _, d := range due {
		r, found, err := l.Lease(ctx, d.ID)
		if err != nil {
			return nil, err
		}
		if found && !r.NextAt.IsZero() && now.Sub(r.NextAt) > since {
			out = append(out, r)
		}
	}
	return out, nil
}

// Accounts implements [Targets].
func (l *Local) Accounts(ctx context.Context, target, after string, limit int) ([]string, error) {
	for _, kind := range slices.Sorted(maps.Keys(l.engines)) {
		targets, err := l.engines[kind].Targets(ctx)
		if err != nil {
			return nil, fmt.Errorf("list connections of engine %s: %w", kind, err)
		}
		if !slices.ContainsFunc(targets, func(t engine.Target) bool { return t.ID == target }) {
			continue
		}
		accounts, err := l.engines[kind].Accounts(ctx, target, after, limit)
		if err != nil {
			return nil, err
		}
		names := make([]string, len(accounts))
		for i, a := range accounts {
			names[i] = a.Name
		}
		return names, nil
	}
	return nil, fmt.Errorf("target %s: %w", target, store.ErrNotFound)
}

var (
	_ Store   = (*Local)(nil)
	_ Targets = (*Local)(nil)
)
