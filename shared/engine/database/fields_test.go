package database

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDurations(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   any
		want time.Duration
		err  string
	}{
		{in: "1h", want: time.Hour},
		{in: "1h30m", want: 90 * time.Minute},
		{in: "3600", want: time.Hour},
		{in: 3600, want: time.Hour},
		{in: 3600.0, want: time.Hour},
		{in: json.Number("3600"), want: time.Hour},
		{in: "7d", want: 7 * 24 * time.Hour},
		{in: "", want: 0},
		{in: "banana", err: `error converting input for field "ttl": time: invalid duration "banana"`},
		{in: "-1s", err: "cannot be negative"},
		{in: -1, err: "cannot be negative"},
		{in: "-1d", err: "cannot be negative"},
		{in: 1e30, err: "a duration is expected"},
		{in: "99999999999999999d", err: "more than 100 years"},
		{in: int64(1 << 60), err: "more than 100 years"},
		{in: true, err: "a duration is expected"},
	} {
		f := newFields(map[string]any{"ttl": c.in})
		got := time.Duration(-7)
		ok := f.duration("ttl", &got)
		switch {
		case c.err == "" && (!ok || f.err != nil || got != c.want):
			t.Errorf("%v: %s, %v; want %s", c.in, got, f.err, c.want)
		case c.err != "" && (ok || f.err == nil || !strings.Contains(f.err.Error(), c.err)):
			t.Errorf("%v: %v, want an error with %q", c.in, f.err, c.err)
		case c.err != "" && got != -7:
			t.Errorf("%v: set to %s in spite of the error", c.in, got)
		}
	}
}

func TestListsAndStatements(t *testing.T) {
	t.Parallel()
	const sql = `CREATE ROLE "{{name}}" LOGIN; GRANT a, b TO "{{name}}"`
	encoded := base64.StdEncoding.EncodeToString([]byte(sql))
	for _, c := range []struct {
		in               any
		list, statements []string
	}{
		{in: "a, b,,c ", list: []string{"a", "b", "c"}},
		{in: []any{"a", " b "}, list: []string{"a", "b"}},
		{in: "", list: []string{}, statements: []string{}},
		{in: sql, statements: []string{sql}},
		{in: encoded, statements: []string{sql}},
		{in: []any{sql, "  "}, statements: []string{sql}},
		{in: `["SELECT 1", "SELECT 2"]`, statements: []string{"SELECT 1", "SELECT 2"}},
		{in: base64.StdEncoding.EncodeToString([]byte(`["SELECT 1", "SELECT 2"]`)), statements: []string{"SELECT 1", "SELECT 2"}},
		{in: "COMMIT", statements: []string{"COMMIT"}}, // looks like base64, is not text with spaces
	} {
		f := newFields(map[string]any{"x": c.in})
		var list, statements []string
		if c.list != nil {
			if f.list("x", &list); f.err != nil || !reflect.DeepEqual(list, c.list) {
				t.Errorf("list %v: %q, %v; want %q", c.in, list, f.err, c.list)
			}
		}
		if c.statements != nil {
			if f.statements("x", &statements); f.err != nil || !reflect.DeepEqual(statements, c.statements) {
				t.Errorf("statements %v: %q, %v; want %q", c.in, statements, f.err, c.statements)
			}
		}
	}
}

func TestWrongShapes(t *testing.T) {
	t.Parallel()
	var (
		text string
		flag bool
		n    int
		list []string
		obj  map[string]any
	)
	for name, read := range map[string]func(*fields) bool{
		"text":       func(f *fields) bool { return f.text("x", &text) },
		"flag":       func(f *fields) bool { return f.flag("x", &flag) },
		"number":     func(f *fields) bool { return f.number("x", &n) },
		"list":       func(f *fields) bool { return f.list("x", &list) },
		"statements": func(f *fields) bool { return f.statements("x", &list) },
		"object":     func(f *fields) bool { return f.object("x", &obj) },
	} {
		f := newFields(map[string]any{"x": []any{1, map[string]any{"password": "s3cr3t"}}})
		if read(f) || f.err == nil {
			t.Errorf("%s took a list of numbers", name)
		} else if strings.Contains(f.err.Error(), "s3cr3t") {
			t.Errorf("%s: the error repeats the value", name)
		}
		f = newFields(map[string]any{"x": nil})
		if read(f) || f.err != nil {
			t.Errorf("%s: null is as good as absent: %v", name, f.err)
		}
	}
}

// What is not named keeps its value, and what nobody reads is warned about.
func TestPartialAndIgnored(t *testing.T) {
	t.Parallel()
	f := newFields(map[string]any{"a": "1", "z": "2", "b": "3"})
	a, other := "", "kept"
	f.text("a", &a)
	f.text("other", &other)
	if a != "1" || other != "kept" {
		t.Errorf("a %q, other %q", a, other)
	}
	if got := f.ignored(); len(got) != 1 || got[0] != "Endpoint ignored these unrecognized parameters: [b z]" {
		t.Errorf("ignored %q", got)
	}
}

// Every duration that Go prints is read back.
func TestDurationsRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := time.Duration(rapid.Int64Range(0, int64(maxTTL)).Draw(t, "d"))
		f := newFields(map[string]any{"ttl": want.String()})
		var got time.Duration
		if f.duration("ttl", &got); f.err != nil || got != want {
			t.Fatalf("%s: %s, %v", want, got, f.err)
		}
	})
}
