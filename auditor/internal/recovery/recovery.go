package recovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/auditor/internal/appender"
	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Actor is who restores leases.
const Actor = "system:recovery"

// ErrForeign says that ledger and store do not belong together.
var ErrForeign = errors.New("the ledger is not this store's")

// Ledger is the record.
type Ledger interface {
	Epochs() ([]int64, error)
	Size(epoch int64) (int64, error)
	Entries(ctx context.Context, epoch, from, to int64) iter.Seq2[ledger.Entry, error]
}

// Stream is what the broker has kept of it.
type Stream interface {
	Replay(ctx context.Context, since time.Time) iter.Seq2[event.Event, error]
}

// Store is what is recovered.
type Store interface {
	Get(ctx context.Context, id lease.ID) (lease.Lease, error)
	Due(ctx context.Context, until time.Time, after store.Cursor, limit int) ([]store.Due, error)
	Apply(ctx context.Context, items ...store.Transition) []store.Outcome
	Head(ctx context.Context) (event.Position, error)
	Events(ctx context.Context, after event.Position, limit int) ([]event.Event, error)
	Confirmed(ctx context.Context, consumer string) (event.Position, error)
	store.Entries
	store.Recovery
	store.Time
}

// Config tunes a [Recovery]; the zero value works.
type Config struct {
	Batch   int           // events read, and leases restored, at once; 512
	Timeout time.Duration // of each call to the store; 10 s
	Stream  time.Duration // for all of the stream; 30 s
}

// Recovery recovers a store.
type Recovery struct {
	ledger Ledger
	stream Stream
	store  Store
	log    zerolog.Logger
	cfg    Config
}

// New returns the recovery of a store from a ledger and a stream.
func New(l Ledger, s Stream, st Store, log zerolog.Logger, cfg Config) *Recovery {
	cfg.Batch = cmp.Or(cfg.Batch, 512)
	cfg.Timeout = cmp.Or(cfg.Timeout, 10*time.Second)
	cfg.Stream = cmp.Or(cfg.Stream, 30*time.Second)
	return &Recovery{ledger: l, stream: s, store: st, log: log, cfg: cfg}
}

// Recover suspends the store, if it is not, for the reason found, and brings it
// back. It does nothing where the store is not suspended and found is nil. An
// error leaves the store suspended once it was; call again.
func (r *Recovery) Recover(ctx context.Context, found error) error {
	anchor, err := r.anchor(ctx)
	if err != nil {
		return fmt.Errorf("recover the store: %w", err)
	}
	why, suspended, err := r.suspend(ctx, found)
	if err != nil || !suspended {
		return err
	}
	if err := r.recover(ctx, anchor, why); err != nil {
		return fmt.Errorf("recover the store: %w", err)
	}
	return nil
}

// suspend makes the store suspended where there is a reason, and says why it is.
func (r *Recovery) suspend(ctx context.Context, found error) (store.Suspension, bool, error) {
	why, suspended, err := r.suspension(ctx)
	if err != nil || suspended || found == nil {
		return why, suspended, err
	}
	err = r.within(ctx, func(ctx context.Context) error {
		return r.store.Suspend(ctx, store.Suspension{Reason: found.Error(), Lost: errors.Is(found, appender.ErrBeyond)})
	})
	if err != nil {
		return why, false, fmt.Errorf("suspend the store: %w", err)
	}
	r.log.Error().AnErr("reason", found).Msg("the store is older than the record: it issues, renews and expires nothing until it is recovered")
	return r.suspension(ctx)
}

func (r *Recovery) suspension(ctx context.Context) (why store.Suspension, suspended bool, err error) {
	err = r.within(ctx, func(ctx context.Context) error {
		why, suspended, err = r.store.Suspension(ctx)
		return err
	})
	if err != nil {
		return why, false, fmt.Errorf("read the store's suspension: %w", err)
	}
	// A start of its server was compared, or who calls would not be here: it is
	// no reason by itself.
	return why, suspended && why.Started.IsZero(), nil
}

// recover is what follows while the store is suspended.
func (r *Recovery) recover(ctx context.Context, anchor event.Position, why store.Suspension) error {
	common, err := r.common(ctx, anchor)
	if err != nil {
		return err
	}
	known := newKnowledge()
	seen, err := r.fold(ctx, anchor, common, known)
	if err != nil {
		return err
	}
	var now time.Time
	err = r.within(ctx, func(ctx context.Context) error {
		now, err = r.store.Now(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("read the store's time: %w", err)
	}
	done, err := r.restore(ctx, known, now)
	if err != nil {
		return err
	}
	o := outcome{why: why, at: now, common: common, seen: seen, restored: done}
	if o.lost() {
		if err := r.keep(ctx, now); err != nil {
			return err
		}
	}
	return r.resume(ctx, o)
}

// within bounds a call to the store.
func (r *Recovery) within(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	return do(ctx)
}
