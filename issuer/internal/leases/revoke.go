package leases

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Revoke serves PUT sys/leases/revoke and PUT sys/leases/revoke/<lease id>.
// sync, true unless said otherwise, waits for the end.
func (b *Book) Revoke(ctx context.Context, r *request.Request, inPath string) (*wire.Answer, error) {
	id, err := Named(r, inPath)
	if err != nil {
		return nil, err
	}
	sync, err := r.Fields().Bool("sync", true)
	if err != nil {
		return nil, err
	}
	answer := &wire.Answer{Status: http.StatusAccepted}
	if sync {
		answer.Status = http.StatusNoContent
	}
	var also []event.Event
	if !sync { // only then is the answer known before the commit
		also = []event.Event{r.Event(answer.Status)}
	}
	w := b.ends.wait(id) // before the commit: its end may follow at once
	defer b.ends.leave(w)
	l, applied, err := b.begin(ctx, id, r.Actor, "revoked by request", also...)
	if err != nil {
		return nil, err
	}
	answer.Recorded = applied && !sync
	if l.State != lease.Revoking {
		return answer, nil // it has ended, or never was
	}
	r.Mount = l.Mount
	if sync {
		return answer, b.await(ctx, l, w)
	}
	return answer, nil
}

// begin commits revoking; a revocation that waits after a failure is made due
// at once, one that is under way is left alone. It returns the lease as it is then, the zero Lease where there is
// none, and whether a change was applied.
func (b *Book) begin(ctx context.Context, id lease.ID, by lease.Actor, reason string, also ...event.Event) (lease.Lease, bool, error) {
	out := b.apply(ctx, change(id, by, reason, lease.Revoke{If: lease.Always}, also...))
	if errors.Is(out.Err, lease.ErrOver) && out.Lease.State == lease.Revoking && out.Lease.Revocation.Attempts > 0 {
		out = b.apply(ctx, change(id, by, againByRequest, lease.Retry{}, also...))
	}
	switch {
	case out.Err == nil:
		return out.Lease, true, nil
	case passed(out.Err):
		return out.Lease, false, nil
	}
	return out.Lease, false, fmt.Errorf("revoke lease: %w", out.Err)
}

// await waits for the end of a revocation: nil; or for the failure of an
// attempt, or the deadline: an error with the reason. The revocation goes on.
func (b *Book) await(ctx context.Context, begun lease.Lease, w *waiter) error {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.SyncWithin)
	defer cancel()
	last := begun
	for pause := firstLook; ; pause = min(pause*3/2, lastPoll) {
		l, err := b.next(ctx, w, pause)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return nil // ended and pruned
		case ctx.Err() != nil && err != nil:
			return b.late(ctx.Err(), reasonOf(&last))
		case err != nil:
			return b.late(err, reasonOf(&last))
		case l.Version > last.Version:
			last = l
		}
		switch {
		case last.State.Final():
			return nil
		case last.Revocation.Attempts > begun.Revocation.Attempts:
			return wire.Invalid("failed to revoke entry: %s", last.Revocation.LastError)
		}
	}
}

// next is what becomes known of a lease: what the step tells, or what the store
// has after a pause.
func (b *Book) next(ctx context.Context, w *waiter, pause time.Duration) (lease.Lease, error) {
	tick, stop := b.clock.Timer(pause)
	defer stop()
	select {
	case l := <-w.changed:
		return l, nil
	case <-tick:
		return b.store.Get(ctx, w.id)
	case <-ctx.Done():
		return lease.Lease{}, ctx.Err()
	}
}

// late is the answer of a wait that saw no end.
func (b *Book) late(cause error, reason string) error {
	if !errors.Is(cause, context.DeadlineExceeded) && !errors.Is(cause, context.Canceled) {
		return fmt.Errorf("await revocation: %w", cause)
	}
	w := wire.Invalid("failed to revoke entry: %s; not done after %s, it goes on", reason, lease.Short(b.cfg.SyncWithin))
	w.Cause = cause
	return w
}

func reasonOf(l *lease.Lease) string {
	switch {
	case l.Revocation.LastError != "":
		return l.Revocation.LastError
	case l.State == lease.Revoking && !l.Confirmed():
		return "its creation may still be under way in the target"
	}
	return "no revoker has finished it yet"
}

const (
	firstPoll = 5 * time.Millisecond
	// firstLook is when a request looks for itself that [Ends] told nothing.
	firstLook = 25 * time.Millisecond
	lastPoll  = 200 * time.Millisecond
)

// poll calls done with growing pauses until it says true or fails, or ctx
// ends. Reading the store needs neither stream nor index (C9).
func (b *Book) poll(ctx context.Context, done func() (bool, error)) error {
	for pause := firstPoll; ; pause = min(pause*3/2, lastPoll) {
		ok, err := done()
		if err != nil || ok {
			if ctx.Err() != nil && err != nil {
				return ctx.Err()
			}
			return err
		}
		tick, stop := b.clock.Timer(pause)
		select {
		case <-tick:
		case <-ctx.Done():
			stop()
			return ctx.Err()
		}
		stop()
	}
}

// RevokeAll begins the revocation of every lease that q selects and that may
// be in use, and makes those due that wait for their next try. It returns how
// many it found.
func (b *Book) RevokeAll(ctx context.Context, q store.Query, by lease.Actor, reason string) (int, error) {
	q.States = open()
	taken := 0
	err := b.each(ctx, q, func(found []lease.Lease) error {
		taken += len(found)
		var items []store.Transition
		for _, l := range found {
			if l.State == lease.Revoking {
				// One under way is left alone; one that waits is made due.
				if l.Revocation.Attempts > 0 {
					items = append(items, change(l.ID, by, againByRequest, lease.Retry{}))
				}
				continue
			}
			items = append(items, change(l.ID, by, reason, lease.Revoke{If: lease.Always}))
		}
		if len(items) == 0 {
			return nil
		}
		var failed error
		for _, out := range b.store.Apply(ctx, items...) {
			if out.Err != nil && !passed(out.Err) {
				failed = errors.Join(failed, out.Err)
			}
		}
		return failed
	})
	if err != nil {
		return taken, fmt.Errorf("revoke leases: %w", err)
	}
	return taken, nil
}
