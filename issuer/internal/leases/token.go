package leases

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// tokenOf returns the token that l ends with, the zero Lease for one that needs
// none.
func (b *Book) tokenOf(ctx context.Context, l *lease.Lease) (lease.Lease, error) {
	if l.TokenID == "" {
		return lease.Lease{}, nil
	}
	token, err := b.store.Get(ctx, l.TokenID)
	if errors.Is(err, store.ErrNotFound) {
		return lease.Lease{}, nil
	}
	if err != nil {
		return token, fmt.Errorf("look up the token of a lease: %w", err)
	}
	return token, nil
}

// limit shows in data when an active lease ends, its token considered, and
// names the limit that keeps it from being longer.
func (b *Book) limit(ctx context.Context, l *lease.Lease, now time.Time, data map[string]any) error {
	if l.State != lease.Active {
		return nil
	}
	token, err := b.tokenOf(ctx, l)
	if err != nil {
		return err
	}
	switch left, byToken := l.RemainingWith(&token, now); {
	case byToken:
		data["expire_time"], data["ttl"], data["capped_by"] = wire.Stamp(token.ExpiresAt), wire.Seconds(left), string(lease.TokenLimit)
	case l.CappedBy != lease.NoLimit && !l.CeilingAt.IsZero() && !l.ExpiresAt.Before(l.CeilingAt):
		data["capped_by"] = string(l.CappedBy)
	}
	return nil
}
