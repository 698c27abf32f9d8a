package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The reference: what the documentation says, said again without thought for
// speed. It knows policies as they were drawn, not as they were parsed, matches
// by regular expression, sorts all that match, and joins nothing: a joined rule
// is what some or all of its parts say.

type stanza struct {
	path     string
	can      []string
	allowed  map[string][]any
	denied   map[string][]any
	required []string
	min, max int // seconds
}

type book struct {
	name    string
	stanzas []stanza
}

type entry struct {
	stanza
	book string
}

func (s stanza) pattern() string { return strings.TrimPrefix(s.path, "/") }

func (s stanza) matches(path string) bool {
	body, glob := strings.CutSuffix(s.pattern(), "*")
	segments := strings.Split(body, "/")
	for i, segment := range segments {
		if segments[i] = regexp.QuoteMeta(segment); segment == "+" {
			segments[i] = "[^/]*"
		}
	}
	expression := "^(?s:" + strings.Join(segments, "/")
	if glob {
		expression += ".*"
	}
	return regexp.MustCompile(expression + ")$").MatchString(path)
}

// lower says whether pattern a is of lower priority than b; by the documents.
func lower(a, b string) int {
	wild := func(s string) bool { return strings.ContainsAny(s, "+*") }
	glob := func(s string) int { return strings.Count(s, "*") } // 0 or 1
	if wild(a) != wild(b) {
		return cmp.Compare(strings.Count(b, "+")+glob(b), strings.Count(a, "+")+glob(a)) // an exact one is never lower
	}
	return cmp.Or(
		cmp.Compare(strings.IndexAny(a, "+*"), strings.IndexAny(b, "+*")),
		cmp.Compare(glob(b), glob(a)),
		cmp.Compare(strings.Count(b, "+"), strings.Count(a, "+")),
		cmp.Compare(len(a), len(b)),
		cmp.Compare(a, b),
	)
}

