package database

import (
	"context"

	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

// credentials are the passwords of one connection, as the store has them at the
// moment they are asked for (B11).
type credentials struct {
	engine *Engine
	id     string
}

// Passwords implements [postgres.Credentials].
func (c *credentials) Passwords(ctx context.Context) (current, pending secret.Value, err error) {
	s, err := c.engine.connectionByID(ctx, c.id)
	if err != nil {
		return current, pending, err
	}
	return c.engine.passwords(&s.connection)
}

func (e *Engine) passwords(c *connection) (current, pending secret.Value, err error) {
	if current, err = c.open(e.sealer, fieldPassword, c.Current); err != nil {
		return current, pending, err
	}
	pending, err = c.open(e.sealer, fieldPassword, c.Pending)
	return current, pending, err
}

// Promote implements [postgres.Credentials].
func (c *credentials) Promote(ctx context.Context, pending secret.Value) error {
	return c.engine.promote(ctx, c.id, system(), pending)
}

// promote makes the pending password the current one, unless it is that
// already or another rotation came between.
func (e *Engine) promote(ctx context.Context, id string, by lease.Actor, pending secret.Value) error {
	return e.edit(ctx, id, by, "rotated password confirmed", func(s *stored) (bool, error) {
		_, waiting, err := e.passwords(&s.connection)
		if err != nil || waiting.Empty() || !waiting.Equal(pending) {
			return false, err
		}
		s.Current, s.Pending = s.Pending, nil
		return true, nil
	})
}

// given are credentials that are not stored yet: those of a verification.
type given struct{ current, pending secret.Value }

// Passwords implements [postgres.Credentials].
func (g given) Passwords(context.Context) (current, pending secret.Value, err error) {
	return g.current, g.pending, nil
}

// Promote implements [postgres.Credentials]: the next login will do it, once
// the connection is stored.
func (given) Promote(context.Context, secret.Value) error { return nil }

var (
	_ postgres.Credentials = (*credentials)(nil)
	_ postgres.Credentials = given{}
)
