package leases

import (
	"context"
	"fmt"
	"strconv"
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
	if _, err := r.Fields().Bool("include_child_namespaces", false); err != nil {
		return nil, err
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

// mostParked bounds a list of revocations that does not ask for another limit.
const mostParked = 10_000

// ListParked serves GET sys/leases?type=irrevocable, with the reasons. limit is a
// number or none. There are no child namespaces to include.
func (b *Book) ListParked(ctx context.Context, r *request.Request, m Mounts) (*wire.Answer, error) {
	if !asksParked(r) {
		return nil, wire.Nothing()
	}
	limit, err := limitOf(r)
	if err == nil {
		_, err = r.Fields().Bool("include_child_namespaces", false)
	}
	if err != nil {
		return nil, err
	}
	leases, total := []map[string]any{}, 0
	err = b.parked(ctx, m, func(mount *mounts.Mount, l *lease.Lease) {
		if total++; len(leases) < limit {
			leases = append(leases, map[string]any{
				"lease_id": string(l.ID), "mount_id": mount.Accessor, "error": l.Revocation.LastError,
			})
		}
	})
	if err != nil {
		return nil, err
	}
	answer := wire.OK(map[string]any{"lease_count": total, "leases": leases})
	if len(leases) < total {
		answer.Warnings = []string{fmt.Sprintf("%d of %d leases are listed: ask with a higher limit, or with limit=none for up to %d", len(leases), total, mostKeys)}
	}
	return answer, nil
}

// limitOf is how many leases a list of revocations shows. Its texts are those of
// stock servers.
func limitOf(r *request.Request) (int, error) {
	text, err := r.Fields().String("limit")
	switch {
	case err != nil:
		return 0, err
	case text == "":
		return mostParked, nil
	case strings.EqualFold(text, "none"):
		return mostKeys, nil
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return 0, wire.Invalid("invalid 'limit' provided: %q", text)
	case n < 1:
		return 0, wire.Invalid("limit must be 'none' or a positive integer")
	}
	return min(n, mostKeys), nil
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
