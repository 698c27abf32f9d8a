package database

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/engine/database/internal/scram"
	"github.com/curfew-project/curfew/shared/password"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

// password draws a password by the policy of a name, or by none where the name
// is empty, and gives the plan as many iterations as such a password needs
// (B10). It reads the policy as it stands now: one that is gone makes nothing.
func (e *Engine) password(ctx context.Context, policy string, p *postgres.Plan) (secret.Value, error) {
	if policy == "" {
		text, err := scram.Password(rand.Reader, scram.DefaultLength)
		if err != nil {
			return secret.Value{}, fmt.Errorf("make password: %w", err)
		}
		return secret.New(text), nil
	}
	rules, err := e.policy(ctx, policy)
	if err != nil {
		return secret.Value{}, err
	}
	hashed := cmp.Or(p.Authentication, postgres.SCRAM) == postgres.SCRAM
	if hashed && !rules.ASCII() {
		return secret.Value{}, invalid(multi(fmt.Sprintf("unable to generate password: password policy %q has characters outside of ASCII, "+
			"of which the clients of PostgreSQL make different hashes: leave them out of its charsets", policy)))
	}
	if rules.Entropy() < password.Strong {
		p.Iterations = max(cmp.Or(p.Iterations, scram.DefaultIterations), scram.DefaultIterations)
	}
	text, err := rules.Generate(rand.Reader)
	if err != nil {
		return secret.Value{}, invalid(multi(fmt.Sprintf("unable to generate password: password policy %q: %s", policy, err)))
	}
	return secret.New(text), nil
}

func (e *Engine) policy(ctx context.Context, name string) (password.Policy, error) {
	entry, err := e.store.Entry(ctx, store.KindPassword, name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return password.Policy{}, invalid(multi(fmt.Sprintf(
			"unable to generate password: no password policy found: write sys/policies/password/%s, or another password_policy to the role or its connection", name)))
	case err != nil:
		return password.Policy{}, storeError("read password policy", err)
	}
	p, err := password.Decode(entry.Value)
	if err != nil {
		return p, &engine.Error{Kind: engine.Internal, Message: "a stored password policy cannot be read", Err: err}
	}
	return p, nil
}
