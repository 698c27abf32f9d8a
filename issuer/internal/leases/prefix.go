package leases

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"

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
	reason, err := reasonFor(r, "revoked by prefix")
	if err != nil {
		return nil, err
	}
	answer := &wire.Answer{Status: http.StatusAccepted, Location: r.Tracked()}
	var also []event.Event
	if sync {
		answer.Status = http.StatusNoContent
	} else {
		also = []event.Event{r.Event(answer.Status)}
	}
	barrier, err := b.raise(ctx, r, prefix, store.Barrier{Reason: reason}, also...)
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

// below is how the ids begin of the leases that a request's prefix takes.
func (b *Book) below(prefix string) (string, error) {
	switch {
	case prefix == "":
		return "", wire.UnsupportedPath()
	case b.hides(prefix + "/"):
		return "", wire.Invalid("tokens without expiry cannot be revoked by prefix: use auth/token/revoke-accessor")
	}
	return prefix + "/", nil
}

// reasonFor is why leases end: what was done, and what the client says of it.
func reasonFor(r *request.Request, done string) (string, error) {
	const longest = 256
	why, err := r.Fields().String("reason")
	switch {
	case err != nil:
		return "", err
	case why == "":
		return done, nil
	case len(why) > longest || strings.ContainsFunc(why, unicode.IsControl):
		return "", wire.Invalid("reason: at most %d bytes without control characters", longest)
	}
	return done + ": " + why, nil
}

// raise commits the barrier of a request.
func (b *Book) raise(ctx context.Context, r *request.Request, prefix string, barrier store.Barrier, also ...event.Event) (store.Barrier, error) {
	var err error
	if barrier.Prefix, err = b.below(prefix); err != nil {
		return barrier, err
	}
	barrier.Operation, barrier.By = r.ID, r.Actor
	barrier, err = b.store.Raise(context.WithoutCancel(ctx), barrier, also...)
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
	taken, err := b.RevokeAll(ctx, barrier.Takes(), barrier.By, barrier.Reason)
	if err != nil {
		return taken, err
	}
	return taken, b.Listed(ctx, barrier.Operation, taken)
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
		return b.late(err, fmt.Sprintf("%d of %d leases have not ended (see %s%s)", left.open+left.failed, total, request.OperationsPath, barrier.Operation))
	case left.failed > 0:
		return wire.Invalid("failed to revoke %q (%d / %d): failed to revoke entry: %s",
			left.first.ID, left.failed, max(total, left.failed), left.first.Revocation.LastError)
	}
	return nil
}

// RevokeForce serves PUT sys/leases/revoke-force/<prefix>: what the pipeline
// does not end in a while is abandoned. A sweep goes on looking for the
// accounts (A1).
func (b *Book) RevokeForce(ctx context.Context, r *request.Request, prefix string) (*wire.Answer, error) {
	begun, err := reasonFor(r, "revoked by force")
	if err != nil {
		return nil, err
	}
	reason, err := reasonFor(r, "abandoned by force")
	if err != nil {
		return nil, err
	}
	barrier, err := b.raise(ctx, r, prefix, store.Barrier{Reason: begun, Force: true})
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
	if err := b.abandon(ctx, barrier, r.Actor, reason); err != nil {
		return nil, fmt.Errorf("abandon leases: %w", err)
	}
	return &wire.Answer{Status: http.StatusNoContent, Location: r.Tracked()}, nil
}

// abandon gives up what is left of an operation's secrets, and counts them. A
// token has no target that could fail.
func (b *Book) abandon(ctx context.Context, barrier store.Barrier, by lease.Actor, reason string) error {
	q := barrier.Takes()
	q.Kind, q.States = lease.Secret, []lease.State{lease.Revoking}
	return b.each(ctx, q, func(found []lease.Lease) error {
		items := make([]store.Transition, len(found))
		for i, l := range found {
			items[i] = change(l.ID, by, reason, lease.Finish{To: lease.Abandoned})
		}
		var failed error
		var gone []lease.Lease
		for i, out := range b.store.Apply(ctx, items...) {
			switch {
			case out.Err == nil:
				gone = append(gone, found[i])
			case !passed(out.Err):
				failed = errors.Join(failed, out.Err)
			}
		}
		return errors.Join(failed, b.markAbandoned(ctx, gone))
	})
}

// markAbandoned counts leases that were given up in every operation that took
// them: none of them calls them done.
func (b *Book) markAbandoned(ctx context.Context, gone []lease.Lease) error {
	if len(gone) == 0 {
		return nil
	}
	var errs error
	for _, kind := range kinds() {
		for after, more := "", true; more; {
			entries, err := b.store.List(ctx, kind, "", after, false, page)
			if err != nil {
				return errors.Join(errs, fmt.Errorf("list operations: %w", err))
			}
			for _, e := range entries {
				after = e.Key
				errs = errors.Join(errs, b.countAbandoned(ctx, e, gone))
			}
			more = len(entries) == page
		}
	}
	return errs
}

// countAbandoned counts leases that were given up in one operation.
func (b *Book) countAbandoned(ctx context.Context, e store.Entry, gone []lease.Lease) error {
	barrier, err := store.DecodeBarrier(e.Value)
	if err != nil {
		return err
	}
	var n int64
	for _, l := range gone {
		takes := barrier.Covers(l.ID, l.Position)
		if barrier.MountID != "" {
			takes = barrier.MountID == l.MountID
		}
		if barrier.FinishedAt.IsZero() && takes {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return b.mark(ctx, barrier.Operation, func(o *store.Barrier) { o.Abandoned += n })
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
