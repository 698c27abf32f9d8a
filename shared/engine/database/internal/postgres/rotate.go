package postgres

import (
	"context"
	"crypto/rand"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/scram"
	"github.com/curfew-project/curfew/shared/secret"
)

// SetPassword gives the admin user another password (B11, step 2). Only its
// verifier is sent. It may have happened though an error is returned: log in
// with both.
func (t *Target) SetPassword(ctx context.Context, password secret.Value) error {
	salt := make([]byte, scram.SaltLen)
	rand.Read(salt) // never fails, it ends the process
	verifier, err := scram.Verifier(password.Reveal(), salt, scram.DefaultIterations)
	if err != nil {
		return &engine.Error{Kind: engine.Invalid, Message: "the new password cannot be hashed", Err: err}
	}
	// On the observing lane: a queue of creations must not hold this up.
	return t.look(ctx, func(ctx context.Context, l *link) error {
		return t.step(ctx, l, transaction{}, t.settings.Limits.Turn/2, unit{
			doing:   "change the password of the admin user",
			after:   []string{"ALTER ROLE " + ident(l.facts.user) + " PASSWORD " + literal(verifier)},
			secrets: []secret.Value{secret.New(verifier), password},
		})
	})
}

// TryLogin opens a connection with a password and closes it (B11, step 3). The
// error of a wrong password is Refused.
func (t *Target) TryLogin(ctx context.Context, password secret.Value) error {
	ctx, cancel := context.WithTimeout(ctx, t.settings.Limits.Connect)
	defer cancel()
	l, err := t.main.try(ctx, "", password)
	if err != nil {
		return t.main.explain(t.main.config.Database, err, password)
	}
	l.close(ctx)
	return nil
}
