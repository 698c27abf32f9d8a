package leases

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Lookup serves PUT sys/leases/lookup.
func (b *Book) Lookup(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	id, err := Named(r, "")
	if err != nil {
		return nil, err
	}
	l, err := b.store.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && l.State.Final() {
		return nil, wire.Invalid("invalid lease")
	}
	if err != nil {
		return nil, fmt.Errorf("look up lease: %w", err)
	}
	now, err := b.store.Now(ctx)
	if err != nil {
		return nil, fmt.Errorf("look up lease: %w", err)
	}
	data := map[string]any{
		"id": string(l.ID), "path": l.ID.Path(), "issue_time": wire.Stamp(l.IssuedAt),
		"expire_time": wire.Stamp(l.ExpiresAt), "last_renewal": wire.Stamp(l.RenewedAt),
		"renewable": l.Renewable && l.Usable(now), "ttl": int64(0),
	}
	if !l.ExpiresAt.IsZero() {
		data["ttl"] = wire.Seconds(l.ExpiresAt.Sub(now))
	}
	if err := b.limit(ctx, &l, now, data); err != nil {
		return nil, err
	}
	if l.State != lease.Active {
		data["state"] = string(l.State)
	}
	if l.State == lease.Revoking {
		// Since it ended access: a time in the past, as stock shows a lease
		// that it could not revoke.
		data["expire_time"], data["ttl"] = wire.Stamp(l.Revocation.DueAt), wire.Seconds(l.Revocation.DueAt.Sub(now))
		data["revocation"] = revocation(&l.Revocation)
		if l.Revocation.LastError != "" {
			data["revoke_error"] = l.Revocation.LastError
		}
	}
	return wire.OK(data), nil
}

// revocation shows how far a revocation has come.
func revocation(r *lease.Revocation) map[string]any {
	return map[string]any{
		"reason": r.Reason, "since": wire.Stamp(r.Since), "attempts": r.Attempts,
		"disabled_at": wire.Stamp(r.DisabledAt), "sessions_ended_at": wire.Stamp(r.SessionsEndedAt),
		"next_attempt": wire.Stamp(r.NextTryAt), "parked": r.Parked,
	}
}

// mostKeys bounds the keys of one answer.
const mostKeys = 100_000

// List serves LIST sys/leases/lookup/<prefix>: the next elements of the ids of
// leases that have not ended.
func (b *Book) List(ctx context.Context, r *request.Request, prefix string) (*wire.Answer, error) {
	if prefix != "" {
		prefix += "/"
	}
	if b.hides(prefix) {
		return nil, wire.Nothing()
	}
	limit := r.Limit
	if limit == 0 || limit > mostKeys {
		limit = mostKeys
	}
	children := b.children
	if r.Own {
		children = b.own(r.Caller.Lease.ID)
	}
	keys, err := children(ctx, prefix, r.After, limit)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, wire.Nothing()
	}
	answer := wire.OK(map[string]any{"keys": keys})
	if len(keys) == mostKeys {
		answer.Warnings = []string{fmt.Sprintf("the list was cut after %d keys: go on with after=%s", mostKeys, keys[len(keys)-1])}
	}
	return answer, nil
}

// hides reports whether a prefix lies in the part of the ids that is not shown.
func (b *Book) hides(prefix string) bool {
	return b.cfg.Hidden != "" && strings.HasPrefix(prefix, b.cfg.Hidden)
}

func (b *Book) children(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	const step = 1000
	var keys []string
	for len(keys) < limit {
		some, err := b.store.Children(ctx, prefix, after, step)
		if err != nil {
			return nil, fmt.Errorf("list leases: %w", err)
		}
		if len(some) == 0 {
			break
		}
		last := len(some) < step
		after = some[len(some)-1]
		keys = append(keys, slices.DeleteFunc(some, func(k string) bool { return b.hides(prefix + k) })...)
		if last {
			break
		}
	}
	return keys[:min(len(keys), limit)], nil
}

// own lists as children does, of the leases that a token created. Below an
// element that is listed nothing more is read.
func (b *Book) own(token lease.ID) func(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	return func(ctx context.Context, prefix, after string, limit int) ([]string, error) {
		q := store.Query{
			Token: token, Kind: lease.Secret, Prefix: prefix, States: open(), Limit: page,
			After: lease.ID(prefix + after),
		}
		if strings.HasSuffix(after, "/") {
			q.After = behind(prefix + after)
		}
		var keys []string
		for len(keys) < limit {
			found, err := b.store.Find(ctx, q)
			if err != nil {
				return nil, fmt.Errorf("list leases: %w", err)
			}
			jumped := false
			for _, l := range found {
				key, _, inner := strings.Cut(string(l.ID)[len(prefix):], "/")
				if q.After = l.ID; inner {
					key += "/"
					q.After, jumped = behind(prefix+key), true
				}
				if keys = append(keys, key); jumped {
					break
				}
			}
			if !jumped && len(found) < page {
				break
			}
		}
		return keys[:min(len(keys), limit)], nil
	}
}

// behind is after every id that begins with prefix.
func behind(prefix string) lease.ID { return lease.ID(prefix + string(utf8.MaxRune)) }
