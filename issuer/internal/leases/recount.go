package leases

import (
	"context"
	"fmt"
	"net/http"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

// ReadRecount serves GET sys/leases/recount: when the counts that quotas go by
// were compared with the leases last, and what came of it.
func (b *Book) ReadRecount(ctx context.Context, _ *request.Request) (*wire.Answer, error) {
	last, _, err := store.ReadRecount(ctx, b.store)
	if err != nil {
		return nil, err
	}
	return wire.OK(map[string]any{
		"asked_at": wire.Stamp(last.AskedAt), "running_since": wire.Stamp(last.ClaimedAt),
		"finished_at": wire.Stamp(last.At), "mended": last.Mended,
	}), nil
}

// AskRecount serves PUT sys/leases/recount: a revoker compares them now. (It
// does so by itself each day and after an upgrade.)
func (b *Book) AskRecount(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	err := store.Change(ctx, b.store, func() (store.Write, error) {
		last, e, err := store.ReadRecount(ctx, b.store)
		if err != nil {
			return store.Write{}, err
		}
		if last.AskedAt, err = b.store.Now(ctx); err != nil {
			return store.Write{}, err
		}
		e, err = last.Put(e)
		return store.Write{Puts: []store.Entry{e}, Events: []event.Event{r.Event(http.StatusAccepted)}}, err
	})
	if err != nil {
		return nil, fmt.Errorf("ask for a recount: %w", err)
	}
	return &wire.Answer{Status: http.StatusAccepted, Recorded: true}, nil
}
