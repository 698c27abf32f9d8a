package lease

import (
	"fmt"
	"time"
)

// ReasonOpened is the reason of a wrapping token's end by being opened.
const ReasonOpened = "it was opened"

// Open takes the one use of a wrapping token (A9): it ends, and what is inside
// stays. ErrOver where it is over by now's clock or was opened, ErrMove for a
// lease that wraps nothing.
type Open struct {
	// Plan is what is kept: the plan without what was wrapped.
	Plan []byte
}

func (o Open) apply(l *Lease, c *Change, now time.Time) error {
	if err := l.sealed(now); err != nil {
		return err
	}
	l.Plan = o.Plan
	l.revoke(c, now, now)
	l.Revocation.Opened = true
	if l.Revocation.Reason == "" {
		l.Revocation.Reason = ReasonOpened
	}
	return nil
}

// Rewrap puts what a wrapping token holds under another text, which lives as
// long as the former would have from its beginning (A9). The errors are those
// of [Open].
type Rewrap struct {
	// Plan is what was wrapped, sealed for the other text.
	Plan []byte
}

func (r Rewrap) apply(l *Lease, _ *Change, now time.Time) error {
	if err := l.sealed(now); err != nil {
		return err
	}
	l.Plan, l.RenewedAt = r.Plan, now
	if l.TTL > 0 {
		l.ExpiresAt = now.Add(l.TTL)
	}
	return nil
}

// sealed fails unless l is a wrapping token that can be opened.
func (l *Lease) sealed(now time.Time) error {
	switch {
	case !l.Usable(now):
		return fmt.Errorf("%w: open in state %q", ErrOver, l.State)
	case l.Kind != Token || !l.Wraps:
		return fmt.Errorf("%w: it wraps nothing", ErrMove)
	}
	return nil
}
