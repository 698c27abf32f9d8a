package policy

import (
	"slices"
	"strings"
	"time"
)

// ACL is what the policies of one token allow together.
type ACL struct {
	root  []string // names of the policies that allow everything
	exact map[string]*merged
	globs prefixes // patterns whose only wildcard is the * at their end
	plus  *segment // patterns with a +
}

// merged is the rules of one pattern from all policies.
type merged struct {
	rule
	// rank is the priority among all patterns with wildcards.
	rank int
	// policies have a rule of this pattern; by has, for each capability, those
	// that give it.
	policies []string
	by       [capabilityCount][]string

	parts []*rule // until it is sealed
}

// Request is what an [ACL] is asked about.
type Request struct {
	Path      string // below /v1/
	Operation Operation
	// Sudo is set where the path is root-protected.
	Sudo bool
	// Parameters are the fields of the body or the query.
	Parameters map[string]any
	// WrapTTL is how long the answer shall stay wrapped; 0 is not at all.
	WrapTTL time.Duration
}

// New joins policies; those that are nil are left out. Building costs about a
// microsecond for each rule: keep the result for as long as the policies stay
// as they are.
func New(policies ...*Policy) *ACL {
	a := &ACL{exact: map[string]*merged{}, plus: &segment{}}
	all := map[string]*merged{}
	for _, p := range policies {
		if p == nil {
			continue
		}
		if p.root {
			a.root = []string{p.Name}
		}
		for i := range p.rules {
			r := &p.rules[i]
			m := all[r.text]
			if m == nil {
				m = &merged{rule: rule{pattern: r.pattern}}
				all[r.text] = m
			}
			m.add(p.Name, r)
		}
	}
	var wild, globs []*merged
	for text, m := range all {
		m.seal()
		switch {
		case m.exact():
			a.exact[text] = m
			continue
		case m.plus > 0:
			a.plus.add(m)
		default:
			globs = append(globs, m)
		}
		wild = append(wild, m)
	}
	slices.SortFunc(wild, func(m, n *merged) int { return m.compare(n.pattern) })
	for i, m := range wild {
		m.rank = i
	}
	a.globs = newPrefixes(globs)
	a.plus.seal()
	return a
}

func (m *merged) add(policy string, r *rule) {
	m.can = m.can.join(r.can)
	m.wrap = bounds{lowest(m.wrap.min, r.wrap.min), lowest(m.wrap.max, r.wrap.max)}
	m.parts = append(m.parts, r)
	m.policies = append(m.policies, policy)
	for i := range m.by {
		if r.can.has(capability(1) << i) {
			m.by[i] = append(m.by[i], policy)
		}
	}
}

// seal joins what costs too much to join one by one, and puts what depends on
// the order of policies into one.
func (m *merged) seal() {
	m.parameters, m.parts = joined(m.parts), nil
	for i := range m.by {
		slices.Sort(m.by[i])
		m.by[i] = slices.Compact(m.by[i])
	}
	slices.Sort(m.policies)
	m.policies = slices.Compact(m.policies)
}

func lowest(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return a + b
	}
	return min(a, b)
}

// Allows decides r.
func (a *ACL) Allows(r Request) Decision {
	switch {
	case a.root != nil:
		return Decision{Allowed: true, Root: true, Sudo: true, Policies: a.root}
	case r.Operation == Help:
		return Decision{Allowed: true}
	}
	m := a.find(asked(r))
	if m == nil {
		return Decision{Missing: []Missing{{Kind: NoRule}}}
	}
	d := Decision{Rule: m.text, Policies: m.policies, Sudo: m.can.has(canSudo)}
	need := r.Operation.needs()
	if d.Missing = m.missing(&r, need); d.Missing == nil {
		d.Allowed, d.Policies = true, m.by[need.index()]
	} else if m.can.has(denied) {
		d.Policies = m.by[denied.index()]
	}
	return d
}

// Capabilities are those that the token has on path, in alphabetical order:
// "deny" alone where it has none, "root" alone where it has all.
func (a *ACL) Capabilities(path string) []string {
	if a.root != nil {
		return []string{RootName}
	}
	path = strings.TrimLeft(path, "/")
	m := a.find(path, strings.HasSuffix(path, "/"))
	if m == nil {
		return denied.names()
	}
	return m.can.names()
}

// asked is the path to look for, and whether its slash is that of a list.
func asked(r Request) (path string, list bool) {
	path = strings.TrimLeft(r.Path, "/")
	if r.Operation != List {
		return path, false
	}
	if !strings.HasSuffix(path, "/") {
		path += "/"
	}
	return path, true
}

// find gives the rule that decides about path, nil where there is none. With
// list, rules that match it without its slash count as well.
func (a *ACL) find(path string, list bool) *merged {
	if m := a.exact[path]; m != nil {
		return m
	}
	// A prefix of the path without its slash is one of the path.
	best := a.globs.longest(path)
	if list {
		bare := strings.TrimSuffix(path, "/")
		if m := a.exact[bare]; m != nil {
			return m
		}
		best = a.plus.best(bare, best)
	}
	return a.plus.best(path, best)
}

func (m *merged) missing(r *Request, need capability) []Missing {
	switch {
	case m.can.has(denied):
		return []Missing{{Kind: Denied}}
	case need == 0:
		return []Missing{{Kind: UnknownOperation}}
	}
	var out []Missing
	if !m.can.has(need) {
		out = append(out, Missing{Kind: MissingCapability, Capability: need.name()})
	}
	if r.Sudo && !m.can.has(canSudo) {
		out = append(out, Missing{Kind: MissingCapability, Capability: canSudo.name()})
	}
	switch wrap := m.wrap; {
	case wrap.min == 0 && wrap.max == 0:
	case r.WrapTTL <= 0:
		out = append(out, Missing{Kind: NotWrapped, Min: wrap.min, Max: wrap.max})
	case r.WrapTTL < wrap.min || wrap.max > 0 && r.WrapTTL > wrap.max:
		out = append(out, Missing{Kind: WrapTTL, Min: wrap.min, Max: wrap.max})
	}
	if r.Operation.hasParameters() {
		out = append(out, m.parameters.missing(r.Parameters)...)
	}
	return out
}
