// Package tokens ends tokens: a token in revoking is withdrawn already (A3), so
// nothing new is issued with it; what it asked for before is put into revoking,
// child tokens included, unless the end of the token says that they stay. Orphans
// name no parent and stay in any case. A wrapping token that ends without being
// opened takes what is inside with it (A9). Token leases have no engine and no
// target: the empty names are theirs.
package tokens

import (
	"context"
	"errors"
	"fmt"

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
		err := withdraw.All(ctx, r.store, q, lease.System(lease.ActorToken), reason)
		if err = errors.Join(err, r.discard(ctx, &batch[i])); err != nil {
			out[i].Err = &engine.Error{Kind: engine.Internal, Message: "leases of the token are not all in revocation", Err: err}
			continue
		}
		out[i].Gone = true
	}
	return out
}

// discard puts what a wrapping token holds into revoking, unless it was opened:
// both are decided by the one change that ended the token.
func (r *Revoker) discard(ctx context.Context, l *lease.Lease) error {
	if l.Inside == "" || l.Revocation.Opened {
		return nil
	}
	outs := r.store.Apply(ctx, store.Transition{Change: lease.Change{
		ID: l.Inside, Version: lease.AnyVersion, Key: lease.RandomBase62(16), By: lease.System(lease.ActorToken),
		Reason: "its wrapping token ended unopened: " + l.Revocation.Reason, Do: lease.Revoke{},
	}})
	if len(outs) != 1 {
		return fmt.Errorf("revoke what was wrapped: %d outcomes for one transition", len(outs))
	}
	if err := outs[0].Err; err != nil && !errors.Is(err, lease.ErrOver) && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("revoke what was wrapped: %w", err)
	}
	return nil
}

var _ engine.Revoker = (*Revoker)(nil)
