package tokens

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// mostKeys bounds the keys of one answer.
const mostKeys = 100_000

// everywhere is what the ids of all tokens begin with, in the order of a list.
func everywhere() []string { return []string{"auth/", rootPath + "/"} }

// Accessors lists the accessors of all valid tokens, in the order of their ids.
// A page goes on after the last accessor of the one before, also if its token
// has ended by then.
func (g *Registry) Accessors(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	after, err := g.after(ctx, r.After)
	if err != nil {
		return nil, err
	}
	now, err := g.store.Now(ctx)
	if err != nil {
		return nil, fmt.Errorf("list accessors: %w", err)
	}
	limit := r.Limit
	if limit == 0 || limit > mostKeys {
		limit = mostKeys
	}
	keys := make([]string, 0, min(limit, 1000))
	for _, path := range everywhere() {
		if after > lease.ID(path) && !strings.HasPrefix(string(after), path) {
			continue // it lies in a later part
		}
		err := g.each(ctx, path, after, func(l *lease.Lease) (more bool) {
			if l.Usable(now) {
				keys = append(keys, l.Account)
			}
			return len(keys) < limit
		})
		if err != nil {
			return nil, err
		}
		if len(keys) == limit {
			break
		}
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

// after is the id of the token that a page follows.
func (g *Registry) after(ctx context.Context, accessor string) (lease.ID, error) {
	if accessor == "" {
		return "", nil
	}
	found, err := g.store.Find(ctx, store.Query{Account: accessor, Kind: lease.Token, Limit: 1})
	if err != nil {
		return "", fmt.Errorf("list accessors: %w", err)
	}
	if len(found) == 0 {
		return "", wire.Invalid("after names no token: list from the beginning")
	}
	return found[0].ID, nil
}

// each hands active tokens below path to do, in order, until it wants no more.
func (g *Registry) each(ctx context.Context, path string, after lease.ID, do func(*lease.Lease) (more bool)) error {
	const page = 1000
	q := store.Query{Prefix: path, Kind: lease.Token, States: []lease.State{lease.Active}, After: after, Limit: page}
	for {
		found, err := g.store.Find(ctx, q)
		if err != nil {
			return fmt.Errorf("list tokens: %w", err)
		}
		for i := range found {
			if !do(&found[i]) {
				return nil
			}
		}
		if len(found) < page {
			return nil
		}
		q.After = found[len(found)-1].ID
	}
}

// Tidy serves auth/token/tidy. There is nothing to put in order: a token, its
// accessor and what hangs on it are rows that change together.
func (*Registry) Tidy(context.Context, *request.Request) (*wire.Answer, error) {
	return &wire.Answer{Status: http.StatusAccepted, Warnings: []string{
		"Nothing was started: sweeps end tokens and what they issued all the time.",
	}}, nil
}
