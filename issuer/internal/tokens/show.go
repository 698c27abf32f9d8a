package tokens

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

func badToken() error {
	return &wire.Error{Status: http.StatusForbidden, Messages: []string{"bad token"}}
}

// named is the token that a request names in the field "token".
func (g *Registry) named(ctx context.Context, r *request.Request) (lease.Lease, secret.Value, error) {
	name, err := r.Fields().String("token")
	if err != nil {
		return lease.Lease{}, secret.Value{}, err
	}
	if name == "" {
		return lease.Lease{}, secret.Value{}, wire.Invalid("missing token")
	}
	text := secret.New(name)
	l, err := g.find(ctx, text)
	return l, text, err
}

// LookupSelf shows the caller's token.
func (g *Registry) LookupSelf(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	l, err := g.fresh(ctx, &r.Caller)
	if err != nil {
		return nil, err
	}
	return g.show(ctx, &l, r.Caller.Text)
}

// fresh is the caller's token as it is now: for who wants to see it.
func (g *Registry) fresh(ctx context.Context, c *request.Caller) (lease.Lease, error) {
	if !c.Cached {
		return c.Lease, nil
	}
	l, err := g.store.Get(ctx, c.Lease.ID)
	if err == nil {
		err = g.valid(ctx, &l)
	}
	if errors.Is(err, errUnknown) || errors.Is(err, store.ErrNotFound) {
		return l, wire.Denied()
	}
	if err != nil {
		return l, fmt.Errorf("look up token: %w", err)
	}
	return l, nil
}

// Lookup shows the token that is named.
func (g *Registry) Lookup(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	if !r.Fields().Has("token") {
		return g.LookupSelf(ctx, r)
	}
	l, text, err := g.named(ctx, r)
	if errors.Is(err, errUnknown) {
		return nil, badToken()
	}
	if err != nil {
		return nil, err
	}
	return g.show(ctx, &l, text)
}

// LookupAccessor shows the token of an accessor, without its text.
func (g *Registry) LookupAccessor(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	l, err := g.accessed(ctx, r)
	if err != nil {
		return nil, err
	}
	return g.show(ctx, &l, secret.Value{})
}

func (g *Registry) accessed(ctx context.Context, r *request.Request) (lease.Lease, error) {
	accessor, err := r.Fields().String("accessor")
	if err != nil {
		return lease.Lease{}, err
	}
	if accessor == "" {
		return lease.Lease{}, wire.Invalid("missing accessor")
	}
	l, err := g.byAccessor(ctx, accessor)
	if errors.Is(err, errUnknown) {
		return l, &wire.Error{Status: http.StatusForbidden, Messages: []string{"invalid accessor"}}
	}
	return l, err
}

// read gives the attributes of a token as they are by now: it is an orphan too
// if its parent ended without it.
func (g *Registry) read(ctx context.Context, l *lease.Lease) (attributes, error) {
	a, err := attributesOf(l)
	if err != nil || a.Orphan || l.TokenID == "" {
		return a, err
	}
	parent, err := g.store.Get(ctx, l.TokenID)
	if errors.Is(err, store.ErrNotFound) {
		// It ended so long ago that the store has forgotten it: without this one.
		a.Orphan = true
		return a, nil
	}
	if err != nil {
		return a, fmt.Errorf("look up the parent token: %w", err)
	}
	a.Orphan = parent.Revocation.KeepTokens
	return a, nil
}

func (g *Registry) show(ctx context.Context, l *lease.Lease, text secret.Value) (*wire.Answer, error) {
	a, err := g.read(ctx, l)
	if err != nil {
		return nil, err
	}
	now, err := g.store.Now(ctx)
	if err != nil {
		return nil, fmt.Errorf("look up token: %w", err)
	}
	data := map[string]any{
		"accessor": l.Account, "creation_time": l.IssuedAt.Unix(), "creation_ttl": wire.Seconds(l.TTL),
		"display_name": a.DisplayName, "entity_id": "", "expire_time": wire.Stamp(l.ExpiresAt),
		"explicit_max_ttl": wire.Seconds(a.ExplicitMaxTTL), "id": text.Reveal(), "meta": a.Meta, "num_uses": l.Uses,
		"orphan": a.Orphan, "path": a.Path, "policies": a.Policies,
		"ttl": wire.Seconds(l.Remaining(now)), "type": "service",
	}
	if !l.ExpiresAt.IsZero() {
		data["issue_time"], data["renewable"] = wire.Stamp(l.IssuedAt), l.Renewable
	}
	if len(a.BoundCIDRs) > 0 {
		data["bound_cidrs"] = a.BoundCIDRs
	}
	if a.Period > 0 {
		data["period"] = wire.Seconds(a.Period)
	}
	if !l.RenewedAt.IsZero() {
		data["last_renewal"], data["last_renewal_time"] = wire.Stamp(l.RenewedAt), l.RenewedAt.Unix()
	}
	return wire.OK(data), nil
}

func authOf(l *lease.Lease, a attributes, text secret.Value, d time.Duration) *wire.Auth {
	return &wire.Auth{
		Token: text, Accessor: l.Account, Policies: a.Policies, Metadata: a.Meta,
		Duration: d, Renewable: l.Renewable, Orphan: a.Orphan, NumUses: l.Uses,
	}
}
