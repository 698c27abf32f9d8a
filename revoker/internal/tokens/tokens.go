// Package tokens ends tokens: a token in revoking is withdrawn already (A3), so
// nothing new is issued with it; what it asked for before is put into revoking,
// child tokens included, unless the end of the token says that they stay. Orphans
// name no parent and stay in any case. Token leases have no
// engine and no target: the empty names are theirs.
package tokens

import (
	"context"

	"github.com/curfew-project/curfew/revoker/internal/withdraw"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

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
		q, reason := store.Query{Token: batch[i].ID}, "its token ended: "+batch[i].Revocation.Reason
		if batch[i].Revocation.KeepTokens {
			q.Kind = lease.Secret
		}
		if err := withdraw.All(ctx, r.store, q, lease.System(lease.ActorToken), reason); err != nil {
			out[i].Err = &engine.Error{Kind: engine.Internal, Message: "leases of the token are not all in revocation", Err: err}
			continue
		}
		out[i].Gone = true
	}
	return out
}

var _ engine.Revoker = (*Revoker)(nil)
