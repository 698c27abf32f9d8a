//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// forms are the kinds of placeholders, and how such values looked in the
// recordings. One that looks different is a mismatch at "form.<kind>".
func forms() map[string]string {
	return map[string]string{
		"lease":    `[A-Za-z0-9]{24}`,
		"user":     `[A-Za-z0-9]{20}-[0-9]{10}`, // the end of a name
		"password": `[A-Za-z0-9-]{20}`,
		"token":    `s\.[A-Za-z0-9]{24}`,
		"accessor": `[A-Za-z0-9]{24}`,
		"hash":     `h[0-9a-f]{64}`,
		"uuid":     `[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`,
		"mount":    `[0-9a-f]{8}`, // the end of an accessor
		"time":     `[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z`,
		"unix":     `[0-9]{10}`,
		"stamp":    `[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?\+[0-9]{2}`,
	}
}

var placeholder = regexp.MustCompile(`<(?:([a-z]+)-([0-9]+)|target|dead|log|root)>`)

// values are what the placeholders stand for.
type values map[string]string

// fill puts values into a text that is about to be sent. What was never
// captured, because an earlier answer was another one, gets a value that
// nothing has.
func (v values) fill(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(p string) string {
		if value, ok := v[p]; ok {
			return value
		}
		return strings.Trim(p, "<>")
	})
}

// fillAll is fill for every text in a JSON value.
func (v values) fillAll(value any) any {
	switch value := value.(type) {
	case string:
		return v.fill(value)
	case []any:
		out := make([]any, len(value))
		for i := range value {
			out[i] = v.fillAll(value[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(value))
		for key := range value {
			out[key] = v.fillAll(value[key])
		}
		return out
	}
	return value
}

// comparison collects the mismatches of one exchange.
type comparison struct {
	values values
	found  []mismatch
}

func (c *comparison) miss(at string, want, got any) {
	c.found = append(c.found, mismatch{at: at, want: shown(want), got: shown(got)})
}

// none stands for a value that is not there.
type none struct{}

func shown(v any) string {
	if _, ok := v.(none); ok {
		return "none"
	}
	return plain(v)
}

// compare compares two JSON values; at is where they are.
func (c *comparison) compare(at string, want, got any) {
	switch w := want.(type) {
	case map[string]any:
		if g, ok := got.(map[string]any); ok {
			c.objects(at, w, g)
			return
		}
	case []any:
		if g, ok := got.([]any); ok {
			c.lists(at, w, g)
			return
		}
	case string:
		if g, ok := got.(json.Number); ok && c.text(w, g.String()) {
			return
		}
		if g, ok := got.(string); ok && c.text(w, g) {
			return
		}
	case json.Number:
		if g, ok := got.(json.Number); ok && strings.HasSuffix(at, "lease_duration") && shortened(w, g) {
			return
		}
		if plain(want) == plain(got) {
			return
		}
	default:
		if plain(want) == plain(got) {
			return
		}
	}
	c.miss(at, want, got)
}

// shortened reports whether a term is the recorded one but for what its account
// took to make, which it pays for: on a busy machine more than half a second.
func shortened(want, got json.Number) bool {
	const most = 10
	w, err1 := want.Int64()
	g, err2 := got.Int64()
	return err1 == nil && err2 == nil && w > most && w-most <= g && g <= w
}

func (c *comparison) objects(at string, want, got map[string]any) {
	keys := maps.Clone(want)
	maps.Copy(keys, got)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		w, wanted := want[key]
		g, there := got[key]
		inside := strings.TrimPrefix(at+"."+key, ".")
		switch {
		case !there:
			c.miss(inside, w, none{})
		case !wanted:
			c.miss(inside, none{}, g)
		default:
			c.compare(inside, w, g)
		}
	}
}

// lists compares element by element; the keys of a list are a set, because
// their order is that of values which differ.
func (c *comparison) lists(at string, want, got []any) {
	if strings.HasSuffix(at, "keys") {
		c.sets(at, want, got)
		return
	}
	if len(want) != len(got) {
		c.miss(at, want, got)
		return
	}
	for i := range want {
		c.compare(at, want[i], got[i])
	}
}

func (c *comparison) sets(at string, want, got []any) {
	rest := slices.Clone(got)
	take := func(w any) bool {
		i := slices.IndexFunc(rest, func(g any) bool {
			text, ok := g.(string)
			return ok && c.text(w.(string), text)
		})
		if i >= 0 {
			rest = slices.Delete(rest, i, i+1)
		}
		return i >= 0
	}
	missing := 0
	// What is known comes first, so that no placeholder captures it.
	for _, known := range []bool{true, false} {
		for _, w := range want {
			open := placeholder.MatchString(w.(string)) && c.values.fill(w.(string)) == strings.Trim(w.(string), "<>")
			if open != known && !take(w) {
				missing++
			}
		}
	}
	if missing > 0 || len(rest) > 0 {
		c.miss(at, want, got)
	}
}

// about is how much a number of seconds may be below the recorded one.
const about = 30

// text reports whether got is want, capturing what want has placeholders for.
func (c *comparison) text(want, got string) bool {
	if !placeholder.MatchString(want) {
		return want == got
	}
	var pattern strings.Builder
	var captured []string
	end := 0
	for _, at := range placeholder.FindAllStringSubmatchIndex(want, -1) {
		pattern.WriteString(regexp.QuoteMeta(want[end:at[0]]))
		end = at[1]
		name := want[at[0]:at[1]]
		if value, ok := c.values[name]; ok {
			pattern.WriteString(regexp.QuoteMeta(value))
			continue
		}
		captured = append(captured, name)
		pattern.WriteString(`(\S+|[0-9-]+ \S+)`)
	}
	pattern.WriteString(regexp.QuoteMeta(want[end:]))
	found := regexp.MustCompile(`^` + pattern.String() + `$`).FindStringSubmatch(got)
	if found == nil {
		return false
	}
	for i, name := range captured {
		if !c.capture(name, found[i+1]) {
			return false
		}
	}
	return true
}

// capture keeps the value of a placeholder and compares its form.
func (c *comparison) capture(name, value string) bool {
	part := placeholder.FindStringSubmatch(name)
	if part[1] == "about" {
		recorded, _ := strconv.Atoi(part[2])
		n, err := strconv.Atoi(value)
		return err == nil && n <= recorded+1 && n >= max(recorded-about, min(recorded, 1))
	}
	form, ok := forms()[part[1]]
	if !ok {
		panic(fmt.Sprintf("no such placeholder: %s", name))
	}
	if !regexp.MustCompile(`^(` + form + `)$`).MatchString(value) {
		c.miss("form."+part[1], name, value)
	}
	c.values[name] = value
	return true
}
