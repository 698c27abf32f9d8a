package policy

import (
	"slices"
	"strings"
)

// prefixes finds the longest of many prefixes of a string.
//
// They are sorted; each knows the longest other that is a prefix of it. Every
// prefix of a string is also one of the string's predecessor in that order, so
// the answer is the predecessor or one of those above it.
type prefixes struct {
	keys  []string
	above []int // index of the next shorter, -1 where there is none
	rules []*merged
}

func newPrefixes(rules []*merged) prefixes {
	slices.SortFunc(rules, func(m, n *merged) int { return strings.Compare(prefixOf(m), prefixOf(n)) })
	p := prefixes{rules: rules}
	for i, m := range rules {
		above := i - 1
		for above >= 0 && !strings.HasPrefix(prefixOf(m), p.keys[above]) {
			above = p.above[above]
		}
		p.keys = append(p.keys, prefixOf(m))
		p.above = append(p.above, above)
	}
	return p
}

// prefixOf is what a pattern with a * has before it: all, or with a + too, its
// last segment, which is looked for segment by segment.
func prefixOf(m *merged) string {
	if m.plus == 0 {
		return m.body
	}
	return m.body[strings.LastIndexByte(m.body, '/')+1:]
}

func (p *prefixes) longest(s string) *merged {
	i, found := slices.BinarySearch(p.keys, s)
	if found {
		return p.rules[i]
	}
	if i--; i < 0 {
		return nil
	}
	same := commonPrefix(p.keys[i], s)
	for i >= 0 && len(p.keys[i]) > same {
		i = p.above[i]
	}
	if i < 0 {
		return nil
	}
	return p.rules[i]
}

func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// segment is a node of the tree of patterns with a +: what may follow the
// segments that lead to it.
type segment struct {
	named map[string]*segment
	any   *segment // +
	rule  *merged  // of the pattern that ends here
	globs prefixes // of the patterns whose last segment, with a *, follows

	unsorted []*merged // globs while the tree grows
}

func (s *segment) add(m *merged) {
	body := m.body
	for {
		name, rest, more := strings.Cut(body, "/")
		if !more && m.glob {
			s.unsorted = append(s.unsorted, m)
			return
		}
		s = s.next(name)
		if !more {
			s.rule = m
			return
		}
		body = rest
	}
}

func (s *segment) next(name string) *segment {
	if name == "+" {
		if s.any == nil {
			s.any = &segment{}
		}
		return s.any
	}
	if s.named == nil {
		s.named = map[string]*segment{}
	}
	if s.named[name] == nil {
		s.named[name] = &segment{}
	}
	return s.named[name]
}

func (s *segment) seal() {
	s.globs, s.unsorted = newPrefixes(s.unsorted), nil
	for _, next := range s.named {
		next.seal()
	}
	if s.any != nil {
		s.any.seal()
	}
}

// best gives the rule of highest priority among those below s that match path
// and found. It visits each node at most once. Of the globs of one node the
// longest has priority (4).
func (s *segment) best(path string, found *merged) *merged {
	found = higher(found, s.globs.longest(path))
	name, rest, more := strings.Cut(path, "/")
	for _, next := range [...]*segment{s.named[name], s.any} {
		switch {
		case next == nil:
		case more:
			found = next.best(rest, found)
		default:
			found = higher(found, next.rule)
		}
	}
	return found
}

func higher(m, n *merged) *merged {
	if m == nil || n != nil && n.rank > m.rank {
		return n
	}
	return m
}
