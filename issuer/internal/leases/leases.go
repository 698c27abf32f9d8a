package leases

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Store is what sys/leases needs of the store.
type Store interface {
	Apply(ctx context.Context, items ...store.Transition) []store.Outcome
	Get(ctx context.Context, id lease.ID) (lease.Lease, error)
	GetMany(ctx context.Context, ids ...lease.ID) ([]lease.Lease, error)
	Find(ctx context.Context, q store.Query) ([]lease.Lease, error)
	Count(ctx context.Context, q store.Query) (int64, error)
	Revoking(ctx context.Context) ([]store.Revoking, error)
	Children(ctx context.Context, prefix, after string, limit int) ([]string, error)
	store.Entries
	Now(ctx context.Context) (time.Time, error)
	Suspension(ctx context.Context) (store.Suspension, bool, error)
}

// Config of a [Book]; the zero value works.
type Config struct {
	SyncWithin  time.Duration // how long a synchronous revocation waits; 60 s
	ForceAfter  time.Duration // how long revoke-force leaves the pipeline its chance; 5 s
	ListWithin  time.Duration // how long a request lists a prefix before it leaves the rest to the sweep; 10 s
	RenewWithin time.Duration // budget of a renewal in the target; 20 s
	// Hidden is the first element of lease ids that no listing shows.
	Hidden string
}

// Book is all leases of the installation.
type Book struct {
	store   Store
	engines map[string]engine.Engine
	clock   clock.Clock
	log     zerolog.Logger
	cfg     Config
	ends    *Ends
	turns   turns // of renewals
}

// New returns the book. Whoever made ends runs it.
func New(s Store, engines map[string]engine.Engine, ends *Ends, c clock.Clock, log zerolog.Logger, cfg Config) *Book {
	cfg.SyncWithin = cmp.Or(cfg.SyncWithin, time.Minute)
	cfg.ForceAfter = cmp.Or(cfg.ForceAfter, 5*time.Second)
	cfg.ListWithin = cmp.Or(cfg.ListWithin, 10*time.Second)
	cfg.RenewWithin = cmp.Or(cfg.RenewWithin, 20*time.Second)
	return &Book{store: s, engines: engines, ends: ends, clock: c, log: log, cfg: cfg}
}

// open are the states of a lease that has not ended.
func open() []lease.State { return []lease.State{lease.Intent, lease.Active, lease.Revoking} }

// Named is the lease id of a request: in its path, or in its body.
func Named(r *request.Request, inPath string) (lease.ID, error) {
	if inPath != "" {
		return lease.ID(inPath), nil
	}
	for _, field := range []string{"lease_id", "url_lease_id"} {
		id, err := r.Fields().String(field)
		if err != nil {
			return "", err
		}
		if id != "" {
			return lease.ID(id), nil
		}
	}
	return "", wire.Invalid("lease_id must be specified")
}

// page is how many leases one call reads and changes.
const page = 256

// each calls do with pages of what q selects, until there is no more.
func (b *Book) each(ctx context.Context, q store.Query, do func([]lease.Lease) error) error {
	q.Limit = page
	for {
		found, err := b.store.Find(ctx, q)
		if err != nil {
			return fmt.Errorf("find leases: %w", err)
		}
		if len(found) == 0 {
			return nil
		}
		if err := do(found); err != nil {
			return err
		}
		if len(found) < page {
			return nil
		}
		q.After = found[len(found)-1].ID
	}
}

// change is a transition that is applied to whatever version the lease has.
func change(id lease.ID, by lease.Actor, reason string, do lease.Action, also ...event.Event) store.Transition {
	return store.Transition{
		Change: lease.Change{
			ID: id, Version: lease.AnyVersion, Key: lease.RandomBase62(24),
			By: by, Reason: reason, Do: do,
		},
		Also: also,
	}
}

// apply applies one transition.
func (b *Book) apply(ctx context.Context, t store.Transition) store.Outcome {
	outs := b.store.Apply(ctx, t)
	if len(outs) != 1 {
		return store.Outcome{Err: fmt.Errorf("%d outcomes for one transition", len(outs))}
	}
	return outs[0]
}

// passed reports whether err says that the lease is past the change already.
func passed(err error) bool {
	return errors.Is(err, lease.ErrOver) || errors.Is(err, lease.ErrMove) || errors.Is(err, store.ErrNotFound)
}
