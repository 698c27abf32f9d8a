package policy

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// every is the name that stands for all parameters.
const every = "*"

// parameters are what a rule says about those of a request. Names are lower
// case; an empty list of values is any value.
type parameters struct {
	allowed  map[string][]any // none: all are allowed
	denied   map[string][]any
	required []string // sorted
}

// joined gives what the parameters of rules say together; the rules share
// nothing with it that it may change.
func joined(rules []*rule) parameters {
	if len(rules) == 1 {
		return rules[0].parameters
	}
	var p parameters
	for _, r := range rules {
		p.allowed = gather(p.allowed, r.parameters.allowed)
		p.denied = gather(p.denied, r.parameters.denied)
		p.required = append(p.required, r.parameters.required...)
	}
	slices.Sort(p.required)
	p.required = slices.Compact(p.required)
	return p
}

func gather(into, from map[string][]any) map[string][]any {
	if into == nil && len(from) > 0 {
		into = make(map[string][]any, len(from))
	}
	for name, values := range from {
		old, both := into[name]
		switch {
		case !both:
			into[name] = slices.Clip(values) // to append is to copy
		case len(old) == 0 || len(values) == 0:
			into[name] = nil
		default:
			into[name] = append(old, values...)
		}
	}
	return into
}

// missing gives what is wrong with the parameters of a request, in order of
// name, nil where nothing is.
func (p *parameters) missing(data map[string]any) []Missing {
	var out []Missing
	for _, name := range p.required {
		if _, ok := data[name]; !ok {
			out = append(out, Missing{Kind: RequiredParameter, Parameter: name})
		}
	}
	if len(p.denied) == 0 && len(p.allowed) == 0 {
		return out
	}
	_, allDenied := p.denied[every]
	_, restAllowed := p.allowed[every]
	restAllowed = restAllowed || len(p.allowed) == 0
	wrong := len(out)
	for sent, value := range data {
		name := strings.ToLower(sent)
		if kind := p.judge(name, value, allDenied, restAllowed); kind != 0 {
			out = append(out, Missing{Kind: kind, Parameter: sent})
		}
	}
	slices.SortFunc(out[wrong:], func(a, b Missing) int { return strings.Compare(a.Parameter, b.Parameter) })
	return out
}

func (p *parameters) judge(name string, value any, allDenied, restAllowed bool) Kind {
	if allDenied {
		return DeniedParameter
	}
	if values, ok := p.denied[name]; ok && contains(values, value) {
		return DeniedParameter
	}
	values, ok := p.allowed[name]
	switch {
	case !ok && !restAllowed:
		return UnlistedParameter
	case ok && !listed(values, value):
		return UnlistedValue
	}
	return 0
}

// listed reports whether value is one of values.
func listed(values []any, value any) bool {
	return len(values) == 0 || slices.ContainsFunc(values, func(want any) bool { return matches(want, value) })
}

// contains reports whether value is one of values or a list with one of them in
// it: a client that may not ask for policy admin may not ask for ["admin"].
func contains(values []any, value any) bool {
	if listed(values, value) {
		return true
	}
	switch list := value.(type) {
	case []any:
		return slices.ContainsFunc(list, func(item any) bool { return contains(values, item) })
	case []string:
		return slices.ContainsFunc(list, func(item string) bool { return listed(values, item) })
	}
	return false
}

// matches compares a value of a policy, where strings may be globs, with that
// of a request.
func matches(want, got any) bool {
	if w, ok := want.(string); ok {
		g, ok := got.(string)
		return ok && globbed(w, g)
	}
	return equal(want, got)
}

func globbed(glob, s string) bool {
	middle, front := strings.CutPrefix(glob, "*")
	middle, back := strings.CutSuffix(middle, "*")
	switch {
	case front && back:
		return strings.Contains(s, middle)
	case front:
		return strings.HasSuffix(s, middle)
	case back:
		return strings.HasPrefix(s, middle)
	}
	return glob == s
}

func equal(want, got any) bool {
	switch w := want.(type) {
	case nil:
		return got == nil
	case bool:
		g, ok := got.(bool)
		return ok && w == g
	case string:
		g, ok := got.(string)
		return ok && w == g
	case json.Number:
		return sameNumber(w, got)
	case []any:
		return sameList(w, got)
	}
	return false
}

func sameList(want []any, got any) bool {
	switch g := got.(type) {
	case []any:
		return slices.EqualFunc(want, g, equal)
	case []string:
		return slices.EqualFunc(want, g, func(w any, s string) bool { return equal(w, s) })
	}
	return false
}

// sameNumber compares what numbers amount to: 5, 5.0 and 5e0 are the same to
// the handlers too.
func sameNumber(want json.Number, got any) bool {
	var text string
	switch g := got.(type) {
	case json.Number:
		text = g.String()
	case float64:
		text = strconv.FormatFloat(g, 'g', -1, 64)
	case int:
		text = strconv.Itoa(g)
	default:
		return false
	}
	w, errWant := strconv.ParseInt(want.String(), 10, 64)
	g, errGot := strconv.ParseInt(text, 10, 64)
	if errWant == nil && errGot == nil {
		return w == g
	}
	x, errWant := strconv.ParseFloat(want.String(), 64)
	y, errGot := strconv.ParseFloat(text, 64)
	return errWant == nil && errGot == nil && x == y
}
