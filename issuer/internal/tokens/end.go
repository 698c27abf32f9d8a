package tokens

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// RevokeSelf ends the caller's token.
func (g *Registry) RevokeSelf(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	return g.revoke(ctx, r, &r.Caller.Lease)
}

// Revoke ends the token that is named; one that is not valid any more is as
// good as revoked.
func (g *Registry) Revoke(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	l, _, err := g.named(ctx, r)
	if errors.Is(err, errUnknown) {
		return wire.NoContent(), nil
	}
	if err != nil {
		return nil, err
	}
	return g.revoke(ctx, r, &l)
}

// RevokeAccessor ends the token of an accessor.
func (g *Registry) RevokeAccessor(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	l, err := g.accessed(ctx, r)
	if err != nil {
		return nil, err
	}
	return g.revoke(ctx, r, &l)
}

// RevokeOrphan ends the token that is named and what it has issued, but for its
// child tokens: they stay, as orphans.
func (g *Registry) RevokeOrphan(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	l, _, err := g.named(ctx, r)
	if errors.Is(err, errUnknown) {
		return wire.NoContent(), nil
	}
	if err != nil {
		return nil, err
	}
	answer := wire.NoContent()
	answer.Recorded, err = g.end(ctx, l.ID, r.Actor, "token was revoked without its child tokens",
		lease.Revoke{KeepTokens: true}, r.Event(http.StatusNoContent))
	if err != nil {
		return nil, fmt.Errorf("revoke token: %w", err)
	}
	return answer, nil
}

func (g *Registry) revoke(ctx context.Context, r *request.Request, l *lease.Lease) (*wire.Answer, error) {
	answer := wire.NoContent()
	var err error
	answer.Recorded, err = g.end(ctx, l.ID, r.Actor, "token was revoked", lease.Revoke{}, r.Event(http.StatusNoContent))
	if err != nil {
		return nil, fmt.Errorf("revoke token: %w", err)
	}
	// The token is withdrawn, and the revoker takes its descendants in any case;
	// here they go before the answer, so that none of them works after it.
	if err := g.endChildren(ctx, l.ID); err != nil {
		g.log.Warn().Err(err).Str("token_id", string(l.ID)).Msg("child tokens are left to the revoker")
	}
	return answer, nil
}

// endChildren ends the tokens that were made by a token, and theirs.
func (g *Registry) endChildren(ctx context.Context, parent lease.ID) error {
	const page = 500
	q := store.Query{Token: parent, Kind: lease.Token, States: []lease.State{lease.Active}, Limit: page}
	for {
		children, err := g.store.Find(ctx, q)
		if err != nil {
			return fmt.Errorf("list child tokens: %w", err)
		}
		for _, c := range children {
			if _, err := g.end(ctx, c.ID, lease.System(lease.ActorToken), "its parent token was revoked", lease.Revoke{}); err != nil {
				return fmt.Errorf("revoke a child token: %w", err)
			}
			if err := g.endChildren(ctx, c.ID); err != nil {
				return err
			}
		}
		if len(children) < page {
			return nil
		}
		q.After = children[len(children)-1].ID
	}
}

// end commits revoking, and says whether it did; a token that has ended
// already is success.
func (g *Registry) end(ctx context.Context, id lease.ID, by lease.Actor, reason string, do lease.Revoke, also ...event.Event) (bool, error) {
	outs := g.store.Apply(ctx, store.Transition{
		Change: lease.Change{
			ID: id, Version: lease.AnyVersion, Key: lease.RandomBase62(keyLen), By: by, Reason: reason,
			Do: do,
		},
		Also: also,
	})
	if len(outs) != 1 {
		return false, fmt.Errorf("%d outcomes for one transition", len(outs))
	}
	err := outs[0].Err
	if errors.Is(err, lease.ErrOver) || errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// withdrawWithin bounds how long a token that nobody received is tried to be
// taken back; after it the token ends by itself.
const withdrawWithin = 5 * time.Second

// withdraw takes back a token whose text reached nobody.
func (g *Registry) withdraw(ctx context.Context, id lease.ID, by lease.Actor, reason string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawWithin)
	defer cancel()
	var err error
	for range 3 {
		if _, err = g.end(ctx, id, by, reason, lease.Revoke{}); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("take back token %s: %w", id, err)
	}
	return nil
}
