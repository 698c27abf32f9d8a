package operator

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/status"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/clock"
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
	clock   clock.Clock

	mu        sync.Mutex
	sampled   time.Time
	suspended bool
	doubted   bool
}

// New returns a desk.
func New(s Store, seal Seal, engines map[string]engine.Engine, c clock.Clock) *Desk {
	return &Desk{store: s, seal: seal, engines: engines, clock: c}
}

// Confirm serves PUT sys/installation/confirm: a person has made sure that this
// is the one installation.
func (d *Desk) Confirm(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	doubted, err := d.doubts(ctx)
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
func (d *Desk) doubts(ctx context.Context) (bool, error) {
	reasons, err := installation.Current(ctx, d.store)
	if err != nil || len(reasons) > 0 {
		return err == nil, err
	}
	contested, err := installation.Contested(ctx, d.store)
	return len(contested) > 0, err
}

// sampleEvery bounds how often [Desk.Standing] reads the store: anybody may ask.
const sampleEvery = time.Second

// Standing is what sys/health tells of it all. Where the store does not answer,
// it is what was seen last.
func (d *Desk) Standing(ctx context.Context) (suspended, doubted bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := d.clock.Now(); d.sampled.IsZero() || now.Sub(d.sampled) >= sampleEvery {
		d.sampled = now
		if _, is, err := d.store.Suspension(ctx); err == nil {
			d.suspended = is
		}
		if is, err := d.doubts(ctx); err == nil {
			d.doubted = is
		}
	}
	return d.suspended, d.doubted
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
