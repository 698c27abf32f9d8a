package issuer

import (
	"context"
	"errors"

	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// sealedStore has every commit that issues something ask whether people have
// sealed the API (A3): an issuer that has not heard of it issues nothing either.
type sealedStore struct {
	Store
	seal Seal
}

// Apply implements [store.Leases].
func (s sealedStore) Apply(ctx context.Context, items ...store.Transition) []store.Outcome {
	guard := s.seal.Guard()
	for i := range items {
		if g := &items[i].Guard; issues(items[i].Change.Do) {
			g.Entries = append(append([]store.Ref(nil), guard...), g.Entries...)
		}
	}
	out := s.Store.Apply(ctx, items...)
	for i := range out {
		if out[i].Withdrawn == string(store.KindSystem) && errors.Is(out[i].Err, store.ErrWithdrawn) {
			sealed := wire.Sealed()
			sealed.Cause = errSealed
			out[i].Err = sealed
		}
	}
	return out
}

// errSealed is for the log. It is no [store.ErrWithdrawn], which would make a
// sealed API a matter of who asks.
var errSealed = errors.New("people have sealed the API")

func issues(do lease.Action) bool {
	switch do.(type) {
	case lease.Begin, lease.Activate:
		return true
	}
	return false
}
