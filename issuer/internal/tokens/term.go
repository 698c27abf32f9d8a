package tokens

import (
	"time"

	"github.com/curfew-project/curfew/shared/lease"
)

// wanted are the times asked for a token; 0 is not set.
type wanted struct {
	ttl, period   time.Duration
	explicit, max time.Duration // its own explicit maximum, and its role's
}

// term is the life that a token is granted.
type term struct {
	lease.Grant
	period   time.Duration
	warnings []string
}

// term is the arithmetic of stock servers: the smallest maximum that is set is
// the ceiling, counted from the creation. A periodic token has none but its
// explicit one, since it lives as long as somebody renews it; its period cannot
// be above the maximum of the others.
func (g *Registry) term(w wanted) term {
	if w.period <= 0 {
		t := term{Grant: issue(w.explicit, w.max, g.system, w.ttl)}
		t.warn(t.Grant)
		return t
	}
	period := issue(0, w.max, lease.TTLs{Max: g.system.Max}, w.period)
	t := term{Grant: issue(w.explicit, 0, lease.TTLs{}, period.TTL), period: period.TTL}
	t.warn(period)
	t.warn(t.Grant)
	return t
}

func (t *term) warn(g lease.Grant) {
	if g.Capped {
		t.warnings = append(t.warnings, lease.CapWarning(g.Asked, g.Max, g.MaxBy))
	}
}

// issue is the grant below the levels of a token: what is its own is nearer
// than its role's.
func issue(explicit, role time.Duration, system lease.TTLs, asked time.Duration) lease.Grant {
	grant := lease.Limits{Role: lease.TTLs{Max: explicit}, Mount: lease.TTLs{Max: role}, System: system}.Issue(asked)
	switch grant.MaxBy {
	case lease.RoleLimit:
		grant.MaxBy = lease.TokenLimit
	case lease.MountLimit:
		grant.MaxBy = lease.RoleLimit
	case lease.NoLimit, lease.SystemLimit, lease.TokenLimit:
	}
	return grant
}
