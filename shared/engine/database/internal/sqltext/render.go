package sqltext

import (
	"strings"
)

// maxIdent is the length in bytes at which PostgreSQL cuts an identifier off.
const maxIdent = 63

// Render returns the statement with the values in it, each escaped for where it
// stands, without comments and without a semicolon. Of the values only those
// that the statement uses have to be there. An error is an [*Error] and never
// holds a value.
func (s Statement) Render(v Vars) (string, error) {
	var out strings.Builder
	offsets := make([]int, 0, len(s.pieces)+1)
	for _, p := range s.pieces {
		offsets = append(offsets, out.Len())
		if p.variable == 0 {
			out.WriteString(p.text)
			continue
		}
		value, reason := v.value(p.variable)
		if reason != "" {
			return "", s.fault(reason)
		}
		if p.plain && strings.ContainsAny(value, `'"\$`) {
			return "", s.fault("the value of " + p.variable.String() +
				" would need a second kind of quoting: it stands in a string that holds quotes itself")
		}
		out.WriteString(p.escape.apply(value))
	}
	offsets = append(offsets, out.Len())
	text := out.String()
	for _, g := range s.guards {
		if reason := g.check(text[offsets[g.from]:offsets[g.to]]); reason != "" {
			return "", s.fault(reason)
		}
	}
	return text, nil
}

// Render returns all statements with the values in them, as [Statement.Render]
// does.
func (s Script) Render(v Vars) ([]string, error) {
	all := make([]string, 0, len(s.statements))
	for _, st := range s.statements {
		text, err := st.Render(v)
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, nil
}

func (e escape) apply(value string) string {
	switch e {
	case escapeIdent:
		return strings.ReplaceAll(value, `"`, `""`)
	case escapeBackslash:
		return strings.ReplaceAll(strings.ReplaceAll(value, `\`, `\\`), `'`, `''`)
	case escapeLiteral:
		return strings.ReplaceAll(value, `'`, `''`)
	case escapeNone:
	}
	return value
}

func (g guard) check(body string) (reason string) {
	if g.delim == "" {
		if len(strings.ReplaceAll(body, `""`, `"`)) > maxIdent {
			return "an identifier becomes longer than 63 bytes, at which PostgreSQL cuts it off"
		}
		return ""
	}
	// The delimiter can also come about where value and text meet.
	if strings.Index(body+g.delim, g.delim) != len(body) {
		return "a value closes the dollar quote it stands in: use another tag"
	}
	return ""
}