// deciding gives all stanzas of the pattern that decides about path.
func deciding(books []book, path string, list bool) []entry {
	var all []entry
	bare := path
	if list {
		bare = strings.TrimSuffix(path, "/")
	}
	for _, b := range books {
		for _, s := range b.stanzas {
			if s.matches(path) || s.matches(bare) {
				all = append(all, entry{s, b.name})
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	top := slices.MaxFunc(all, func(a, b entry) int {
		// Of the two that a list can match exactly, the one with the slash.
		if x, y := a.pattern(), b.pattern(); !strings.ContainsAny(x+y, "+*") {
			return cmp.Compare(len(x), len(y))
		}
		return lower(a.pattern(), b.pattern())
	}).pattern()
	return slices.DeleteFunc(all, func(e entry) bool { return e.pattern() != top })
}

func some(entries []entry, is func(entry) bool) bool { return slices.ContainsFunc(entries, is) }

func slowMatch(want, got any) bool {
	w, ok := want.(string)
	if !ok {
		return reflect.DeepEqual(want, got)
	}
	g, ok := got.(string)
	expression := strings.ReplaceAll(regexp.QuoteMeta(w), `\*`, ".*")
	return ok && regexp.MustCompile("^(?s:"+expression+")$").MatchString(g)
}

func slowListed(values []any, got any) bool {
	return len(values) == 0 || slices.ContainsFunc(values, func(want any) bool { return slowMatch(want, got) })
}

func slowParameters(entries []entry, data map[string]any) bool {
	if some(entries, func(e entry) bool {
		return slices.ContainsFunc(e.required, func(name string) bool {
			_, ok := data[strings.ToLower(name)]
			return !ok
		})
	}) {
		return false
	}
	lists := func(name string, of func(entry) map[string][]any) (out [][]any) {
		for _, e := range entries {
			for key, values := range of(e) {
				if strings.EqualFold(key, name) {
					out = append(out, values)
				}
			}
		}
		return out
	}
	denied := func(e entry) map[string][]any { return e.denied }
	allowed := func(e entry) map[string][]any { return e.allowed }
	restricted := some(entries, func(e entry) bool { return len(e.allowed) > 0 })
	for name, value := range data {
		parts, isList := value.([]any)
		if len(lists("*", denied)) > 0 {
			return false
		}
		for _, values := range lists(name, denied) {
			if slowListed(values, value) || isList && slices.ContainsFunc(parts, func(part any) bool { return slowListed(values, part) }) {
				return false
			}
		}
		named := lists(name, allowed)
		if restricted && len(named) == 0 && len(lists("*", allowed)) == 0 {
			return false
		}
		if len(named) > 0 && !slices.ContainsFunc(named, func(values []any) bool { return slowListed(values, value) }) {
			return false
		}
	}
	return true
}

func slowWrap(entries []entry, ttl time.Duration) bool {
	low, high := 0, 0
	for _, e := range entries {
		if e.min > 0 && (low == 0 || e.min < low) {
			low = e.min
		}
		if e.max > 0 && (high == 0 || e.max < high) {
			high = e.max
		}
	}
	seconds := ttl.Seconds()
	return low == 0 && high == 0 || ttl > 0 && seconds >= float64(low) && (high == 0 || seconds <= float64(high))
}

func slowAllows(books []book, r Request) (allowed bool, rule string, by []string) {
	path := r.Path
	if r.Operation == List && !strings.HasSuffix(path, "/") {
		path += "/"
	}
	entries := deciding(books, path, r.Operation == List)
	if len(entries) == 0 {
		return false, "", nil
	}
	gives := func(name string) func(entry) bool {
		return func(e entry) bool { return slices.Contains(e.can, name) }
	}
	allowed = !some(entries, gives("deny")) && some(entries, gives(string(r.Operation))) &&
		(!r.Sudo || some(entries, gives("sudo"))) && slowWrap(entries, r.WrapTTL)
	if slices.Contains([]Operation{Create, Read, Update, Patch}, r.Operation) {
		allowed = allowed && slowParameters(entries, r.Parameters)
	}
	for _, e := range entries {
		if allowed && gives(string(r.Operation))(e) && !slices.Contains(by, e.book) {
			by = append(by, e.book)
		}
	}
	slices.Sort(by)
	return allowed, entries[0].pattern(), by
}

func slowCapabilities(books []book, path string) []string {
	var out []string
	for _, e := range deciding(books, path, strings.HasSuffix(path, "/")) {
		out = append(out, e.can...)
	}
	slices.Sort(out)
	if out = slices.Compact(out); len(out) == 0 || slices.Contains(out, "deny") {
		return []string{"deny"}
	}
	return out
}

// What is drawn. (Functions, since a generator must not be shared by tests that
// run side by side.)

func drawPath(t *rapid.T) string {
	segments := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab", "a", "b", ""}), 1, 4).Draw(t, "segments")
	return strings.TrimLeft(strings.Join(segments, "/"), "/") // slashes before it have a test of their own
}

func drawPattern(t *rapid.T) string {
	segments := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab", "+"}), 0, 4).Draw(t, "segments")
	p := rapid.SampledFrom([]string{"", "", "/"}).Draw(t, "lead") + strings.Join(segments, "/")
	tail := []string{"", "/", "/*", "*", "/a*"}
	switch {
	case len(segments) == 0:
		return p + "*"
	case segments[len(segments)-1] == "+":
		tail = []string{"", "/", "/*", "/a*"}
	}
	return p + rapid.SampledFrom(tail).Draw(t, "tail")
}

func drawNamed(t *rapid.T) map[string][]any {
	if rapid.IntRange(0, 2).Draw(t, "named") > 0 {
		return nil
	}
	values := rapid.SliceOfN(rapid.SampledFrom([]any{"p", "p*", "*q", "*", "*p*", true, json.Number("1"), []any{"p"}}), 0, 3)
	out := map[string][]any{}
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"x", "Y", "z", "*"}), 0, 3, rapid.ID[string]).Draw(t, "names") {
		if out[name] = []any{}; name != "*" {
			out[name] = append(out[name], values.Draw(t, "values")...)
		}
	}
	return out
}

func drawStanza(t *rapid.T) stanza {
	s := stanza{
		path: drawPattern(t),
		can: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{
			"create", "read", "read", "read", "update", "patch", "delete", "list", "list", "sudo", "deny", "subscribe",
		}), 0, 5, rapid.ID[string]).Draw(t, "can"),
		allowed: drawNamed(t),
		denied:  drawNamed(t),
	}
	if rapid.IntRange(0, 4).Draw(t, "requires") == 0 {
		s.required = rapid.SliceOfN(rapid.SampledFrom([]string{"x", "Y"}), 1, 2).Draw(t, "required")
	}
	if rapid.IntRange(0, 4).Draw(t, "wraps") == 0 {
		s.min = rapid.IntRange(0, 3).Draw(t, "min")
		if s.max = rapid.IntRange(0, 4).Draw(t, "max"); s.max > 0 {
			s.max = max(s.max, s.min)
		}
	}
	return s
}

