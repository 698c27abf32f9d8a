package expiry

import (
	"context"
	"errors"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
)

// ErrLapsed says that the claim is not the caller's any more.
var ErrLapsed = errors.New("claim lapsed")

// Member is a lease with the time it falls due.
type Member struct {
	ID     lease.ID
	Target string
	At     time.Time
}

// Claim is a batch of due members of one target that the holder works on.
type Claim struct {
	Token   string
	Target  string
	Members []Member
}

// Index keeps due times.
type Index interface {
	// Offer adds members, or moves them to an earlier time; it never moves one
	// later (D1). For a member in flight, the earliest time offered that is
	// later than the one for which it was claimed is remembered and wins over a
	// later put-back. A time that is not later is what the flight works on: the
	// sweep of overdue leases offers it each second while the flight lasts, and
	// must not undo the back-off of the attempt.
	Offer(ctx context.Context, members ...Member) error
	// Claim takes at most limit members of target that are due at now, earliest
	// first, for the given time (C7). An empty claim has no token.
	Claim(ctx context.Context, target string, now time.Time, limit int, hold time.Duration) (Claim, error)
	// Complete ends a claim: the members named in later go back to due at their
	// new times, or at an earlier one offered meanwhile; the others are
	// removed, unless they were offered again meanwhile. ErrLapsed if it lapsed.
	Complete(ctx context.Context, c Claim, later ...Member) error
	// Extend prolongs a claim from now on; ErrLapsed if it lapsed.
	Extend(ctx context.Context, c Claim, now time.Time, hold time.Duration) error
	// Lapse puts members of claims that ran out before now back to due at once;
	// it returns how many. Claims run out by now, or by a clock of the index's
	// own, which now then does not move (A5).
	Lapse(ctx context.Context, now time.Time) (int, error)
	// Upcoming returns the targets that have due members, each with its
	// earliest time, up to a time.
	Upcoming(ctx context.Context, until time.Time) ([]Upcoming, error)
	// Len counts members, due and in flight.
	Len(ctx context.Context) (int, error)
}

// Comparer is the optional ability of an index to be compared with the store.
type Comparer interface {
	// Missing returns those of members that the index would not bring in time
	// by itself: they neither wait in due for At or earlier, where a claimer
	// finds them, nor are in flight. It changes nothing. A member that another
	// call moves at the same moment may be taken for missing.
	Missing(ctx context.Context, members ...Member) ([]Member, error)
}

// Lister is the optional ability of an index to tell what is in it.
type Lister interface {
	// Waiting returns members of a target that wait in due up to a time, by time
	// and then in any order that does not change, at most limit of them after the
	// first skip. It changes nothing. What is in flight is not among them.
	Waiting(ctx context.Context, target string, until time.Time, skip, limit int) ([]Member, error)
}

// Upcoming is the earliest due time of a target.
type Upcoming struct {
	Target string
	At     time.Time
}
