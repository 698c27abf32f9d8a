// Package tokens ends tokens: a token in revoking is withdrawn already (A3), so
// nothing new is issued with it; what it asked for before is put into revoking,
// child tokens included. Orphans name no parent and stay. Token leases have no
// engine and no target: the empty names are theirs.
package tokens

import (
	"context"
	"errors"
	"fmt"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

const page = 500

// Revoker implements [engine.Revoker] for leases of kind Token.
type Revoker struct{ store store.Leases }

// New returns a revoker of tokens.
func New(s store.Leases) *Revoker { return &Revoker{store: s} }

// Disable implements [engine.Revoker]: the state revoking is the withdrawal.
func (r *Revoker) Disable(_ context.Context, _ string, batch []lease.Lease) []engine.Outcome {
	out := make([]engine.Outcome, len(batch))
	for i := range out {
		out[i] = engine.Outcome{Disabled: true, SessionsEnded: true}
	}
	return out
}

// Remove implements [engine.Revoker]. The listing runs after the withdrawal was
// committed, so that an intent it misses sees the withdrawal at its activation.
func (r *Revoker) Remove(ctx context.Context, _ string, batch []lease.Lease) []engine.Outcome {
	out := make([]engine.Outcome, len(batch))
	for i := range batch {
		out[i] = engine.Outcome{Disabled: true, SessionsEnded: true}
		if err := r.cascade(ctx, &batch[i]); err != nil {
			out[i].Err = &engine.Error{Kind: engine.Internal, Message: "leases of the token are not all in revocation", Err: err}
			continue
		}
		out[i].Gone = true
	}
	return out
}

func (r *Revoker) cascade(ctx context.Context, token *lease.Lease) error {
	q := store.Query{Token: token.ID, States: []lease.State{lease.Intent, lease.Active}, Limit: page}
	var refused error // keeps none of the other leases from their revocation
	for {
		found, err := r.store.Find(ctx, q)
		if err != nil {
			return fmt.Errorf("list leases of a token: %w", err)
		}
		items := make([]store.Transition, len(found))
		for i, l := range found {
			items[i].Change = lease.Change{
				ID: l.ID, Version: lease.AnyVersion, Key: lease.RandomBase62(16),
				By: lease.System(lease.ActorToken), Reason: "its token ended: " + token.Revocation.Reason, Do: lease.Revoke{},
			}
		}
		for _, o := range r.store.Apply(ctx, items...) {
			if o.Err != nil && !errors.Is(o.Err, lease.ErrOver) {
				refused = fmt.Errorf("revoke a lease of a token: %w", o.Err)
			}
		}
		if len(found) < page {
			return refused
		}
		q.After = found[len(found)-1].ID
	}
}

var _ engine.Revoker = (*Revoker)(nil)
