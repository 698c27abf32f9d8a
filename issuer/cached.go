package issuer

import (
	"context"

	"github.com/curfew-project/curfew/issuer/internal/tokencache"
	"github.com/curfew-project/curfew/issuer/internal/tokens"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

// TokenCacheStats say what the cache of tokens did since the start (D7).
type TokenCacheStats = tokencache.Stats

// TokenCache tells how the cache of tokens stands.
func (i *Issuer) TokenCache() TokenCacheStats { return i.cache.Stats() }

// following is the step that hears of the tokens that others change, and what
// ends its watch of the store; none where nothing is kept.
func following(d Deps, cache *tokens.Cache) (steps []step.Step, end func()) {
	if cache.Off() {
		return nil, func() {}
	}
	wake, end := commits(d.Store)
	return []step.Step{tokencache.NewFollower(d.Store, cache, d.Clock, wake)}, end
}

// forgetfulStore has the cache forget the tokens that this issuer changes,
// before anybody is told of the commit (D7).
type forgetfulStore struct {
	Store
	cache *tokens.Cache
}

// Apply implements [store.Leases].
func (s forgetfulStore) Apply(ctx context.Context, items ...store.Transition) []store.Outcome {
	out := s.Store.Apply(ctx, items...)
	for i := range items {
		switch items[i].Change.Do.(type) {
		case lease.Begin, lease.Activate: // of what nobody has read
		default:
			s.cache.Forget(items[i].Change.ID) // whatever came of it
		}
	}
	return out
}
