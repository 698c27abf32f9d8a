package store

import (
	"context"
	"time"

	"github.com/curfew-project/curfew/shared/event"
)

// Outbox holds the events from their commit until the ledger has them.
type Outbox interface {
	// Append commits events that belong to no transition, with group commit.
	// Their Time is set to the store's.
	Append(ctx context.Context, events ...event.Event) error
	// Number gives the next dense numbers to at most limit events in the order
	// in which their commits became visible, and returns the new head. fence is
	// that of the caller's lock; ErrLost if another has it (D3). ErrSuspended
	// while the store is (A7).
	Number(ctx context.Context, lock Lock, limit int) (head event.Position, numbered int, err error)
	// Head is the last number given; Number 0 where none was.
	Head(ctx context.Context) (event.Position, error)
	// Events returns numbered events after a position, in order, at most limit.
	Events(ctx context.Context, after event.Position, limit int) ([]event.Event, error)
	// Confirm records that a consumer has everything up to a position. It never
	// goes back within an epoch.
	Confirm(ctx context.Context, consumer string, upTo event.Position) error
	// Confirmed is the last position that a consumer confirmed.
	Confirmed(ctx context.Context, consumer string) (event.Position, error)
	// Trim deletes at most limit events up to a position; it returns how many.
	Trim(ctx context.Context, upTo event.Position, limit int) (int, error)
	// Backlog counts events that are stored: unnumbered ones too.
	Backlog(ctx context.Context) (int64, error)
}

// Lock is a lease on a name among processes.
type Lock struct {
	Name  string
	Owner string
	// Fence grows with every change of owner.
	Fence int64
}

// Locks elects one process for a task.
type Locks interface {
	// Acquire takes or extends the lock for ttl of the store's time. ok is
	// false while another owner has it. Taking over raises the fence; extending
	// keeps it.
	Acquire(ctx context.Context, name, owner string, ttl time.Duration) (l Lock, ok bool, err error)
	// Release gives it up; a lock that was lost is ignored.
	Release(ctx context.Context, l Lock) error
}
