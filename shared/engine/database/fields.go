package database

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/curfew-project/curfew/shared/engine"
)

// maxTTL bounds durations: a century, so that no sum of a few overflows.
const maxTTL = 100 * 365 * 24 * time.Hour

// fields reads the body of a write. Only what the body names is set, so that a
// write of some fields keeps the rest. Every value may be a string, as `vault
// write key=value` sends it. The first error is kept; later reads do nothing.
type fields struct {
	data map[string]any
	seen map[string]bool
	err  error
}

func newFields(data map[string]any) *fields {
	return &fields{data: data, seen: map[string]bool{}}
}

// take returns the value of a field and whether the body names it. null is as
// good as absent.
func (f *fields) take(name string) (any, bool) {
	f.seen[name] = true
	v, ok := f.data[name]
	return v, ok && v != nil && f.err == nil
}

// fail keeps what is wrong with a field; the reason must not repeat a secret.
func (f *fields) fail(name, reason string) {
	if f.err == nil {
		f.err = invalid(fmt.Sprintf("error converting input for field %q: %s", name, reason))
	}
}

func (f *fields) text(name string, to *string) bool {
	v, ok := f.take(name)
	if !ok {
		return false
	}
	switch v := v.(type) {
	case string:
		*to = v
	case json.Number:
		*to = v.String()
	default:
		f.fail(name, "a string is expected")
		return false
	}
	return true
}

func (f *fields) flag(name string, to *bool) bool {
	v, ok := f.take(name)
	if !ok {
		return false
	}
	switch v := v.(type) {
	case bool:
		*to = v
		return true
	case string:
		if b, err := strconv.ParseBool(strings.TrimSpace(v)); err == nil {
			*to = b
			return true
		}
	}
	f.fail(name, "true or false is expected")
	return false
}

func (f *fields) number(name string, to *int) bool {
	v, ok := f.take(name)
	if !ok {
		return false
	}
	n, ok := integer(v)
	if !ok || int64(int(n)) != n {
		f.fail(name, "a whole number is expected")
		return false
	}
	*to = int(n)
	return true
}

// integer reads a whole number in any of the shapes that JSON decoders make.
func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case int64:
		return v, true
	case float64:
		return int64(v), v == float64(int64(v)) && v > -1<<53 && v < 1<<53
	case json.Number:
		n, err := v.Int64()
		return n, err == nil
	case string:
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		return n, err == nil
	}
	return 0, false
}

// duration reads seconds, as a number or in a string, or a Go duration with
// days ("90s", "1h30m", "7d").
func (f *fields) duration(name string, to *time.Duration) bool {
	v, ok := f.take(name)
	if !ok {
		return false
	}
	d, err := parseDuration(v)
	switch {
	case err != nil:
		f.fail(name, err.Error())
		return false
	case d < 0:
		f.fail(name, "a duration cannot be negative")
		return false
	case d > maxTTL:
		f.fail(name, "a duration of more than 100 years")
		return false
	}
	*to = d
	return true
}

func parseDuration(v any) (time.Duration, error) {
	if n, ok := integer(v); ok {
		if n > int64(maxTTL/time.Second) {
			n = int64(maxTTL/time.Second) + 1
		}
		return time.Duration(max(n, -1)) * time.Second, nil
	}
	s, ok := v.(string)
	if !ok {
		return 0, errors.New(`a duration is expected, such as 3600 or "1h"`)
	}
	s = strings.TrimSpace(s)
	if s == "" {
		return 0, nil
	}
	if days, found := strings.CutSuffix(s, "d"); found {
		if n, err := strconv.ParseInt(days, 10, 64); err == nil {
			n = min(n, int64(maxTTL/(24*time.Hour))+1)
			return time.Duration(max(n, -1)) * 24 * time.Hour, nil
		}
	}
	return time.ParseDuration(s)
}

// list reads a comma-separated string or a list of strings; empty elements and
// spaces around elements are dropped.
func (f *fields) list(name string, to *[]string) bool {
	v, ok := f.take(name)
	if !ok {
		return false
	}
	var parts []string
	if s, isText := v.(string); isText {
		parts = strings.Split(s, ",")
	} else if parts, ok = stringsOf(v); !ok {
		f.fail(name, "a list of strings is expected")
		return false
	}
	out := []string{}
	for _, p := range parts {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	*to = out
	return true
}

func stringsOf(v any) ([]string, bool) {
	switch v := v.(type) {
	case []string:
		return v, true
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, false
			}
			out = append(out, s)
		}
		return out, true
	}
	return nil, false
}

// statements reads SQL: a list of strings, a string of one or several
// statements, or a string that is the JSON of a list or the base64 of either.
// No statement begins with a bracket or lacks a space, so the forms cannot be
// mistaken for each other.
func (f *fields) statements(name string, to *[]string) bool {
	v, ok := f.take(name)
	if !ok {
		return false
	}
	out, ok := stringsOf(v)
	if s, isText := v.(string); isText {
		out, ok = statementText(s)
	}
	if !ok {
		f.fail(name, "a string or a list of strings is expected")
		return false
	}
	*to = slices.DeleteFunc(slices.Clone(out), func(s string) bool { return strings.TrimSpace(s) == "" })
	return true
}

func statementText(s string) ([]string, bool) {
	plain := strings.TrimSpace(s)
	if plain != "" && !strings.ContainsAny(plain, " \t\n") {
		if b, err := base64.StdEncoding.DecodeString(plain); err == nil && utf8.Valid(b) && strings.ContainsAny(string(b), " \t\n") {
			s, plain = string(b), strings.TrimSpace(string(b))
		}
	}
	if strings.HasPrefix(plain, "[") {
		var out []string
		err := json.Unmarshal([]byte(plain), &out)
		return out, err == nil
	}
	return []string{s}, true
}

// object reads a JSON object, also as a string.
func (f *fields) object(name string, to *map[string]any) bool {
	v, ok := f.take(name)
	if !ok {
		return false
	}
	switch v := v.(type) {
	case map[string]any:
		*to = v
		return true
	case string:
		out := map[string]any{}
		if v == "" || json.Unmarshal([]byte(v), &out) == nil {
			*to = out
			return true
		}
	}
	f.fail(name, "an object is expected")
	return false
}

// ignored is the warning about fields that no read asked for, as Vault words
// it; empty where there are none.
func (f *fields) ignored() []string {
	var rest []string
	for _, name := range slices.Sorted(maps.Keys(f.data)) {
		if !f.seen[name] {
			rest = append(rest, name)
		}
	}
	if len(rest) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("Endpoint ignored these unrecognized parameters: %v", rest)}
}

func invalid(message string) *engine.Error {
	return &engine.Error{Kind: engine.Invalid, Message: message}
}