func drawBooks(t *rapid.T) []book {
	var out []book
	stanzas := rapid.SliceOfN(rapid.Custom(drawStanza), 0, 8)
	for i := range rapid.IntRange(1, 4).Draw(t, "policies") {
		out = append(out, book{"p" + strconv.Itoa(i), stanzas.Draw(t, "stanzas")})
	}
	return out
}

func drawRequest(t *rapid.T) Request {
	data := rapid.MapOfN(rapid.SampledFrom([]string{"x", "X", "y", "z", "*", "w"}),
		rapid.SampledFrom([]any{"p", "pq", "q", "", "o", true, false, nil, json.Number("1"), json.Number("2"), []any{"p"}, []any{"o", "pq"}}), 0, 3)
	return Request{
		Path:       drawPath(t),
		Operation:  rapid.SampledFrom([]Operation{Create, Read, Read, Read, Update, Patch, Delete, List, List, Subscribe}).Draw(t, "operation"),
		Sudo:       rapid.IntRange(0, 4).Draw(t, "sudo") == 0,
		Parameters: data.Draw(t, "parameters"),
		WrapTTL:    time.Duration(rapid.IntRange(0, 10).Draw(t, "wrap")) * time.Second / 2,
	}
}

// hcl writes the policy as people do.
func (b book) hcl() string {
	var out strings.Builder
	for _, s := range b.stanzas {
		fmt.Fprintf(&out, "path %q {\n", s.path)
		for _, name := range slices.Sorted(maps.Keys(s.fields())) {
			fmt.Fprintf(&out, "  %s = %s # …\n", name, inHCL(s.fields()[name]))
		}
		out.WriteString("}\n")
	}
	return out.String()
}

func inHCL(value any) string {
	named, ok := value.(map[string][]any)
	if !ok {
		return inJSON(value)
	}
	var out strings.Builder
	out.WriteString("{\n")
	for name, values := range named {
		fmt.Fprintf(&out, "    %q = %s\n", name, inJSON(values))
	}
	return out.String() + "  }"
}

func inJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// asJSON writes it as converters do.
func (b book) asJSON() string {
	paths := []any{}
	for _, s := range b.stanzas {
		paths = append(paths, map[string]any{s.path: s.fields()})
	}
	if len(paths) == 0 {
		return "{}"
	}
	return inJSON(map[string]any{"path": paths})
}

func (s stanza) fields() map[string]any {
	out := map[string]any{"capabilities": append([]string{}, s.can...)}
	if s.allowed != nil {
		out["allowed_parameters"] = s.allowed
	}
	if s.denied != nil {
		out["denied_parameters"] = s.denied
	}
	if s.required != nil {
		out["required_parameters"] = s.required
	}
	if s.min > 0 {
		out["min_wrapping_ttl"] = s.min
	}
	if s.max > 0 {
		out["max_wrapping_ttl"] = strconv.Itoa(s.max) + "s"
	}
	return out
}

func compile(t *rapid.T, books []book) []*Policy {
	var out []*Policy
	for _, b := range books {
		p, err := Parse(b.name, b.hcl())
		if err != nil {
			t.Fatalf("%v\n%s", err, b.hcl())
		}
		out = append(out, p)
	}
	return out
}

// Law: an ACL decides as the documentation says: the rule, the answer, and the
// policies that it is due to.
func TestDecidesAsDocumented(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		books := drawBooks(t)
		a := New(compile(t, books)...)
		for _, r := range rapid.SliceOfN(rapid.Custom(drawRequest), 1, 20).Draw(t, "requests") {
			allowed, rule, by := slowAllows(books, r)
			d := a.Allows(r)
			if d.Allowed != allowed || d.Rule != rule || allowed && !slices.Equal(d.Policies, by) || allowed != (d.Missing == nil) {
				t.Fatalf("%+v\n%s\nwant %v by %q of %v", r, d.Explain(), allowed, rule, by)
			}
			if got, want := a.Capabilities(r.Path), slowCapabilities(books, r.Path); !slices.Equal(got, want) {
				t.Fatalf("%q: %v, want %v", r.Path, got, want)
			}
		}
	})
}

