package tokens

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

// RenewSelf prolongs the caller's token.
func (g *Registry) RenewSelf(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	return g.renew(ctx, r, &r.Caller.Lease, r.Caller.Text)
}

// Renew prolongs the token that is named.
func (g *Registry) Renew(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	l, text, err := g.named(ctx, r)
	if errors.Is(err, errUnknown) {
		return nil, badToken()
	}
	if err != nil {
		return nil, err
	}
	return g.renew(ctx, r, &l, text)
}

// RenewAccessor prolongs the token of an accessor; the answer does not tell it.
func (g *Registry) RenewAccessor(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	l, err := g.accessed(ctx, r)
	if err != nil {
		return nil, err
	}
	return g.renew(ctx, r, &l, secret.Value{})
}

func (g *Registry) renew(ctx context.Context, r *request.Request, l *lease.Lease, text secret.Value) (*wire.Answer, error) {
	increment, err := r.Fields().Duration("increment")
	if err != nil {
		return nil, err
	}
	a, err := g.read(ctx, l)
	if err != nil {
		return nil, err
	}
	if a.Period > 0 {
		increment = a.Period // a periodic token is always renewed by its period
	}
	if !l.Renewable {
		return nil, wire.Invalid("lease is not renewable")
	}
	outs := g.store.Apply(ctx, store.Transition{
		Change: lease.Change{
			ID: l.ID, Version: lease.AnyVersion, Key: lease.RandomBase62(keyLen), By: r.Actor,
			Do: lease.Renew{Increment: increment},
		},
		Also: []event.Event{r.Event(http.StatusOK)},
	})
	if len(outs) != 1 {
		return nil, fmt.Errorf("renew token: %d outcomes for one transition", len(outs))
	}
	after, err := outs[0].Lease, outs[0].Err
	switch {
	case errors.Is(err, lease.ErrOver), errors.Is(err, store.ErrNotFound):
		return nil, badToken()
	case err != nil:
		return nil, fmt.Errorf("renew token: %w", err)
	}
	answer := &wire.Answer{
		Auth:     authOf(&after, a, text, after.Remaining(after.RenewedAt)),
		Recorded: true,
	}
	if _, capped := after.Extension(increment, after.RenewedAt); capped {
		asked := increment
		if asked == 0 {
			asked = after.TTL
		}
		answer.Warnings = []string{lease.CapWarning(asked, after.CeilingAt.Sub(after.RenewedAt), after.CappedBy)}
	}
	return answer, nil
}
