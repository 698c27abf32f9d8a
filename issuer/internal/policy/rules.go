package policy

import (
	"strings"
	"time"
)

// Rule is what all policies of a token together say about the paths of one
// pattern. Its maps and slices are shared: they are not to be changed.
type Rule struct {
	Pattern          string   // as it was written, without a slash at its beginning
	Exact            bool     // it has no wildcard
	Capabilities     []string // in alphabetical order; "deny" where it gives none
	Allowed, Denied  map[string][]any
	Required         []string
	MinWrap, MaxWrap time.Duration // 0: no bound
}

// Root reports whether the policy root is among the joined ones.
func (a *ACL) Root() bool { return a.root != nil }

// Rules are all of them, in no order. They are for the holder of the token.
func (a *ACL) Rules() []Rule {
	var out []Rule
	a.each(func(m *merged) {
		out = append(out, Rule{
			Pattern: m.text, Exact: m.exact(), Capabilities: m.can.names(),
			Allowed: m.parameters.allowed, Denied: m.parameters.denied, Required: m.parameters.required,
			MinWrap: m.wrap.min, MaxWrap: m.wrap.max,
		})
	})
	return out
}

// Below reports whether the token has a capability on anything below prefix,
// which ends in a slash. It looks at every rule.
func (a *ACL) Below(prefix string) bool {
	if a.root != nil {
		return true
	}
	found, deepest := false, 0
	a.each(func(m *merged) {
		found = found || m.gives() && m.below(prefix)
		deepest = max(deepest, strings.Count(m.body, "/"))
	})
	// What no rule names below prefix is decided by its depth alone. (No pattern
	// has a control character.)
	for path := prefix + "\x00"; !found && strings.Count(path, "/") <= deepest+1; path += "/\x00" {
		m := a.find(path, false)
		found = m != nil && m.gives()
	}
	return found
}

// gives reports whether the rule has a capability.
func (m *merged) gives() bool { return m.can != 0 && !m.can.has(denied) }

// below reports whether the pattern is one of paths below prefix alone.
func (p pattern) below(prefix string) bool {
	want := strings.Split(strings.TrimSuffix(prefix, "/"), "/")
	have := strings.Split(p.body, "/")
	if len(have) <= len(want) {
		return false
	}
	for i, segment := range want {
		if have[i] != segment && have[i] != "+" {
			return false
		}
	}
	return true
}

func (a *ACL) each(do func(*merged)) {
	for _, m := range a.exact {
		do(m)
	}
	for _, m := range a.globs.rules {
		do(m)
	}
	if a.plus != nil {
		a.plus.each(do)
	}
}

func (s *segment) each(do func(*merged)) {
	if s.rule != nil {
		do(s.rule)
	}
	for _, m := range s.globs.rules {
		do(m)
	}
	for _, next := range s.named {
		next.each(do)
	}
	if s.any != nil {
		s.any.each(do)
	}
}
