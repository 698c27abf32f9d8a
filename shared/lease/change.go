package lease

import (
	"errors"
	"fmt"
	"time"
)

// AnyVersion lets a change apply to whatever version the row has, if the move
// is legal. For withdrawals, which must not lose against a renewal.
const AnyVersion int64 = -1

// The errors of a change that does not apply. The lease stays as it was.
var (
	ErrVersion      = errors.New("lease has another version")
	ErrMove         = errors.New("lease cannot make this move")
	ErrNotDue       = errors.New("lease is not due")
	ErrNotRenewable = errors.New("lease is not renewable")
	ErrOver         = errors.New("lease is over")
)

// Change is one transition: what is done to which version of which lease, by
// whom and why.
type Change struct {
	ID      ID
	Version int64  // the version it was decided on; 0: there must be no row
	Key     string // random; tells whose commit made a version (A6)
	By      Actor
	Reason  string
	Do      Action
}

// Action is one of [Begin], [Activate], [Renew], [Use], [Open], [Rewrap],
// [Revoke], [Retry], [Progress], [Finish] and [Restore].
type Action interface {
	apply(l *Lease, c *Change, now time.Time) error
}

// Apply returns the lease that c makes of l at the store's time now. l is the
// zero Lease where there is no row.
func (c *Change) Apply(l Lease, now time.Time) (Lease, error) {
	if c.Version != AnyVersion && c.Version != l.Version {
		return l, fmt.Errorf("%w: %d, not %d", ErrVersion, l.Version, c.Version)
	}
	after := l
	if err := c.Do.apply(&after, c, now); err != nil {
		return l, err
	}
	if !l.State.CanBecome(after.State) {
		return l, fmt.Errorf("%w: %q to %q", ErrMove, l.State, after.State)
	}
	after.miss(after.Version - l.Version)
	after.Version++
	after.LastKey = c.Key
	return after, nil
}

// Begin makes the row. Lease carries the fixed fields; id, state, version and
// times are set here.
type Begin struct {
	Lease Lease
	// Grace is how long the creation in the target may take; the intent is
	// rolled back after it.
	Grace time.Duration
	// TargetOffset is the target's clock minus the store's, as last sampled.
	// A wrong sample makes a creation fail or a roll-back wait, no worse.
	TargetOffset time.Duration
}

func (b Begin) apply(l *Lease, c *Change, now time.Time) error {
	state, ok := starts[b.Lease.Kind]
	if !ok {
		return fmt.Errorf("%w: kind %q", ErrMove, b.Lease.Kind)
	}
	if l.State != none {
		return fmt.Errorf("%w: it exists", ErrMove)
	}
	*l = b.Lease
	l.ID, l.State, l.Version, l.IssuedAt, l.IssuedBy = c.ID, state, 0, now, c.By
	var unset time.Time
	l.ConfirmBy, l.CreateDeadline, l.ActivatedAt, l.RenewedAt = unset, unset, unset, unset
	l.ExpiresAt, l.CeilingAt, l.Revocation = unset, unset, Revocation{}
	switch state {
	case Intent:
		l.ConfirmBy = now.Add(b.Grace)
		l.CreateDeadline = l.ConfirmBy.Add(b.TargetOffset)
	case Active:
		l.start(now, 0)
	case Revoking:
		l.revoke(c, now, now)
	case none, Revoked, Expired, Abandoned:
	}
	return nil
}

// start sets the times of a lease that is active from now on; spent is taken
// off the first term.
func (l *Lease) start(now time.Time, spent time.Duration) {
	l.ActivatedAt = now
	if l.MaxTTL > 0 {
		l.CeilingAt = now.Add(max(0, l.MaxTTL-spent))
	}
	if l.TTL > 0 {
		l.ExpiresAt = now.Add(max(0, l.TTL-spent))
	}
}

func (l *Lease) revoke(c *Change, now, due time.Time) {
	l.State = Revoking
	l.Revocation = Revocation{Reason: c.Reason, By: c.By, Since: now, DueAt: due, NextTryAt: now}
}

// Activate confirms an intent: the account was seen in the target. Its term
// began with the intent: the target's own expiry was set after that, so that the
// store's is never behind it, however long the creation and this commit took
// (B8).
type Activate struct {
	// Handle is the engine's knowledge of the account, kept for the revocation.
	Handle []byte
}

func (a Activate) apply(l *Lease, _ *Change, now time.Time) error {
	if l.State != Intent {
		return fmt.Errorf("%w: activate from %q", ErrMove, l.State)
	}
	l.State, l.Handle = Active, a.Handle
	spent := time.Duration(0)
	if !l.IssuedAt.IsZero() {
		spent = max(0, now.Sub(l.IssuedAt))
	}
	l.start(now, spent)
	return nil
}

// Renew moves the expiry to now+Increment, at most to the ceiling.
type Renew struct {
	Increment time.Duration // 0: the term granted at issue
	// NotAfter, if set, bounds the new expiry: what the target was told (B9).
	NotAfter time.Time
}

