package store

import (
	"context"
	"errors"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

// ErrSuspended refuses what a store must not decide that has lost commits (A7).
var ErrSuspended = errors.New("the store is suspended: it lacks what was committed")

// Suspension says that the store is older than what was once answered from it:
// it was restored from a copy, or failed over to a standby that lagged. Or that
// it may be: see Started.
type Suspension struct {
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"` // the store's clock
	// Lost: commits are known to be missing, whatever the ledger has.
	Lost bool `json:"lost,omitempty"`
	// Started is set where nothing is known to be missing, but the store's
	// server was started then, and nobody has compared what it holds with the
	// record since: its files may be those of a backup. Such a suspension comes
	// by itself, and [Recovery].Compared ends it.
	Started time.Time `json:"started,omitzero"`
}

// Recovery is how a store that has lost commits gets them back (A7): it is
// suspended, what ledger and stream know is brought in by [lease.Restore], and
// it resumes in a new epoch.
//
// While it is suspended, refused with ErrSuspended are: the beginning of a
// secret or a token, renewals, revocations that hang on a time (If: IfDue), and
// Number. Everything else works: confirming an intent, revoking by request,
// restoring, finishing, configuration. The refusal comes before any other of
// the transition; Number refuses who has lost the lock first.
//
// A suspension with Started refuses the same, but revocations that hang on a
// time for a bounded time only: expiry never waits for the record for good
// (promise 5).
type Recovery interface {
	// Suspension returns the present one; false where there is none. Of one with
	// Started it tells only where there is no other.
	Suspension(ctx context.Context) (Suspension, bool, error)
	// Suspend holds for every commit that starts after it. In the same commit
	// it numbers what waits for a number, in the present epoch, so that it can
	// be compared with the ledger. Since is set by the store. Where the store
	// is suspended already, reason and time stay, Lost is joined, and nothing
	// is numbered: what was committed meanwhile belongs to no old epoch.
	Suspend(ctx context.Context, s Suspension) error
	// Compared says that store and record were compared after Suspension
	// returned s, and agree. It ends s where that has Started and is the present
	// one; every other one stays.
	Compared(ctx context.Context, s Suspension) error
	// Resume is one commit: it ends the suspension, begins an epoch, and makes
	// the commit of w. Numbered events after the given position get the first
	// numbers of the new epoch, in their order; what was committed during the
	// suspension and then w's events follow. Trimmed events keep their numbers.
	// A position in an epoch before the present one takes back all of those
	// that began after it. epoch 0 begins none: nothing was lost, after is
	// ignored. ErrEpoch: epoch is not greater than the present one, or after is
	// ahead of the head. ErrNotSuspended: it is not suspended. Errors of w as
	// of Write. An error leaves the suspension as it was; after ErrUnknown,
	// Suspension tells.
	Resume(ctx context.Context, epoch int64, after event.Position, w Write) error
}

// The errors of [Recovery].Resume.
var (
	ErrEpoch        = errors.New("epoch cannot begin there")
	ErrNotSuspended = errors.New("the store is not suspended")
)

// CompareWithin bounds how long expiry waits for Compared after a start of the
// store's server.
const CompareWithin = 30 * time.Second

// Refuses reports whether the suspension refuses t at the store's time now. One
// with Started lets expiry go on when its time is over, or cannot be told
// because the clock was put back.
func (s *Suspension) Refuses(t *Transition, now time.Time) bool {
	if s.Started.IsZero() || !t.expires() {
		return t.Suspended()
	}
	age := now.Sub(s.Started)
	return 0 <= age && age < CompareWithin
}

// Suspended reports whether suspensions refuse the transition.
func (t *Transition) Suspended() bool {
	switch do := t.Change.Do.(type) {
	case lease.Begin:
		return do.Lease.Kind != lease.Stray
	case lease.Renew, lease.Use, lease.Open, lease.Rewrap: // a use may have been made in what is lost
		return true
	}
	return t.expires()
}

// expires reports whether the transition is a revocation that hangs on a time.
func (t *Transition) expires() bool {
	do, ok := t.Change.Do.(lease.Revoke)
	return ok && do.If == lease.IfDue
}
