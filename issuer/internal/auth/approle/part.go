package approle

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/address"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
)

// part is one setting of a role: a field of its body, and where path is set a
// path of its own below the role.
type part struct {
	name  string
	old   string // what older clients call the field
	path  string
	read  func(*role) any
	set   func(*role, wire.Fields, string) error // nil: it cannot be written
	reset func(*role)                            // nil: it cannot be deleted
	// shown are more names under which its path shows the value.
	shown []string
}

// sent is the name under which f has the part, "" where it has not.
func (p *part) sent(f wire.Fields) string {
	for _, name := range []string{p.name, p.old} {
		if p.set != nil && name != "" && f.Has(name) {
			return name
		}
	}
	return ""
}

// span is a part that is a duration.
func span(name, old, path string, at func(*role) *time.Duration) part {
	return part{
		name: name, old: old, path: path,
		read: func(r *role) any { return wire.Seconds(*at(r)) },
		set: func(r *role, f wire.Fields, name string) (err error) {
			*at(r), err = f.Duration(name)
			return err
		},
		reset: func(r *role) { *at(r) = 0 },
	}
}

// number is a part that is a whole number.
func number(name, path string, at func(*role) *int) part {
	return part{
		name: name, path: path,
		read: func(r *role) any { return *at(r) },
		set: func(r *role, f wire.Fields, name string) (err error) {
			*at(r), err = f.Int(name)
			return err
		},
		reset: func(r *role) { *at(r) = 0 },
	}
}

// blocks is a part that is a list of addresses; empty is how none is shown.
func blocks(name, old, path string, empty any, at func(*role) *[]string) part {
	return part{
		name: name, old: old, path: path,
		read: func(r *role) any {
			if len(*at(r)) == 0 {
				return empty
			}
			return *at(r)
		},
		set: func(r *role, f wire.Fields, name string) (err error) {
			*at(r), err = cidrs(f, name)
			return err
		},
		reset: func(r *role) { *at(r) = nil },
	}
}

// truth is a part that is true or false.
func truth(name, path string, fallback bool, at func(*role) *bool) part {
	return part{
		name: name, path: path,
		read: func(r *role) any { return *at(r) },
		set: func(r *role, f wire.Fields, name string) (err error) {
			*at(r), err = f.Bool(name, fallback)
			return err
		},
		reset: func(r *role) { *at(r) = fallback },
	}
}

// parts are all settings of a role; one of them has two paths.
func parts() []part {
	secretCIDRs := func(r *role) *[]string { return &r.CIDRs }
	period := span("token_period", "period", "period", func(r *role) *time.Duration { return &r.Token.Period })
	period.shown = []string{"period"}
	old := blocks("secret_id_bound_cidrs", "bound_cidr_list", "bound-cidr-list", nil, secretCIDRs)
	old.shown = []string{"bound_cidr_list"}
	return []part{
		truth("bind_secret_id", "bind-secret-id", true, func(r *role) *bool { return &r.BindSecretID }),
		{name: "local_secret_ids", path: "local-secret-ids", read: func(r *role) any { return r.Local }},
		roleIDPart(),
		blocks("secret_id_bound_cidrs", "bound_cidr_list", "secret-id-bound-cidrs", nil, secretCIDRs),
		old,
		number("secret_id_num_uses", "secret-id-num-uses", func(r *role) *int { return &r.Uses }),
		span("secret_id_ttl", "", "secret-id-ttl", func(r *role) *time.Duration { return &r.TTL }),
		blocks("token_bound_cidrs", "", "token-bound-cidrs", []string{}, func(r *role) *[]string { return &r.Token.CIDRs }),
		span("token_explicit_max_ttl", "", "", func(r *role) *time.Duration { return &r.Token.ExplicitMaxTTL }),
		span("token_max_ttl", "", "token-max-ttl", func(r *role) *time.Duration { return &r.Token.MaxTTL }),
		truth("token_no_default_policy", "", false, func(r *role) *bool { return &r.Token.NoDefault }),
		number("token_num_uses", "token-num-uses", func(r *role) *int { return &r.Token.Uses }),
		period,
		policiesPart(),
		span("token_ttl", "", "token-ttl", func(r *role) *time.Duration { return &r.Token.TTL }),
		typePart(),
	}
}

