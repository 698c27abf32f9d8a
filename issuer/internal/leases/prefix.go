package leases

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// RevokePrefix serves PUT sys/leases/revoke-prefix/<prefix> (A4).
func (b *Book) RevokePrefix(ctx context.Context, r *request.Request, prefix string) (*wire.Answer, error) {
	sync, err := r.Fields().Bool("sync", true)
	if err != nil {
		return nil, err
	}
	answer := &wire.Answer{Status: http.StatusAccepted, Location: request.Root + operationsPath + r.ID}
	var also []event.Event
	if sync {
		answer = wire.NoContent()
	} else {
		also = []event.Event{r.Event(answer.Status)}
	}
	barrier, err := b.raise(ctx, r, prefix, "revoked by prefix", also...)
	if err != nil {
		return nil, err
	}
	answer.Recorded = !sync
	taken, err := b.list(ctx, barrier)
	if err != nil {
		// Its mark is committed: a sweep of the revoker goes on with it.
		b.log.Warn().Err(err).Str("request_id", r.ID).Msg("prefix is not listed yet")
	}
	if !sync {
		return answer, nil
	}
	return answer, b.awaitAll(ctx, barrier, taken)
}

// raise commits the barrier of a request.
func (b *Book) raise(ctx context.Context, r *request.Request, prefix, reason string, also ...event.Event) (store.Barrier, error) {
	if prefix == "" {
		return store.Barrier{}, wire.UnsupportedPath()
	}
	if b.hides(prefix + "/") {
		return store.Barrier{}, wire.Invalid("tokens without expiry cannot be revoked by prefix: use auth/token/revoke-accessor")
	}
	barrier, err := b.store.Raise(context.WithoutCancel(ctx), store.Barrier{
		Operation: r.ID, Prefix: prefix + "/", By: r.Actor, Reason: reason,
	}, also...)
	if errors.Is(err, store.ErrUnknown) {
		// It may be there: then it counts.
		if kept, found := b.kept(ctx, r.ID); found {
			return kept, nil
		}
	}
	if err != nil {
		return barrier, fmt.Errorf("raise barrier: %w", err)
	}
	return barrier, nil
}

// list puts every lease that the barrier takes into revoking, and marks it
// listed. The barrier is committed: this listing sees every intent before it.
func (b *Book) list(ctx context.Context, barrier store.Barrier) (int, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.cfg.ListWithin)
	defer cancel()
	taken, err := b.RevokeAll(ctx, takenBy(barrier), barrier.By, barrier.Reason)
	if err != nil {
		return taken, err
	}
	return taken, b.listed(ctx, barrier.Operation)
}

// takenBy selects the leases that a barrier takes.
func takenBy(barrier store.Barrier) store.Query {
	return store.Query{Prefix: barrier.Prefix, Before: barrier.Position}
}

// awaitAll waits until each lease that the barrier takes has ended or an
// attempt at it has failed since. One that fails never keeps the others.
func (b *Book) awaitAll(ctx context.Context, barrier store.Barrier, total int) error {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.SyncWithin)
	defer cancel()
	var left tally
	err := b.poll(ctx, func() (bool, error) {
		var err error
		left, err = b.tally(ctx, barrier)
		return left.open == 0, err
	})
	switch {
	case err != nil:
		return b.late(err, fmt.Sprintf("%d of %d leases have not ended (see %s%s)", left.open+left.failed, total, operationsPath, barrier.Operation))
	case left.failed > 0:
		return wire.Invalid("failed to revoke %q (%d / %d): failed to revoke entry: %s",
			left.first.ID, left.failed, max(total, left.failed), left.first.Revocation.LastError)
	}
	return nil
}

// tally is how far an operation has come.
type tally struct {
	open   int // no attempt has failed since the barrier
	failed int
	first  lease.Lease   // of those that failed
	some   []lease.Lease // of those that failed, at most mostShown
}

const mostShown = 100

func (b *Book) tally(ctx context.Context, barrier store.Barrier) (tally, error) {
	var t tally
	q := takenBy(barrier)
	q.States = open()
	err := b.each(ctx, q, func(found []lease.Lease) error {
		for _, l := range found {
			if l.Revocation.LastFailedAt.Before(barrier.RaisedAt) {
				t.open++
				continue
			}
			if t.failed == 0 {
				t.first = l
			}
			if t.failed++; len(t.some) < mostShown {
				t.some = append(t.some, l)
			}
		}
		return nil
	})
	return t, err
}

// RevokeForce serves PUT sys/leases/revoke-force/<prefix>: what the pipeline
// does not end in a while is abandoned. A sweep goes on looking for the
// accounts (A1).
func (b *Book) RevokeForce(ctx context.Context, r *request.Request, prefix string) (*wire.Answer, error) {
	barrier, err := b.raise(ctx, r, prefix, "revoked by force")
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	if _, err := b.list(ctx, barrier); err != nil {
		return nil, err
	}
	if err := b.chance(ctx, barrier); err != nil {
		return nil, err
	}
	q := takenBy(barrier)
	q.Kind, q.States = lease.Secret, []lease.State{lease.Revoking}
	err = b.each(ctx, q, func(found []lease.Lease) error {
		var items []store.Transition
		for _, l := range found {
			items = append(items, change(l.ID, r.Actor, "abandoned by force", lease.Finish{To: lease.Abandoned}))
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
		return nil, fmt.Errorf("abandon leases: %w", err)
	}
	return wire.NoContent(), nil
}

// chance waits until nothing is open any more, for a while: an account that
// can be removed should not be abandoned.
func (b *Book) chance(ctx context.Context, barrier store.Barrier) error {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.ForceAfter)
	defer cancel()
	err := b.poll(ctx, func() (bool, error) {
		t, err := b.tally(ctx, barrier)
		return t.open == 0, err
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}
