package status

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

// Seal serves PUT and POST sys/seal.
func (d *Desk) Seal(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	if err := d.seal.Shut(context.WithoutCancel(ctx), r.Changed("sys/seal"), r.Event(http.StatusNoContent)); err != nil {
		return nil, err
	}
	return wire.Done(), nil
}

// Unseal serves PUT and POST sys/unseal. Who has the key needs no token.
func (d *Desk) Unseal(ctx context.Context, f wire.Fields, by lease.Actor) (*wire.Answer, error) {
	key, err := f.String("key")
	if err != nil {
		return nil, err
	}
	reset, err := f.Bool("reset", false)
	if err != nil {
		return nil, err
	}
	switch {
	case reset:
		d.seal.Reset()
		return d.SealStatus(ctx, nil)
	case key == "":
		return nil, wire.Invalid("'key' must be specified in request body as JSON, or 'reset' set to true")
	}
	err = d.seal.Unseal(context.WithoutCancel(ctx), secret.New(key), by)
	switch {
	case errors.Is(err, ErrNotInitialized):
		return nil, wire.Invalid("Vault is not initialized")
	case errors.Is(err, ErrNoKey):
		return nil, wire.Invalid("'key' must be a valid hex or base64 string")
	case errors.Is(err, ErrWrongKey):
		return nil, wire.Invalid("unable to retrieve stored keys: invalid key: failed to decrypt keys from storage: cipher: message authentication failed")
	case err != nil:
		return nil, fmt.Errorf("unseal: %w", err)
	}
	return d.SealStatus(ctx, nil)
}
