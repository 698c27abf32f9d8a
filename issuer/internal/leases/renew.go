package leases

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Renew serves PUT sys/leases/renew and PUT sys/leases/renew/<lease id>.
func (b *Book) Renew(ctx context.Context, r *request.Request, inPath string) (*wire.Answer, error) {
	id, err := Named(r, inPath)
	if err != nil {
		return nil, err
	}
	increment, err := r.Fields().Duration("increment")
	if err != nil {
		return nil, err
	}
	// What is done in the target must be followed by its commit, so from here
	// on the client's going away changes nothing.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.cfg.RenewWithin)
	defer cancel()
	give, err := b.turns.take(ctx, id)
	if err != nil {
		return nil, changing()
	}
	defer give()
	const attempts = 8 // against renewals through other issuers
	for range attempts {
		after, err := b.renew(ctx, r, id, increment)
		if errors.Is(err, lease.ErrVersion) {
			continue // another request was faster; the target has its value again
		}
		if err != nil {
			return nil, err
		}
		answer := renewed(&after, increment)
		token, err := b.tokenOf(ctx, &after)
		if err != nil { // it is renewed all the same
			b.log.Warn().Err(err).Str("lease_id", string(id)).Str("request_id", r.ID).Msg("answer does not consider the token")
			return answer, nil
		}
		if left, byToken := after.RemainingWith(&token, after.RenewedAt); byToken {
			answer.Warnings = append(answer.Warnings, lease.CapWarning(answer.Duration, left, lease.TokenLimit))
			answer.Duration = left
		}
		return answer, nil
	}
	return nil, changing()
}

func changing() error {
	return wire.Unavailable(nil, "the lease is being changed by others: try again")
}

// renewed is the answer about a lease as its renewal left it.
func renewed(l *lease.Lease, increment time.Duration) *wire.Answer {
	answer := &wire.Answer{
		LeaseID: string(l.ID), Renewable: l.Renewable,
		Duration: l.Remaining(l.RenewedAt), Recorded: true,
	}
	if _, capped := l.Extension(increment, l.RenewedAt); capped {
		if increment == 0 {
			increment = l.TTL
		}
		answer.Warnings = []string{lease.CapWarning(increment, l.CeilingAt.Sub(l.RenewedAt), l.CappedBy)}
	}
	return answer
}

// renewable returns the lease if it can be renewed now.
func (b *Book) renewable(ctx context.Context, id lease.ID) (lease.Lease, time.Time, error) {
	l, err := b.store.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return l, time.Time{}, wire.Invalid("lease not found")
	}
	if err != nil {
		return l, time.Time{}, fmt.Errorf("renew lease: %w", err)
	}
	// Its expiry may be an older one (A7): the target is not told anything that
	// follows from it, and the commit would be refused.
	if _, suspended, err := b.store.Suspension(ctx); err != nil || suspended {
		if err == nil {
			err = store.ErrSuspended
		}
		return l, time.Time{}, fmt.Errorf("renew lease: %w", err)
	}
	now, err := b.store.Now(ctx)
	if err != nil {
		return l, now, fmt.Errorf("renew lease: %w", err)
	}
	switch {
	case !l.Usable(now):
		return l, now, wire.Invalid("lease not found")
	case l.Kind == lease.Token:
		return l, now, wire.Invalid("tokens cannot be renewed through this endpoint")
	case !l.Renewable:
		return l, now, wire.Invalid("lease is not renewable")
	}
	return l, now, nil
}

// renew tries once: lease.ErrVersion means that it was overtaken.
func (b *Book) renew(ctx context.Context, r *request.Request, id lease.ID, increment time.Duration) (lease.Lease, error) {
	l, now, err := b.renewable(ctx, id)
	if err != nil {
		return l, err
	}
	r.Mount = l.Mount
	e, ok := b.engines[l.Engine]
	if !ok {
		return l, fmt.Errorf("renew lease: no engine %q", l.Engine)
	}
	until, _ := l.Extension(increment, now)
	extends := until.IsZero() || !until.Before(l.ExpiresAt)
	said := until // B9: the target first; a shorter term it is told afterwards
	if !extends {
		said = l.ExpiresAt // which leaves an expiry there that is known to be ours
	}
	told, err := tell(ctx, e, engine.Renewal{Lease: l}, said, now)
	if err != nil && extends {
		return l, err
	}
	t := store.Transition{
		Change: lease.Change{
			ID: id, Version: l.Version, Key: lease.RandomBase62(24), By: r.Actor,
			// The target knows of until and of nothing later.
			Do: lease.Renew{Increment: increment, NotAfter: until},
		},
		Also: []event.Event{r.Event(http.StatusOK)},
	}
	out := b.apply(ctx, t)
	if out.Err != nil {
		return b.overtaken(ctx, e, &t.Change, out.Err, told)
	}
	if !extends {
		b.lower(ctx, e, out.Lease, told, err)
	}
	return out.Lease, nil
}

