package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestKeyValues(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	sql := file("create.sql", "CREATE ROLE x;\n")
	object := file("role.json", `{"db_name": "app", "max": 12345678901234567890, "list": [1]}`)

	cases := map[string]struct {
		args  []string
		stdin string
		want  map[string]any
		err   string
	}{
		"none":                {},
		"plain":               {args: []string{"a=b"}, want: map[string]any{"a": "b"}},
		"empty value":         {args: []string{"a="}, want: map[string]any{"a": ""}},
		"value with equals":   {args: []string{"url=x?sslmode=disable&a=b"}, want: map[string]any{"url": "x?sslmode=disable&a=b"}},
		"numbers are strings": {args: []string{"n=1", "b=true"}, want: map[string]any{"n": "1", "b": "true"}},
		"repeated":            {args: []string{"a=1", "a=2", "a=3"}, want: map[string]any{"a": []any{"1", "2", "3"}}},
		"file as value":       {args: []string{"sql=@" + sql}, want: map[string]any{"sql": "CREATE ROLE x;\n"}},
		"at sign":             {args: []string{`p=\@home`}, want: map[string]any{"p": "@home"}},
		"backslash":           {args: []string{`p=\x`}, want: map[string]any{"p": `\x`}},
		"at sign inside":      {args: []string{"p=a@b"}, want: map[string]any{"p": "a@b"}},
		"object": {
			args: []string{"@" + object, "a=b"},
			want: map[string]any{"db_name": "app", "max": json.Number("12345678901234567890"), "list": []any{json.Number("1")}, "a": "b"},
		},
		"object on stdin":  {args: []string{"-"}, stdin: ` {"a": null} `, want: map[string]any{"a": nil}},
		"value on stdin":   {args: []string{"p=-"}, stdin: "secret\n", want: map[string]any{"p": "secret\n"}},
		"stdin twice":      {args: []string{"p=-", "-"}, stdin: "secret", err: "argument 2: standard input can be read only once"},
		"no equals":        {args: []string{"a=b", "hunter2"}, err: "argument 2: want key=value"},
		"no key":           {args: []string{"=hunter2"}, err: "argument 1: want key=value"},
		"no such file":     {args: []string{"a=@" + dir + "/none"}, err: "argument 1: a: open " + dir + "/none: no such file or directory"},
		"not an object":    {args: []string{"@" + sql}, err: "argument 1: " + sql + " does not hold a JSON object"},
		"null":             {args: []string{"-"}, stdin: "null", err: "argument 1: standard input does not hold one JSON object"},
		"two objects":      {args: []string{"-"}, stdin: `{"a":1} {"hunter2":1}`, err: "argument 1: standard input does not hold one JSON object"},
		"secret malformed": {args: []string{"-"}, stdin: `{"p":hunter2}`, err: "argument 1: standard input does not hold a JSON object"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := keyValues(tc.args, strings.NewReader(tc.stdin))
			if tc.err != "" {
				if err == nil || err.Error() != tc.err {
					t.Fatalf("error %v, want %s", err, tc.err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %#v (%v), want %#v", got, err, tc.want)
			}
		})
	}
}

// A value that means nothing special arrives byte for byte, under its key.
func TestKeyValuesKeepValues(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringMatching(`[a-z_][a-z_@-]{0,8}`).Draw(t, "key")
		value := rapid.String().Filter(func(v string) bool {
			return v != "-" && !strings.HasPrefix(v, "@") && !strings.HasPrefix(v, `\@`)
		}).Draw(t, "value")
		got, err := keyValues([]string{key + "=" + value}, strings.NewReader(""))
		if err != nil || len(got) != 1 || got[key] != value {
			t.Fatalf("got %q (%v), want %q under %q", got, err, value, key)
		}
		literal, err := keyValues([]string{key + `=\@` + value}, strings.NewReader(""))
		if err != nil || literal[key] != "@"+value {
			t.Fatalf("literal: got %q (%v)", literal, err)
		}
	})
}

func TestQueryValuesAreText(t *testing.T) {
	t.Parallel()
	got, err := queryValues([]string{"type=all", "n=1", "n=2", "-"}, strings.NewReader(`{"limit": 10, "deep": true}`))
	want := map[string][]string{"type": {"all"}, "n": {"1", "2"}, "limit": {"10"}, "deep": {"true"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v (%v), want %v", got, err, want)
	}
}

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0": 0, "60": time.Minute, "-5": -5 * time.Second, "1h30m": 90 * time.Minute, "7d": 168 * time.Hour, "250ms": 250 * time.Millisecond,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("parseDuration(%q) = %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "1.5d", "soon", "1w", "9223372036854775807", "-9223372036854775808", "200000000000d"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("parseDuration(%q) = %s, want an error", text, got)
		}
	}
}

func TestReconnectPauseGrowsToABound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		wish time.Duration
		n    int
		want time.Duration
	}{
		{0, 0, time.Second},
		{0, 3, 8 * time.Second},
		{0, 5, 30 * time.Second},
		{0, 1 << 40, 30 * time.Second},
		{250 * time.Millisecond, 1, 500 * time.Millisecond},
		{time.Hour, 0, 30 * time.Second},
	} {
		if got := reconnectPause(tc.wish, tc.n); got != tc.want {
			t.Errorf("reconnectPause(%s, %d) = %s, want %s", tc.wish, tc.n, got, tc.want)
		}
	}
}