func (r Renew) apply(l *Lease, _ *Change, now time.Time) error {
	switch {
	case l.State != Active:
		return fmt.Errorf("%w: renew in state %q", ErrOver, l.State)
	case !l.Renewable:
		return ErrNotRenewable
	case !l.Usable(now):
		return ErrOver
	}
	until, _ := l.Extension(r.Increment, now)
	if !r.NotAfter.IsZero() && r.NotAfter.Before(until) {
		until = r.NotAfter
	}
	l.ExpiresAt, l.RenewedAt = until, now
	return nil
}

// Extension is the expiry that a renewal at now would set, and whether the
// ceiling shortened it. The zero time: the lease never expires.
func (l *Lease) Extension(increment time.Duration, now time.Time) (until time.Time, capped bool) {
	if increment <= 0 {
		increment = l.TTL
	}
	if increment <= 0 {
		return l.CeilingAt, false
	}
	until = now.Add(increment)
	if !l.CeilingAt.IsZero() && until.After(l.CeilingAt) {
		return l.CeilingAt, true
	}
	return until, false
}

// Condition is what must hold in the commit for a [Revoke].
type Condition int

// The conditions.
const (
	Always Condition = iota
	// IfDue holds for an active lease at or past its expiry, and for an intent
	// at or past ConfirmBy, by the store's clock in the commit (A5).
	IfDue
)

// The reasons of a [Revoke] that names none.
const (
	ReasonExpired     = "lease expired"
	ReasonUnconfirmed = "creation was not confirmed"
)

// Revoke begins to take access away; the revocation is due at once.
type Revoke struct {
	If Condition
	// KeepTokens, of a token: what it has issued goes with it, but for its child
	// tokens, which stay as orphans. It is part of the move, so that none is
	// begun before it and missed by it.
	KeepTokens bool
}

func (r Revoke) apply(l *Lease, c *Change, now time.Time) error {
	if !l.State.Live() {
		return fmt.Errorf("%w: revoke in state %q", ErrOver, l.State)
	}
	due, reason := now, c.Reason
	if r.If == IfDue {
		if due = l.DueAt(); due.IsZero() || now.Before(due) {
			return ErrNotDue
		}
		if reason == "" {
			reason = map[State]string{Active: ReasonExpired, Intent: ReasonUnconfirmed}[l.State]
		}
	}
	l.revoke(c, now, due)
	l.Revocation.Reason, l.Revocation.KeepTokens = reason, r.KeepTokens && l.Kind == Token
	return nil
}

// Retry makes a revocation due at once, whether it waits for its next try or is
// under way: an attempt that began before it and fails is followed by another.
type Retry struct{}

func (Retry) apply(l *Lease, _ *Change, now time.Time) error {
	if l.State != Revoking {
		return fmt.Errorf("%w: retry in state %q", ErrOver, l.State)
	}
	l.Revocation.NextTryAt, l.Revocation.Asked = now, l.Version+1
	return nil
}

// Stages are the stages of a revocation that were passed; zero times are left
// as they were.
type Stages struct {
	DisabledAt      time.Time
	SessionsEndedAt time.Time
	SessionsNote    string
}

func (s Stages) record(r *Revocation) {
	if r.DisabledAt.IsZero() {
		r.DisabledAt = s.DisabledAt
	}
	if r.SessionsEndedAt.IsZero() {
		r.SessionsEndedAt = s.SessionsEndedAt
	}
	if s.SessionsNote != "" {
		r.SessionsNote = s.SessionsNote
	}
}

// Progress records stages that were passed while the revocation goes on, and
// the failure of an attempt.
type Progress struct {
	Stages
	Failed bool
	Error  string        // no secret
	Own    bool          // the failure is the lease's own, not its target's
	Parked bool          // needs a person
	After  time.Duration // until the next try
	// Since is the version of the lease that the attempt began with; 0: there is
	// no attempt. A [Retry] that came later makes the next one due at once.
	Since int64
}

func (p Progress) apply(l *Lease, _ *Change, now time.Time) error {
	if l.State != Revoking {
		return fmt.Errorf("%w: progress in state %q", ErrOver, l.State)
	}
	r := &l.Revocation
	p.record(r)
	r.NextTryAt = now.Add(p.After)
	if 0 < p.Since && p.Since < r.Asked {
		r.NextTryAt = now
	}
	if p.Failed {
		r.Attempts++
		r.LastFailedAt, r.LastError, r.Parked, r.OwnFault = now, p.Error, p.Parked, p.Own
		if r.FirstFailedAt.IsZero() {
			r.FirstFailedAt = now
		}
	}
	return nil
}

// Finish ends a revocation: To is Revoked, Expired or Abandoned.
type Finish struct {
	Stages
	To State
}

func (f Finish) apply(l *Lease, c *Change, now time.Time) error {
	if !f.To.Final() {
		return fmt.Errorf("%w: finish as %q", ErrMove, f.To)
	}
	if l.State != Revoking {
		return fmt.Errorf("%w: finish in state %q", ErrOver, l.State)
	}
	r := &l.Revocation
	f.record(r)
	l.State = f.To
	r.EndedAt, r.NextTryAt, r.Parked = now, time.Time{}, false
	if f.To == Abandoned {
		r.Reason, r.By = c.Reason, c.By
	}
	return nil
}
