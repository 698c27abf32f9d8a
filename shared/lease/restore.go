package lease

import (
	"fmt"
	"slices"
	"time"
)

// Restore brings a lease up to what is known of it elsewhere, where the store
// has lost commits (A7). Known has kind, state, times and whatever else the
// record says; Plan and Handle may be missing: the engine then takes the
// account away by its safe default.
//
// The more revoked state wins, and among live ones the later expiry: what a
// client holds is not taken early, and what was taken is taken again. A lease
// that the record knows as ended is put into revoking, so that its absence is
// proved anew. An intent made anew whose ConfirmBy is not known is due at once;
// one that is there is rolled back at the later ConfirmBy, and the target refuses
// its creation from the time that it was told (B1).
// The version ends above the record's, so that who has seen that one takes
// notice of this. ErrOver where the row has nothing to learn, or where there is
// none and the record knows it as ended; ErrMove for a record of nothing.
type Restore struct{ Known Lease }

func (r Restore) apply(l *Lease, c *Change, now time.Time) error {
	k := &r.Known
	switch {
	case !slices.Contains(States(), k.State):
		return fmt.Errorf("%w: restore from %q", ErrMove, k.State)
	case l.State == none:
		if err := r.insert(l, c, now); err != nil {
			return err
		}
	case l.State.Live() && !k.State.Live():
		if l.ActivatedAt.IsZero() {
			l.ActivatedAt = k.ActivatedAt
		}
		l.revoke(c, now, now)
		l.Revocation.Opened = k.Revocation.Opened
	case l.State == Intent && k.State == Active:
		l.confirmed(k, now)
	case l.State == Intent && k.State == Intent && k.ConfirmBy.After(l.ConfirmBy):
		l.ConfirmBy = k.ConfirmBy
	case l.State == Active && k.State == Active && l.Wraps && k.Version > l.Version:
		// It was put under a text that the row does not know, and must not be
		// opened by the one before: nobody can open it any more (A9).
		l.revoke(c, now, now)
	case l.State == Active && k.State == Active && later(l.expiryOf(k), l.ExpiresAt):
		l.ExpiresAt = l.expiryOf(k)
	case l.State.Final() || k.Version <= l.Version:
		return fmt.Errorf("%w: nothing to restore in state %q", ErrOver, l.State)
	}
	// The ceiling was frozen at issue: the record shows that it allowed this.
	if l.State == Active && !l.CeilingAt.IsZero() && later(l.ExpiresAt, l.CeilingAt) {
		l.CeilingAt = l.ExpiresAt
	}
	l.Version = max(l.Version, k.Version)
	return nil
}

// insert makes the row anew. What is known of it is enough for its end, not for
// a renewal.
func (r Restore) insert(l *Lease, c *Change, now time.Time) error {
	k := r.Known
	if k.State.Final() {
		return fmt.Errorf("%w: it has ended", ErrOver)
	}
	// States are listed in the order of a life: none before its beginning.
	if start, ok := starts[k.Kind]; !ok || slices.Index(States(), k.State) < slices.Index(States(), start) {
		return fmt.Errorf("%w: kind %q in state %q", ErrMove, k.Kind, k.State)
	}
	opened := k.Revocation.Opened
	k.ID, k.Renewable, k.Revocation = c.ID, false, Revocation{}
	*l = k
	switch k.State {
	case Active:
		l.confirmed(&k, now)
	case Revoking:
		l.revoke(c, now, now)
		l.Revocation.Opened = opened
	case Intent:
		l.ActivatedAt, l.ExpiresAt = time.Time{}, time.Time{}
		if l.ConfirmBy.IsZero() {
			l.ConfirmBy = now
		}
	case none, Revoked, Expired, Abandoned: // refused above
	}
	return nil
}

// confirmed makes l active as the record knows it.
func (l *Lease) confirmed(k *Lease, now time.Time) {
	l.State, l.ActivatedAt, l.CeilingAt = Active, k.ActivatedAt, k.CeilingAt
	if l.ActivatedAt.IsZero() {
		l.ActivatedAt = now
	}
	if l.CeilingAt.IsZero() && l.MaxTTL > 0 {
		l.CeilingAt = l.ActivatedAt.Add(l.MaxTTL)
	}
	if len(l.Handle) == 0 {
		l.Handle = k.Handle
	}
	l.ExpiresAt = l.expiryOf(k)
}

// expiryOf is when l expires as the record knows it: one that was issued for a
// time has an expiry, also where the record says none.
func (l *Lease) expiryOf(k *Lease) time.Time {
	if k.ExpiresAt.IsZero() && l.TTL > 0 {
		return l.ActivatedAt.Add(l.TTL)
	}
	return k.ExpiresAt
}

// later reports whether an expiry is after another; the zero time is never.
func later(a, b time.Time) bool {
	switch {
	case b.IsZero():
		return false
	case a.IsZero():
		return true
	}
	return a.After(b)
}
