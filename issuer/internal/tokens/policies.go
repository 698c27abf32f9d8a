package tokens

import (
	"context"
	"errors"
	"net/http"

	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

// PoliciesOf returns the names of a token's policies: of the one with a text,
// or of an accessor where text is empty. One that is not valid is a 403.
func (g *Registry) PoliciesOf(ctx context.Context, text, accessor string) ([]string, error) {
	var l lease.Lease
	var err error
	if text != "" {
		l, err = g.find(ctx, secret.New(text))
	} else {
		l, err = g.byAccessor(ctx, accessor)
	}
	if errors.Is(err, errUnknown) {
		return nil, &wire.Error{Status: http.StatusForbidden, Messages: []string{"invalid token"}}
	}
	if err != nil {
		return nil, err
	}
	a, err := attributesOf(&l)
	return a.Policies, err
}
