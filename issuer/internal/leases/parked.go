package leases

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// mostParked bounds a list of revocations that does not ask for another limit.
const mostParked = 10_000

// ListParked serves GET sys/leases?type=irrevocable, with the reasons. limit is a
// number or none; prefix and connection narrow the list. There are no child
// namespaces to include. Its cost grows with the leases in revocation.
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
	of, err := mountsByID(ctx, m)
	if err != nil {
		return nil, err
	}
	n := b.names()
	selected, err := b.selected(ctx, r, n)
	if err != nil {
		return nil, err
	}
	leases, total := []map[string]any{}, int64(0)
	for _, q := range selected {
		q.Parked = true
		count, err := b.store.Count(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("count parked revocations: %w", err)
		}
		total += count
		err = b.each(ctx, q, func(found []lease.Lease) error {
			for i := range found {
				if len(leases) == limit {
					return errEnough
				}
				l := &found[i]
				connection, err := n.of(ctx, l.Target)
				if err != nil {
					return err
				}
				leases = append(leases, shownParked(l, of[l.MountID].Accessor, connection))
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return nil, err
		}
	}
	total = max(total, int64(len(leases))) // one may have failed between the two looks
	answer := wire.OK(map[string]any{"lease_count": total, "leases": leases})
	if len(leases) == limit && int64(limit) < total {
		answer.Warnings = []string{fmt.Sprintf("%d of %d leases are listed: ask with a higher limit, or with limit=none for up to %d", len(leases), total, mostKeys)}
	}
	return answer, nil
}

var errEnough = errors.New("enough")

// shownParked is a parked revocation on the wire: what stock servers show, and
// what a person needs to know who has to help. Nothing of it is secret.
func shownParked(l *lease.Lease, accessor, connection string) map[string]any {
	r := &l.Revocation
	return map[string]any{
		"lease_id": string(l.ID), "mount_id": accessor, "error": r.LastError,
		"mount": l.Mount, "connection": connection, "role": l.Role, "username": l.Account,
		"reason": r.Reason, "display_name": l.IssuedBy.DisplayName,
		"since": wire.Stamp(r.Since), "disabled_at": wire.Stamp(r.DisabledAt), "attempts": r.Attempts,
		"first_failure": wire.Stamp(r.FirstFailedAt), "last_failure": wire.Stamp(r.LastFailedAt),
		"next_attempt": wire.Stamp(r.NextTryAt),
	}
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

// selected are the queries for leases in revocation that a request's fields
// prefix and connection choose: one where no connection is named, else one for
// each of its incarnations that has such leases.
func (b *Book) selected(ctx context.Context, r *request.Request, n *names) ([]store.Query, error) {
	prefix, err := r.Fields().String("prefix")
	if err != nil {
		return nil, err
	}
	connection, err := r.Fields().String("connection")
	if err != nil {
		return nil, err
	}
	q := store.Query{States: []lease.State{lease.Revoking}}
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		q.Prefix = prefix + "/"
	}
	if connection == "" {
		return []store.Query{q}, nil
	}
	return b.ofConnection(ctx, q, connection, n)
}

// ofConnection narrows q to a connection, which is named alone ("my-postgres")
// or with its mount ("database/my-postgres").
func (b *Book) ofConnection(ctx context.Context, q store.Query, connection string, n *names) ([]store.Query, error) {
	sums, err := b.store.Revoking(ctx)
	if err != nil {
		return nil, fmt.Errorf("find the leases of a connection: %w", err)
	}
	var out []store.Query
	seen := map[string]bool{"": true} // no target, no connection
	for _, s := range sums {
		if seen[s.Target] {
			continue
		}
		seen[s.Target] = true
		name, err := n.of(ctx, s.Target)
		if err != nil {
			return nil, err
		}
		mount, err := n.mountOf(ctx, s.MountID)
		if err != nil {
			return nil, err
		}
		if connection != name && connection != mount+name {
			continue
		}
		one := q
		one.Target = s.Target
		out = append(out, one)
	}
	return out, nil
}

// names knows connections and mounts by their incarnations, for one request:
// also those that were deleted and have leases yet (A2).
type names struct {
	store   Store
	targets map[string]string
	mounts  map[string]string
}

func (b *Book) names() *names {
	return &names{store: b.store, targets: map[string]string{}, mounts: map[string]string{}}
}

// of is the name of a connection; empty where it is not known any more.
func (n *names) of(ctx context.Context, target string) (string, error) {
	return n.name(ctx, n.targets, store.KindConnection, target, func(key string) string {
		_, name, _ := strings.Cut(key, "/") // behind the mount's id
		return name
	})
}

// mountOf is the path of a mount.
func (n *names) mountOf(ctx context.Context, id string) (string, error) {
	return n.name(ctx, n.mounts, store.KindMount, id, func(key string) string { return key })
}

func (n *names) name(ctx context.Context, known map[string]string, kind store.Kind, id string, read func(key string) string) (string, error) {
	if name, ok := known[id]; ok || id == "" {
		return name, nil
	}
	e, err := n.store.EntryByID(ctx, kind, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return "", fmt.Errorf("look up the name of a %s: %w", kind, err)
	default:
		known[id] = read(e.Key)
	}
	return known[id], nil
}
