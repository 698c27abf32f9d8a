package tokens

import (
	"slices"
	"strings"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/wire"
)

// wish is what a client asked for.
type wish struct {
	policies       []string
	displayName    string
	meta           map[string]string
	ttl            time.Duration
	explicitMaxTTL time.Duration
	period         time.Duration
	uses           int
	orphan         bool
	renewable      bool
	noDefault      bool
}

func wishOf(f wire.Fields) (w wish, err error) {
	if err := refuse(f); err != nil {
		return w, err
	}
	read := func(get func() error) {
		if err == nil {
			err = get()
		}
	}
	read(func() (e error) { w.policies, e = f.Strings("policies"); return })
	read(func() (e error) { w.displayName, e = f.String("display_name"); return })
	read(func() (e error) { w.meta, e = f.StringMap("meta"); return })
	read(func() (e error) { w.ttl, e = f.Duration("ttl"); return })
	if !f.Has("ttl") { // its former name, which some clients still send
		read(func() (e error) { w.ttl, e = f.Duration("lease"); return })
	}
	read(func() (e error) { w.explicitMaxTTL, e = f.Duration("explicit_max_ttl"); return })
	read(func() (e error) { w.period, e = f.Duration("period"); return })
	read(func() (e error) { w.uses, e = f.Int("num_uses"); return })
	read(func() (e error) { w.orphan, e = f.Bool("no_parent", false); return })
	read(func() (e error) { w.renewable, e = f.Bool("renewable", true); return })
	read(func() (e error) { w.noDefault, e = f.Bool("no_default_policy", false); return })
	return w, err
}

// refuse names what would make a token weaker or other than asked if it were
// ignored.
func refuse(f wire.Fields) error {
	kind, err := f.String("type")
	if err != nil {
		return err
	}
	if kind != "" && kind != "service" && kind != "default" {
		return wire.Invalid("token type %q is not supported: use service", kind)
	}
	for _, name := range []string{"id", "entity_alias"} {
		if v, err := f.String(name); err != nil || v != "" {
			return wire.Invalid("%s is not supported: leave it empty", name)
		}
	}
	return nil
}

// wrapping is the policy of wrapping tokens: nobody gives it to others.
const wrapping = "response-wrapping"

// attributes are those of the token wished for by one with parent's; sudo lifts
// what else only root may do.
func (w wish) attributes(parent attributes, sudo bool) (attributes, error) {
	a := attributes{
		Path: createPath, DisplayName: "token", Meta: w.meta,
		Period: w.period, ExplicitMaxTTL: w.explicitMaxTTL, Orphan: w.orphan,
		BoundCIDRs: parent.BoundCIDRs, // else a child would free it of them
	}
	if w.displayName != "" {
		a.DisplayName = "token-" + w.displayName
	}
	var err error
	a.Policies, err = w.rights(parent, sudo)
	return a, err
}

// rights are the policies of the token. Without sudo they are its parent's, or
// some of them: also default is only added where the parent has it.
func (w wish) rights(parent attributes, sudo bool) ([]string, error) {
	if len(w.policies) == 0 {
		return slices.Clone(parent.Policies), nil
	}
	asked := sanitized(w.policies, false)
	root := slices.Contains(parent.Policies, rootPolicy)
	switch {
	case slices.Contains(asked, rootPolicy) && !root:
		return nil, wire.Invalid("root tokens may not be created without parent token being root")
	case slices.Contains(asked, wrapping):
		return nil, wire.Invalid("cannot assign policy %q", wrapping)
	case sudo || root:
		return sanitized(asked, !w.noDefault), nil
	}
	for _, p := range asked {
		if !slices.Contains(parent.Policies, p) {
			return nil, wire.Invalid("child policies must be subset of parent")
		}
	}
	return sanitized(asked, !w.noDefault && slices.Contains(parent.Policies, defaultPolicy)), nil
}

// sanitized are names of policies as they are kept: in lower case, in order, each
// once, with the default one if asked for; root makes all others idle.
func sanitized(names []string, withDefault bool) []string {
	out := make([]string, 0, len(names)+1)
	for _, n := range names {
		switch n = strings.ToLower(strings.TrimSpace(n)); n {
		case rootPolicy:
			return []string{rootPolicy}
		case "":
		default:
			out = append(out, n)
		}
	}
	if withDefault {
		out = append(out, defaultPolicy)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
