package storetest

import (
	"context"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

// Suspension implements [store.Recovery].
func (f *Fake) Suspension(ctx context.Context) (store.Suspension, bool, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	why := f.suspended()
	if err != nil || why == nil {
		return store.Suspension{}, false, err
	}
	return *why, true, nil
}

// suspended is the present suspension; nil where there is none.
func (f *Fake) suspended() *store.Suspension {
	if f.suspension == nil && !f.started.IsZero() {
		return &store.Suspension{Reason: "the server was started", Since: f.started, Started: f.started}
	}
	return f.suspension
}

// refuses reports whether the suspension refuses a transition.
func (f *Fake) refuses(item *store.Transition, now time.Time) bool {
	why := f.suspended()
	return why != nil && why.Refuses(item, now)
}

// ServerStarted makes the store one whose server was started just now, with
// whatever files.
func (f *Fake) ServerStarted() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.started = f.now()
}

// Compared implements [store.Recovery].
func (f *Fake) Compared(ctx context.Context, s store.Suspension) error {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err == nil && s.Started.Equal(f.started) {
		f.started = time.Time{}
		f.watchers.Set()
	}
	return err
}

// Suspend implements [store.Recovery].
func (f *Fake) Suspend(ctx context.Context, s store.Suspension) error {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	switch {
	case err != nil:
		return err
	case f.suspension != nil:
		f.suspension.Lost = f.suspension.Lost || s.Lost
		return nil
	}
	s.Since, s.Started = f.now(), time.Time{}
	s = clone(s)
	f.suspension = &s
	f.number(len(f.events))
	f.watchers.Set()
	return nil
}

// Resume implements [store.Recovery].
func (f *Fake) Resume(ctx context.Context, epoch int64, after event.Position, w store.Write) error {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	switch {
	case err != nil:
	case f.suspension == nil:
		err = store.ErrNotSuspended
	case epoch != 0 && (epoch <= f.head.Epoch || f.head.Before(after)):
		err = store.ErrEpoch
	}
	if err != nil {
		return fmt.Errorf("resume store: %w", err)
	}
	if _, err = f.commit(w); err != nil {
		return fmt.Errorf("resume store: %w", err)
	}
	f.suspension = nil
	if epoch != 0 {
		f.renumber(epoch, after)
	}
	f.watchers.Set()
	return nil
}

// renumber gives the events after a position the first numbers of an epoch,
// but for those that were trimmed: nobody will see them again.
func (f *Fake) renumber(epoch int64, after event.Position) {
	f.head = event.Position{Epoch: epoch}
	for i := f.trimmed; i < int64(len(f.positions)); i++ {
		if after.Before(f.positions[i]) {
			f.head.Number++
			f.positions[i] = f.head
		}
	}
}