// Law: of any patterns that match a path, in any number, the one of the highest
// documented priority decides. (Many rules without conditions, so that the
// index has something to be wrong about.)
func TestPriority(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := book{name: "p"}
		for _, path := range rapid.SliceOfN(rapid.Custom(drawPattern), 1, 60).Draw(t, "patterns") {
			b.stanzas = append(b.stanzas, stanza{path: path, can: []string{"read", "list"}})
		}
		a := New(compile(t, []book{b})...)
		for _, path := range rapid.SliceOfN(rapid.Custom(drawPath), 1, 30).Draw(t, "paths") {
			for _, op := range []Operation{Read, List} {
				_, want, _ := slowAllows([]book{b}, Request{Path: path, Operation: op})
				if d := a.Allows(Request{Path: path, Operation: op}); d.Rule != want {
					t.Fatalf("%s %q: %q, want %q", op, path, d.Rule, want)
				}
			}
		}
	})
}

// Law: priority is a strict order of patterns, the one that is documented.
func TestPriorityIsAnOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := make([]pattern, 3)
		for i := range p {
			text := rapid.Custom(drawPattern).Filter(func(s string) bool { return strings.ContainsAny(s, "+*") }).Draw(t, "pattern")
			var err error
			if p[i], err = parsePattern(text); err != nil {
				t.Fatal(err)
			}
		}
		x, y, z := p[0], p[1], p[2]
		if x.compare(y) != -y.compare(x) || (x.compare(y) == 0) != (x.text == y.text) {
			t.Fatalf("%q, %q: %d, %d", x.text, y.text, x.compare(y), y.compare(x))
		}
		if x.compare(y) < 0 && y.compare(z) < 0 && x.compare(z) >= 0 {
			t.Fatalf("%q < %q < %q and not %q < %q", x.text, y.text, z.text, x.text, z.text)
		}
		if x.compare(y) != lower(x.text, y.text) {
			t.Fatalf("%q, %q: %d, documented %d", x.text, y.text, x.compare(y), lower(x.text, y.text))
		}
	})
}

// Law: the order of policies, having one twice, and dividing one into several
// of its name change no decision.
func TestOrderIsOfNoConsequence(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		books := drawBooks(t)
		policies := compile(t, books)
		other := rapid.Permutation(policies).Draw(t, "order")
		var parts []book
		for _, b := range books {
			for _, s := range b.stanzas {
				parts = append(parts, book{b.name, []stanza{s}})
			}
		}
		a, b := New(policies...), New(append(other, policies[0], nil)...)
		c := New(compile(t, parts)...)
		for _, r := range rapid.SliceOfN(rapid.Custom(drawRequest), 1, 10).Draw(t, "requests") {
			want := a.Allows(r)
			for _, got := range []Decision{b.Allows(r), c.Allows(r)} {
				if !reflect.DeepEqual(got, want) {
					t.Fatalf("%+v\n%+v\n%+v", r, got, want)
				}
			}
		}
	})
}

// Law: HCL and JSON of the same content are the same policy.
func TestBothLanguages(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := book{"p", rapid.SliceOfN(rapid.Custom(drawStanza), 0, 6).Draw(t, "stanzas")}
		h, err := Parse(b.name, b.hcl())
		if err != nil {
			t.Fatalf("%v\n%s", err, b.hcl())
		}
		j, err := Parse(b.name, b.asJSON())
		if err != nil {
			t.Fatalf("%v\n%s", err, b.asJSON())
		}
		if !reflect.DeepEqual(h.rules, j.rules) {
			t.Fatalf("%#v\n%#v", h.rules, j.rules)
		}
	})
}

// Law: the longest prefix is found among any strings.
func TestLongestPrefix(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.SampledFrom([]rune("ab/")), 0, 8, -1)
		keys := rapid.SliceOfNDistinct(text, 0, 40, rapid.ID[string]).Draw(t, "keys")
		var rules []*merged
		for _, key := range keys {
			rules = append(rules, &merged{rule: rule{pattern: pattern{body: key, glob: true}}})
		}
		index := newPrefixes(rules)
		s := text.Draw(t, "of")
		want, found := "", false
		for _, key := range keys {
			if strings.HasPrefix(s, key) && len(key) >= len(want) {
				want, found = key, true
			}
		}
		if got := index.longest(s); (got != nil) != found || found && got.body != want {
			t.Fatalf("%q of %q: %+v, want %q", s, keys, got, want)
		}
	})
}
