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
	const attempts = 3
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
	return nil, wire.Unavailable(nil, "the lease is being changed by others: try again")
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
	if extends { // B9: the target first
		if err := tell(ctx, e, &l, until, now); err != nil {
			return l, err
		}
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
		return b.overtaken(ctx, e, &t.Change, out.Err, extends)
	}
	switch {
	case !extends: // B9: the store first
		b.lower(ctx, e, out.Lease, out.Lease.RenewedAt)
	case now.Sub(l.RenewedAt) < b.cfg.RenewWithin+late:
		// Who renewed it lately, or lost against that, may have told the target
		// an earlier time between our word and this commit. One that does so from
		// now on sees the commit (lower).
		if err := tell(ctx, e, &out.Lease, out.Lease.ExpiresAt, out.Lease.RenewedAt); err != nil {
			return out.Lease, fmt.Errorf("renew lease: it is extended, and the target may not know: %w", err)
		}
	}
	return out.Lease, nil
}

// late is how much longer than its request a message to the target may take
// effect, where the request has ended without an answer.
const late = 10 * time.Second

// lower tells the target that l ends earlier, as the store has it. Somebody may
// have extended it meanwhile, who told the target before: then the target is told
// that (B9). What cannot be told leaves the target with a later expiry than the
// store, whose own counts; but for a store that does not answer any more, after
// the target was told, and for a process that dies then, while another extends the
// lease: until the next renewal the credential may end with the earlier time.
func (b *Book) lower(ctx context.Context, e engine.Engine, l lease.Lease, now time.Time) {
	warn := func(err error, text string) {
		b.log.Warn().Err(err).Str("lease_id", string(l.ID)).Msg(text)
	}
	for {
		if err := tell(ctx, e, &l, l.ExpiresAt, now); err != nil {
			warn(err, "target keeps another expiry than the store")
			return
		}
		again, err := b.store.Get(ctx, l.ID)
		if err == nil {
			now, err = b.store.Now(ctx)
		}
		switch {
		case errors.Is(err, store.ErrNotFound):
			return
		case err != nil:
			warn(err, "target may have an earlier expiry than the store")
			return
		case !again.Usable(now) || !extended(&l, &again):
			return
		}
		l = again
	}
}

// extended reports whether the later state of a lease ends later.
func extended(was, is *lease.Lease) bool {
	return !was.ExpiresAt.IsZero() && (is.ExpiresAt.IsZero() || is.ExpiresAt.After(was.ExpiresAt))
}

// tell moves the expiry of l in the target to until; the zero time: never.
func tell(ctx context.Context, e engine.Engine, l *lease.Lease, until, now time.Time) error {
	renewal := engine.Renewal{Lease: *l}
	if !until.IsZero() {
		renewal.Remaining = max(until.Sub(now), time.Nanosecond) // 0 would mean: never
	}
	errs := e.Renew(ctx, l.Target, []engine.Renewal{renewal})
	if len(errs) != 1 {
		return fmt.Errorf("renew in the target: %d outcomes for one lease", len(errs))
	}
	if e, ok := errors.AsType[*engine.Error](errs[0]); ok && e.Kind == engine.NotFound {
		// Not "no such path": the lease is there, its account is not.
		return &wire.Error{Status: http.StatusBadRequest, Messages: []string{e.Message}, Cause: e}
	}
	return errs[0]
}

// overtaken handles a renewal whose commit did not go through, or may not have,
// after the target may have been told a later expiry: it is told the store's
// again (B9), unless the store has fallen behind itself: the later expiry may
// be what the client was promised (A7). The error says what to answer; nil: the
// commit is there.
func (b *Book) overtaken(ctx context.Context, e engine.Engine, c *lease.Change, cause error, told bool) (lease.Lease, error) {
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
	if told && usable && !errors.Is(cause, store.ErrSuspended) {
		b.lower(ctx, e, l, now)
	}
	switch {
	case errors.Is(cause, lease.ErrVersion) && usable:
		return l, lease.ErrVersion
	case errors.Is(cause, lease.ErrVersion), errors.Is(cause, lease.ErrOver), errors.Is(cause, store.ErrNotFound):
		return l, wire.Invalid("lease not found")
	}
	return l, fmt.Errorf("renew lease: %w", cause)
}
