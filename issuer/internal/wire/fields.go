package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Fields are the values of a request by name. Each method reads one as stock
// servers do, whose clients send every value also as a string, and gives an
// [*Error] that names the field. A missing or null field is the zero value.
type Fields map[string]any

// Has reports whether the field was sent with a value.
func (f Fields) Has(name string) bool { return f[name] != nil }

// String reads text; a number or a truth value is its own text.
func (f Fields) String(name string) (string, error) {
	switch v := f[name].(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	}
	return "", f.refuse(name, errors.New("expected a string"))
}

// Bool reads a truth value, or fallback where there is none.
func (f Fields) Bool(name string, fallback bool) (bool, error) {
	switch v := f[name].(type) {
	case nil:
		return fallback, nil
	case bool:
		return v, nil
	case string, json.Number:
		text := fmt.Sprint(v)
		if text == "" {
			return fallback, nil
		}
		b, err := strconv.ParseBool(strings.ToLower(text))
		if err != nil {
			return false, f.refuse(name, fmt.Errorf("%q is neither true nor false", text))
		}
		return b, nil
	}
	return false, f.refuse(name, errors.New("expected true or false"))
}

// Int reads a whole number that is not negative.
func (f Fields) Int(name string) (int, error) {
	text, err := f.String(name)
	if err != nil || text == "" {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, f.refuse(name, fmt.Errorf("%q is not a whole number of zero or more", text))
	}
	return n, nil
}

// maxDuration keeps sums of a duration and a time within what stores can hold.
const maxDuration = 100 * 365 * 24 * time.Hour

// Duration reads seconds ("3600", 3600) or a duration ("1h30m", "2d").
func (f Fields) Duration(name string) (time.Duration, error) {
	text, err := f.String(name)
	if err != nil {
		return 0, err
	}
	d, err := ParseDuration(text)
	if err != nil {
		return 0, f.refuse(name, err)
	}
	return d, nil
}

// ParseDuration reads seconds or a Go duration; "d" is a day. The empty text
// is 0; negative ones and those above a hundred years are refused.
func ParseDuration(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := parse(text)
	switch {
	case err != nil:
		return 0, err
	case d < 0:
		return 0, fmt.Errorf("duration %q is negative", text)
	case d > maxDuration:
		return 0, fmt.Errorf("duration %q is above a hundred years", text)
	}
	return d, nil
}

func parse(text string) (time.Duration, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return scale(text, n, time.Second)
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseInt(days, 10, 64); err == nil {
			return scale(text, n, 24*time.Hour)
		}
	}
	return time.ParseDuration(text)
}

func scale(text string, n int64, unit time.Duration) (time.Duration, error) {
	if limit := int64(maxDuration / unit); n > limit || n < -limit {
		return 0, fmt.Errorf("duration %q is above a hundred years", text)
	}
	return time.Duration(n) * unit, nil
}

// Strings reads a list, or text with commas.
func (f Fields) Strings(name string) ([]string, error) {
	var raw []string
	switch v := f[name].(type) {
	case nil:
		return nil, nil
	case string:
		raw = strings.Split(v, ",")
	case []string:
		raw = v
	case []any:
		for _, item := range v {
			s, ok := item.(string)
			if !ok {
				return nil, f.refuse(name, errors.New("expected a list of strings"))
			}
			raw = append(raw, s)
		}
	default:
		return nil, f.refuse(name, errors.New("expected a list of strings"))
	}
	var out []string
	for _, s := range raw {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out, nil
}

// StringMap reads an object whose values are texts, nil where there is none.
func (f Fields) StringMap(name string) (map[string]string, error) {
	if f[name] == nil {
		return nil, nil
	}
	object, ok := f[name].(map[string]any)
	if !ok {
		return nil, f.refuse(name, errors.New("expected an object"))
	}
	out := make(map[string]string, len(object))
	for _, key := range slices.Sorted(maps.Keys(object)) {
		text, err := Fields(object).String(key)
		if err != nil {
			return nil, f.refuse(name, fmt.Errorf("the value of %q is not a string", key))
		}
		out[key] = text
	}
	return out, nil
}

// Object reads a nested object, empty where there is none.
func (f Fields) Object(name string) (Fields, error) {
	if f[name] == nil {
		return Fields{}, nil
	}
	object, ok := f[name].(map[string]any)
	if !ok {
		return nil, f.refuse(name, errors.New("expected an object"))
	}
	return object, nil
}

func (Fields) refuse(name string, err error) *Error {
	return Invalid("error converting input for field %q: %v", name, err)
}
