package store

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

// The errors; see the package comment.
var (
	ErrNotFound  = errors.New("not found")
	ErrWithdrawn = errors.New("withdrawn")
	ErrRevision  = errors.New("entry has another revision")
	ErrExists    = errors.New("entry exists")
	ErrUnknown   = errors.New("outcome of the commit is unknown")
	// ErrUnavailable marks errors of a database that is away or takes no writes.
	ErrUnavailable = errors.New("the store does not answer or takes no writes")
	ErrLost        = errors.New("lock was lost")
	ErrNoOwner     = errors.New("a lock needs an owner")
	ErrAhead       = errors.New("position is ahead of the head")
)

// Store is all of the contract. Consumers take the part they need.
type Store interface {
	Leases
	Entries
	Outbox
	Changes
	Locks
	Recovery
	Time
	io.Closer
}

// Leases changes and finds leases.
type Leases interface {
	// Apply makes each transition, its event and what travels with it one
	// commit; items are independent of each other. It returns one outcome for
	// each item, in order. ctx bounds the wait for a place in a batch, never a
	// commit that has begun.
	Apply(ctx context.Context, items ...Transition) []Outcome
	// Get returns a lease in any state, or ErrNotFound.
	Get(ctx context.Context, id lease.ID) (lease.Lease, error)
	// GetMany returns those of the leases that exist, in any state, ordered by id:
	// the same as many times Get, but in one snapshot and one exchange.
	GetMany(ctx context.Context, ids ...lease.ID) ([]lease.Lease, error)
	// Find returns the leases that match q, ordered by id.
	Find(ctx context.Context, q Query) ([]lease.Lease, error)
	// Count counts what q matches; q.After and q.Limit are ignored.
	Count(ctx context.Context, q Query) (int64, error)
	// Revoking sums up the leases in revocation, by mount, target and kind, in
	// that order. Its cost grows with them, not with those that live.
	Revoking(ctx context.Context) ([]Revoking, error)
	// Living is how many leases below path live that quotas count; path is
	// empty or ends in a slash. It costs the same however many they are.
	Living(ctx context.Context, path string) (int64, error)
	// Miscounts goes through all living leases in one snapshot, in pages of a
	// bounded size, and returns the paths below which another number lives than
	// Living keeps, in order. between is called after each page, to rest; its
	// error ends the walk. Nothing waits for it. [Write].Mends takes what it finds.
	Miscounts(ctx context.Context, between func(context.Context) error) ([]Miscount, error)
	// Children returns the distinct next path elements below prefix (which
	// ends in a slash or is empty) of leases that have not ended, in order:
	// "name/" for an inner element, "name" for the last of an id. It costs one
	// index seek an element, not one a lease.
	Children(ctx context.Context, prefix, after string, limit int) ([]string, error)
	// Due returns what has to be looked at up to the given time, earliest
	// first, after the cursor. It reads only leases that are due.
	Due(ctx context.Context, until time.Time, after Cursor, limit int) ([]Due, error)
	// Prune deletes at most limit leases that ended before the given time and
	// whose events the ledger has confirmed; it returns how many.
	Prune(ctx context.Context, endedBefore time.Time, limit int) (int, error)
}

// Transition is one change of a lease and what shares its commit.
type Transition struct {
	Change lease.Change
	Guard  Guard
	// Also are events that share the commit, such as the request's (D6). They
	// are stored only if the change applies.
	Also []event.Event
}

// Guard names what must not have been withdrawn (A3). It is checked in the
// commit of a Begin, which is refused with ErrWithdrawn, and of an Activate,
// which then becomes a Revoke with the reason "<what> was withdrawn". Other
// changes ignore it.
type Guard struct {
	// Entries must exist and not be withdrawn: mount, role, connection.
	Entries []Ref
	// Token, if set, must be an active token lease that has not expired.
	Token lease.ID
	// Barriers: the lease's path is checked against every barrier that was
	// committed after the lease's own beginning (A4).
	Barriers bool
}

// Ref names an incarnation of an entry.
type Ref struct {
	Kind Kind
	ID   string
}

// Outcome is what became of one transition. Lease is the row as it is now:
// after the change, or as found where Err is a lease error.
type Outcome struct {
	Lease     lease.Lease
	Withdrawn string // what a guard found withdrawn: "mount", "role", "token", "prefix" …
	Err       error
}

// Query selects leases. Empty fields do not restrict; at least one of Prefix,
// Token, Account, MountID and Target is set, or States is Revoking alone: what
// is in revocation is found without a look at what lives. What has ended is found
// by Prefix or Account only: without one of them States names states that are not
// final.
type Query struct {
	// Prefix matches ids that begin with it.
	Prefix  string
	Token   lease.ID // asked by this token; the children of a token
	Account string   // exact name in the target; a token's accessor
	MountID string
	Target  string
	Kind    lease.Kind
	States  []lease.State
	// Parked selects, of the leases in revocation, those that need a person;
	// States is Revoking alone.
	Parked bool
	// Before, if not 0, matches leases whose Position is below it (A4).
	Before int64
	After  lease.ID // page: ids greater than this
	Limit  int      // 0: 1000
}

// Open reports whether q selects of the leases that have not ended only.
func (q *Query) Open() bool {
	return len(q.States) > 0 && !slices.ContainsFunc(q.States, lease.State.Final)
}

// InRevocation reports whether q selects of the leases in revocation only.
func (q *Query) InRevocation() bool { return len(q.States) == 1 && q.States[0] == lease.Revoking }

// Check refuses a query that would go through all leases, or that has no sense.
func (q *Query) Check() error {
	switch {
	case q.Parked && !q.InRevocation():
		return errors.New("only leases in revocation can be parked")
	case q.Prefix == "" && q.Token == "" && q.Account == "" && q.MountID == "" && q.Target == "" && !q.InRevocation():
		return errors.New("a query needs a prefix, token, account, mount or target, or to be for leases in revocation")
	case q.Prefix == "" && q.Account == "" && !q.Open():
		return errors.New("what has ended is found by its prefix or account only")
	}
	return nil
}

// Revoking is what of one mount and target is in revocation.
type Revoking struct {
	MountID string
	Target  string // empty: none has to be reached
	Kind    lease.Kind
	Count   int64
	Parked  int64     // of those, how many need a person
	Due     time.Time // the earliest time at which access had to end; zero: not known
}

// Due is a lease that a revoker has to look at.
type Due struct {
	ID     lease.ID
	Kind   lease.Kind
	Target string
	At     time.Time
}

// Cursor is a place in the order of Due.
type Cursor struct {
	At time.Time
	ID lease.ID
}

// Time is the store's clock, the only one for the times of leases (A5).
type Time interface {
	// Now samples it.
	Now(ctx context.Context) (time.Time, error)
}

// Watcher is the optional ability of a store to say that events wait for their
// numbers.
type Watcher interface {
	// Watch returns a channel that receives after commits, coalesced, and a
	// function that ends it. A hint: it may miss commits of other processes.
	Watch() (<-chan struct{}, func())
}
