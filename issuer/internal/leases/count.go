package leases

import (
	"context"
	"strings"

	"github.com/curfew-project/curfew/issuer/internal/mounts"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Mounts lists the mounts that can have leases.
type Mounts interface {
	All(ctx context.Context, disabling bool) ([]mounts.Mount, error)
}

// CountParked serves GET sys/leases/count?type=irrevocable: how many
// revocations of each mount need a person.
func (b *Book) CountParked(ctx context.Context, r *request.Request, m Mounts) (*wire.Answer, error) {
	if !asksParked(r) {
		return nil, wire.Nothing() // as stock does for any other type
	}
	counts, total := map[string]any{}, 0
	err := b.parked(ctx, m, func(mount *mounts.Mount, _ *lease.Lease) {
		n, _ := counts[mount.Accessor].(int)
		counts[mount.Accessor] = n + 1
		total++
	})
	if err != nil {
		return nil, err
	}
	return wire.OK(map[string]any{"counts": counts, "lease_count": total}), nil
}

// ListParked serves GET sys/leases?type=irrevocable, with the reasons.
func (b *Book) ListParked(ctx context.Context, r *request.Request, m Mounts) (*wire.Answer, error) {
	if !asksParked(r) {
		return nil, wire.Nothing()
	}
	leases, total := []map[string]any{}, 0
	err := b.parked(ctx, m, func(mount *mounts.Mount, l *lease.Lease) {
		if total++; len(leases) < mostKeys {
			leases = append(leases, map[string]any{
				"lease_id": string(l.ID), "mount_id": mount.Accessor, "error": l.Revocation.LastError,
			})
		}
	})
	if err != nil {
		return nil, err
	}
	return wire.OK(map[string]any{"lease_count": total, "leases": leases}), nil
}

func asksParked(r *request.Request) bool {
	kind, err := r.Fields().String("type")
	return err == nil && strings.EqualFold(kind, "irrevocable")
}

// parked calls do for each lease whose revocation needs a person. Work grows
// with the leases in revocation, not with those alive.
func (b *Book) parked(ctx context.Context, m Mounts, do func(*mounts.Mount, *lease.Lease)) error {
	for _, disabling := range []bool{false, true} {
		all, err := m.All(ctx, disabling)
		if err != nil {
			return err
		}
		for _, mount := range all {
			q := store.Query{MountID: mount.ID, States: []lease.State{lease.Revoking}}
			err := b.each(ctx, q, func(found []lease.Lease) error {
				for _, l := range found {
					if l.Revocation.Parked {
						do(&mount, &l)
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Tidy serves PUT sys/leases/tidy, which scripts of operators call.
func (*Book) Tidy(context.Context, *request.Request) (*wire.Answer, error) {
	return &wire.Answer{Status: 202, Warnings: []string{
		"Nothing was started: sweeps look for leases and accounts without each other all the time.",
	}}, nil
}
