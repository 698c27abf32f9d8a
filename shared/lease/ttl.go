package lease

import (
	"fmt"
	"time"
)

// Limit names the level that capped a time to live.
type Limit string

// The levels, from the nearest to the farthest.
const (
	NoLimit     Limit = ""
	RoleLimit   Limit = "role"
	MountLimit  Limit = "mount"
	SystemLimit Limit = "system"
	TokenLimit  Limit = "token"
)

// TTLs is the pair of times to live of one level; 0 means not set.
type TTLs struct{ Default, Max time.Duration }

// Limits are the levels of a lease: the nearest default counts, the smallest
// maximum caps.
type Limits struct{ Role, Mount, System TTLs }

// Grant is the outcome of the arithmetic.
type Grant struct {
	TTL    time.Duration // granted
	Max    time.Duration // ceiling from the activation; 0: none
	MaxBy  Limit         // the level of Max
	Capped bool          // Asked was more than Max
	Asked  time.Duration // what would have been granted without a ceiling
}

// Ceiling is the smallest maximum that is set, and its level. Of equal ones
// the nearest level is named.
func (l Limits) Ceiling() (time.Duration, Limit) {
	best, by := time.Duration(0), NoLimit
	for _, c := range []struct {
		ttl time.Duration
		by  Limit
	}{{l.Role.Max, RoleLimit}, {l.Mount.Max, MountLimit}, {l.System.Max, SystemLimit}} {
		if c.ttl > 0 && (best == 0 || c.ttl < best) {
			best, by = c.ttl, c.by
		}
	}
	return best, by
}

// Issue is the grant of a new lease. asked is the client's wish, 0 for none.
func (l Limits) Issue(asked time.Duration) Grant {
	g := Grant{Asked: asked}
	for _, d := range []time.Duration{l.Role.Default, l.Mount.Default, l.System.Default} {
		if g.Asked <= 0 {
			g.Asked = d
		}
	}
	g.Max, g.MaxBy = l.Ceiling()
	g.TTL = g.Asked
	if g.Max > 0 && (g.TTL > g.Max || g.TTL <= 0) {
		g.Capped = g.TTL > g.Max
		g.TTL = g.Max
	}
	return g
}

// CapWarning is the text that clients search for, with the limit's name.
func CapWarning(asked, ceiling time.Duration, by Limit) string {
	w := fmt.Sprintf("TTL of %q exceeded the effective max_ttl of %q; TTL value is capped accordingly", Short(asked), Short(ceiling))
	if by != NoLimit {
		w += " (capped by: " + string(by) + ")"
	}
	return w
}

// Short prints a duration in whole seconds as Vault's clients do: "1h",
// "1h30m", "15s".
func Short(d time.Duration) string {
	d = d.Round(time.Second)
	if d == 0 {
		return "0s"
	}
	out := ""
	if h := d / time.Hour; h != 0 {
		out += fmt.Sprintf("%dh", h)
	}
	if m := d % time.Hour / time.Minute; m != 0 {
		out += fmt.Sprintf("%dm", m)
	}
	if s := d % time.Minute / time.Second; s != 0 {
		out += fmt.Sprintf("%ds", s)
	}
	return out
}

// RemainingWith is how long l still is of use at now, where it ends with token
// at the latest, and whether that is the earlier end. A zero or ended token, as
// of what needs none, ends nothing.
func (l *Lease) RemainingWith(token *Lease, now time.Time) (left time.Duration, byToken bool) {
	if token.Usable(now) && !token.ExpiresAt.IsZero() && (l.ExpiresAt.IsZero() || token.ExpiresAt.Before(l.ExpiresAt)) {
		return token.Remaining(now), true
	}
	return l.Remaining(now), false
}
