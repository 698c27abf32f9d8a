package operator

import (
	"context"
	"fmt"
	"net/http"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/status"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/store"
)

// Store is what the operator's view needs of the store.
type Store interface {
	store.Entries
	Suspension(ctx context.Context) (store.Suspension, bool, error)
}

// Seal knows which installation this is.
type Seal interface {
	Status(ctx context.Context) (status.SealStatus, error)
}

// Desk answers.
type Desk struct {
	store   Store
	seal    Seal
	engines map[string]engine.Engine
}

// New returns a desk.
func New(s Store, seal Seal, engines map[string]engine.Engine) *Desk {
	return &Desk{store: s, seal: seal, engines: engines}
}

// Confirm serves PUT sys/installation/confirm: a person has made sure that this
// is the one installation.
func (d *Desk) Confirm(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	doubted, err := doubts(ctx, d.store)
	if err != nil {
		return nil, err
	}
	if !doubted {
		return &wire.Answer{Warnings: []string{"there was nothing to confirm: stray accounts are taken away already"}}, nil
	}
	answer := wire.NoContent()
	if _, err := installation.Confirm(ctx, d.store, r.Actor, r.Event(answer.Code())); err != nil {
		return nil, err
	}
	answer.Recorded = true
	return answer, nil
}

// doubts reports whether there is anything to confirm.
func doubts(ctx context.Context, s Store) (bool, error) {
	reasons, err := installation.Current(ctx, s)
	if err != nil || len(reasons) > 0 {
		return err == nil, err
	}
	contested, err := installation.Contested(ctx, s)
	return len(contested) > 0, err
}

// Read serves GET sys/installation.
func (d *Desk) Read(ctx context.Context, _ *request.Request) (*wire.Answer, error) {
	v, err := d.view(ctx)
	if err != nil {
		return nil, err
	}
	return &wire.Answer{Status: http.StatusOK, Data: v}, nil
}

// connection names a target for a person; both are empty for one that is no
// connection any more.
type connection struct{ mount, name string }

// connections are all targets by id.
func (d *Desk) connections(ctx context.Context) (map[string]connection, error) {
	out := map[string]connection{}
	for kind, e := range d.engines {
		sweeper, ok := e.(engine.Sweeper)
		if !ok {
			continue
		}
		targets, err := sweeper.Targets(ctx)
		if err != nil {
			return nil, fmt.Errorf("list connections of engine %s: %w", kind, err)
		}
		for _, t := range targets {
			out[t.ID] = connection{t.Mount, t.Name}
		}
	}
	return out, nil
}
