package leases

import (
	"context"
	"fmt"
	"strings"

	"github.com/curfew-project/curfew/issuer/internal/mounts"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
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
	if _, err := r.Fields().Bool("include_child_namespaces", false); err != nil {
		return nil, err
	}
	sums, err := b.store.Revoking(ctx)
	if err != nil {
		return nil, fmt.Errorf("count parked revocations: %w", err)
	}
	of, err := mountsByID(ctx, m)
	if err != nil {
		return nil, err
	}
	counts, total := map[string]any{}, int64(0)
	for _, s := range sums {
		if s.Parked == 0 {
			continue
		}
		accessor := of[s.MountID].Accessor
		n, _ := counts[accessor].(int64)
		counts[accessor] = n + s.Parked
		total += s.Parked
	}
	return wire.OK(map[string]any{"counts": counts, "lease_count": total}), nil
}

// mountsByID are all mounts, those too that are being disabled.
func mountsByID(ctx context.Context, m Mounts) (map[string]mounts.Mount, error) {
	out := map[string]mounts.Mount{}
	for _, disabling := range []bool{false, true} {
		all, err := m.All(ctx, disabling)
		if err != nil {
			return nil, err
		}
		for _, mount := range all {
			out[mount.ID] = mount
		}
	}
	return out, nil
}

func asksParked(r *request.Request) bool {
	kind, err := r.Fields().String("type")
	return err == nil && strings.EqualFold(kind, "irrevocable")
}

// Tidy serves PUT sys/leases/tidy, which scripts of operators call.
func (*Book) Tidy(context.Context, *request.Request) (*wire.Answer, error) {
	return &wire.Answer{Status: 202, Warnings: []string{
		"Nothing was started: sweeps look for leases and accounts without each other all the time.",
	}}, nil
}
