package tokens

import (
	"context"
	"errors"
	"net/http"

	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

// PoliciesOf returns the names of the policies of the token with a text. One
// that is not valid is a 403.
func (g *Registry) PoliciesOf(ctx context.Context, text secret.Value) ([]string, error) {
	return policiesOf(g.find(ctx, text))
}

// PoliciesByAccessor is [Registry.PoliciesOf] for the token of an accessor.
func (g *Registry) PoliciesByAccessor(ctx context.Context, accessor string) ([]string, error) {
	return policiesOf(g.byAccessor(ctx, accessor))
}

func policiesOf(l lease.Lease, err error) ([]string, error) {
	if errors.Is(err, errUnknown) {
		return nil, &wire.Error{Status: http.StatusForbidden, Messages: []string{"invalid token"}}
	}
	if err != nil {
		return nil, err
	}
	a, err := attributesOf(&l)
	return a.Policies, err
}
