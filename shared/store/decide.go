package store

import (
	"fmt"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

// Ledger is the consumer whose confirmations say what the ledger has: Prune
// goes by it, and whoever trims.
const Ledger = "ledger"

// Names of what a guard found withdrawn, beside the kinds of entries.
const (
	WithdrawnToken  = "token"
	WithdrawnPrefix = "prefix"
)

// Covers reports whether a raised barrier takes a lease that was begun at
// position.
func (b Barrier) Covers(id lease.ID, position int64) bool {
	return position < b.Position && strings.HasPrefix(string(id), b.Prefix)
}

// Decision is what a transition makes of a row. Stores apply it in the commit;
// they differ in how they keep rows, not in what is decided.
type Decision struct {
	Before, After lease.Lease // After is Before where Err is set
	Change        lease.Change
	Withdrawn     string
	Err           error
}

// Checks ask the snapshot of a commit.
type Checks struct {
	// Withdrawn evaluates the guard and names what was withdrawn, "" for nothing.
	Withdrawn func() (string, error)
	// Full names the quota that has no room for the lease, "" where there is
	// room; earlier changes of the same commit count.
	Full func() (string, error)
}

// Event is the event of a decision that was applied at the store's time at.
func (d *Decision) Event(at time.Time) event.Event {
	return event.Of(&d.Before, &d.After, &d.Change, at)
}

// Outcome is what the caller is told.
func (d *Decision) Outcome() Outcome {
	return Outcome{Lease: d.After, Withdrawn: d.Withdrawn, Err: d.Err}
}

// Decide applies t to row, the zero Lease where there is none, at the store's
// time now. refused says whether a suspension refuses it, in this commit (A7).
// checks are called only where they count. An error is that of a check; refusals
// are in the Decision.
func (t *Transition) Decide(row lease.Lease, now time.Time, refused bool, checks Checks) (Decision, error) {
	d := Decision{Before: row, After: row, Change: t.Change}
	if refused {
		d.Err = ErrSuspended
		return d, nil
	}
	_, begin := t.Change.Do.(lease.Begin)
	if row.State == "" && !begin && !restores(t.Change.Do) {
		d.Err = fmt.Errorf("%w: lease", ErrNotFound)
		return d, nil
	}
	if d.After, d.Err = t.Change.Apply(row, now); d.Err != nil {
		return d, nil //nolint:nilerr // a refusal is part of the decision
	}
	activate, confirm := t.Change.Do.(lease.Activate)
	if !begin && !confirm {
		return d, nil
	}
	var err error
	d.Withdrawn, err = checks.Withdrawn()
	if err == nil && d.Withdrawn == "" && begin && Counted(&d.After) {
		err = d.limit(checks)
	}
	if err != nil || d.Withdrawn == "" {
		return d, err
	}
	if begin {
		d.After, d.Err = row, fmt.Errorf("%w: %s", ErrWithdrawn, d.Withdrawn)
		return d, nil
	}
	// The account exists: its revocation needs what the engine saw (A3).
	d.Change.Do = lease.Revoke{If: lease.Always}
	d.Change.Reason = d.Withdrawn + " was withdrawn"
	withHandle := row
	withHandle.Handle = activate.Handle
	d.After, d.Err = d.Change.Apply(withHandle, now)
	return d, nil
}

// limit refuses a beginning for which there is no room.
func (d *Decision) limit(checks Checks) error {
	name, err := checks.Full()
	if err == nil && name != "" {
		d.Err = &QuotaError{Name: name, Path: d.Change.ID.Path()}
		d.After = d.Before
	}
	return err
}

// restores reports whether an action may make a row that is not there.
func restores(do lease.Action) bool {
	_, ok := do.(lease.Restore)
	return ok
}
