package policy

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// pattern is the path of a rule.
type pattern struct {
	text  string // as it was written, without the slash at its beginning
	body  string // text without the * at its end
	glob  bool   // text ends in *
	first int    // where the first wildcard stands
	plus  int    // number of + segments
}

// exact reports whether p matches nothing but itself.
func (p pattern) exact() bool { return !p.glob && p.plus == 0 }

// compare orders patterns with wildcards by priority; the greater decides. (The
// numbers are those of the package's documentation.)
func (p pattern) compare(q pattern) int {
	switch {
	case p.first != q.first:
		return cmp.Compare(p.first, q.first) // 1
	case p.glob != q.glob: // 2
		if p.glob {
			return -1
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(q.plus, p.plus),           // 3
		cmp.Compare(len(p.body), len(q.body)), // 4
		cmp.Compare(p.body, q.body),           // 5
	)
}

func parsePattern(text string) (pattern, error) {
	text = strings.TrimPrefix(text, "/")
	body, glob := strings.CutSuffix(text, "*")
	p := pattern{text: text, body: body, glob: glob, first: len(body)}
	if err := checkPath(body, glob); err != nil {
		return pattern{}, err
	}
	at := 0
	for segment := range strings.SplitSeq(body, "/") {
		if segment == "+" {
			if p.plus == 0 {
				p.first = at
			}
			p.plus++
		}
		at += len(segment) + 1
	}
	return p, nil
}

func checkPath(body string, glob bool) error {
	switch {
	case body == "" && !glob:
		return errors.New("the path is empty")
	case strings.Contains(body, "{{") || strings.Contains(body, "}}"):
		return errors.New("templated paths are not supported: there are no identities to fill them in from")
	case strings.HasSuffix(body, "+") && glob:
		return errors.New("invalid use of wildcards ('+*' is forbidden)")
	case strings.Contains(body, "*"):
		return errors.New("invalid use of wildcards ('*' stands only at the end)")
	case strings.ContainsFunc(body, func(r rune) bool { return unicode.IsControl(r) || r == '\\' }):
		return errors.New("the path has a control character or a backslash, which no request has")
	}
	return checkSegments(body, glob)
}

func checkSegments(body string, glob bool) error {
	segments := strings.Split(body, "/")
	last := len(segments) - 1
	for i, segment := range segments {
		switch {
		case segment != "+" && strings.Contains(segment, "+"):
			return errors.New("invalid use of wildcards ('+' stands only for a whole segment)")
		case i == last && (glob || segment == ""):
			// The beginning of a segment, or the slash of a list.
		case segment == "":
			return errors.New("the path has an empty segment, which no request has")
		case segment == "." || segment == "..":
			return fmt.Errorf("the path has a segment %q, which no request has", segment)
		}
	}
	return nil
}