func roleIDPart() part {
	return part{
		name: "role_id", path: "role-id",
		read: func(r *role) any { return r.RoleID },
		set: func(r *role, f wire.Fields, name string) (err error) {
			r.RoleID, err = f.String(name)
			return err
		},
	}
}

func policiesPart() part {
	return part{
		name: "token_policies", old: "policies", path: "policies", shown: []string{"policies"},
		read: func(r *role) any {
			if len(r.Token.Policies) == 0 {
				return []string{}
			}
			return r.Token.Policies
		},
		set: func(r *role, f wire.Fields, name string) error {
			list, err := f.Strings(name)
			if err != nil {
				return err
			}
			for i := range list {
				list[i] = strings.ToLower(list[i])
			}
			slices.Sort(list)
			r.Token.Policies = slices.Compact(list)
			return nil
		},
		reset: func(r *role) { r.Token.Policies = nil },
	}
}

func typePart() part {
	return part{
		name: "token_type",
		read: func(r *role) any { return cmp.Or(r.Token.Type, "default") },
		set: func(r *role, f wire.Fields, name string) error {
			kind, err := f.String(name)
			if err != nil {
				return err
			}
			switch kind {
			case "", "default":
				r.Token.Type = ""
			case "service", "default-service":
				r.Token.Type = "service"
			default:
				return wire.Invalid("token_type %q is not supported: use service", kind)
			}
			return nil
		},
	}
}

// maxRoleID bounds a role id that somebody chose.
const maxRoleID = 4096

// check refuses settings that contradict each other, or that no login could
// honour.
func (r *role) check() error {
	t := &r.Token
	switch {
	case strings.TrimSpace(r.RoleID) == "" || strings.TrimSpace(r.RoleID) != r.RoleID:
		return wire.Invalid("invalid role_id supplied: it is empty, or begins or ends with a space")
	case len(r.RoleID) > maxRoleID:
		return wire.Invalid("role_id is longer than maximum of %d bytes", maxRoleID)
	case !r.BindSecretID && len(r.CIDRs) == 0:
		return wire.Invalid("at least one constraint should be enabled on the role")
	case t.MaxTTL > 0 && t.TTL > t.MaxTTL:
		return wire.Invalid("lease TTL too large: token_ttl %s is greater than token_max_ttl %s", lease.Short(t.TTL), lease.Short(t.MaxTTL))
	case slices.Contains(t.Policies, "root"):
		return wire.Invalid("auth methods cannot create root tokens: leave the policy root away")
	}
	return nil
}

// partOperations are those of a part's own path.
func (a *Method) partOperations(p part) map[engine.Operation]handler {
	ops := map[engine.Operation]handler{engine.Read: a.readPart(p)}
	if p.set != nil {
		ops[engine.Write] = a.writePart(p)
	}
	if p.reset != nil {
		ops[engine.Delete] = a.deletePart(p)
	}
	return ops
}

func (a *Method) readPart(p part) handler {
	return func(ctx context.Context, c call) (*wire.Answer, error) {
		r, err := a.byName(ctx, &c)
		if errors.Is(err, errNone) {
			return nil, wire.Nothing()
		}
		if err != nil {
			return nil, err
		}
		data := map[string]any{p.name: p.read(&r)}
		for _, name := range p.shown {
			data[name] = p.read(&r)
		}
		return wire.OK(data), nil
	}
}

func (a *Method) writePart(p part) handler {
	return func(ctx context.Context, c call) (*wire.Answer, error) {
		name := p.sent(c.Fields())
		if name == "" {
			return nil, wire.Invalid("missing %s", p.name)
		}
		return a.edit(ctx, &c, false, func(r *role, _ bool) error { return p.set(r, c.Fields(), name) })
	}
}

func (a *Method) deletePart(p part) handler {
	return func(ctx context.Context, c call) (*wire.Answer, error) {
		answer, err := a.edit(ctx, &c, false, func(r *role, _ bool) error {
			p.reset(r)
			return nil
		})
		if missing(err) {
			return wire.NoContent(), nil
		}
		return answer, err
	}
}

// cidrs reads a list of address blocks. They are kept as they were written.
func cidrs(f wire.Fields, name string) ([]string, error) {
	list, err := f.Strings(name)
	if err != nil {
		return nil, err
	}
	for _, text := range list {
		if _, ok := address.Block(text); !ok {
			return nil, wire.Invalid("invalid CIDR blocks: %s has %q", name, text)
		}
	}
	return list, nil
}