// lower tells the target that l ends earlier, as the store has it: unless
// somebody else has told it anything since we told it, who then has extended the
// lease, or is about to, or puts back what he found (B9). A target that cannot be
// told keeps a later expiry than the store, whose own counts.
func (b *Book) lower(ctx context.Context, e engine.Engine, l lease.Lease, told engine.Renewed, err error) {
	if err == nil {
		_, err = tell(ctx, e, engine.Renewal{Lease: l, If: told.Now}, l.ExpiresAt, l.RenewedAt)
	}
	b.keeps(&l, err)
}

// undo puts back the expiry that a renewal found in the target, whose commit did
// not go through: unless somebody else has told the target anything since (B9).
func (b *Book) undo(ctx context.Context, e engine.Engine, l lease.Lease, told engine.Renewed) {
	if told.Now == "" {
		return // it was not told
	}
	_, err := tell(ctx, e, engine.Renewal{Lease: l, If: told.Now, To: told.Was}, time.Time{}, time.Time{})
	b.keeps(&l, err)
}

// keeps logs why a target has a later expiry than the store.
func (b *Book) keeps(l *lease.Lease, err error) {
	if e, ok := errors.AsType[*engine.Error](err); err == nil || ok && e.Kind == engine.Conflict {
		return // it has another's
	}
	b.log.Warn().Err(err).Str("lease_id", string(l.ID)).Msg("target keeps a later expiry than the store")
}

// tell moves the expiry of a lease in the target to until; the zero time: never.
func tell(ctx context.Context, e engine.Engine, r engine.Renewal, until, now time.Time) (engine.Renewed, error) {
	if !until.IsZero() {
		r.Remaining = max(until.Sub(now), time.Nanosecond) // 0 would mean: never
	}
	out := e.Renew(ctx, r.Lease.Target, []engine.Renewal{r})
	if len(out) != 1 {
		return engine.Renewed{}, fmt.Errorf("renew in the target: %d outcomes for one lease", len(out))
	}
	if e, ok := errors.AsType[*engine.Error](out[0].Err); ok && e.Kind == engine.NotFound {
		// Not "no such path": the lease is there, its account is not.
		return engine.Renewed{}, &wire.Error{Status: http.StatusBadRequest, Messages: []string{e.Message}, Cause: e}
	}
	return out[0], out[0].Err
}

// overtaken handles a renewal whose commit did not go through, or may not have,
// after the target was told. Only where another was faster nothing of it can still
// come: then the target is told what it had before (B9). In any other case it
// keeps what may be what the client was promised. The error says what to answer;
// nil: the commit is there.
func (b *Book) overtaken(ctx context.Context, e engine.Engine, c *lease.Change, cause error, told engine.Renewed) (lease.Lease, error) {
	l, err := b.store.Get(ctx, c.ID)
	if err != nil {
		return l, fmt.Errorf("renew lease: %w", errors.Join(cause, err))
	}
	if l.LastKey == c.Key && l.State == lease.Active {
		return l, nil
	}
	now, err := b.store.Now(ctx)
	if err != nil {
		return l, fmt.Errorf("renew lease: %w", errors.Join(cause, err))
	}
	usable := l.Usable(now)
	if usable && errors.Is(cause, lease.ErrVersion) {
		b.undo(ctx, e, l, told)
	}
	switch {
	case errors.Is(cause, lease.ErrVersion) && usable:
		return l, lease.ErrVersion
	case errors.Is(cause, lease.ErrVersion), errors.Is(cause, lease.ErrOver), errors.Is(cause, store.ErrNotFound):
		return l, wire.Invalid("lease not found")
	}
	return l, fmt.Errorf("renew lease: %w", cause)
}
