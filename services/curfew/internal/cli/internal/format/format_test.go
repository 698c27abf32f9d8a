package format_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/services/curfew/internal/cli/internal/format"
)

func TestTableAlignsColumns(t *testing.T) {
	t.Parallel()
	got := format.Table(
		[]string{"Key", "Value"},
		[][]string{{"lease_duration", "1h"}, {"note", ""}, {"policy", "a\nb\n"}, {"short"}},
	)
	want := "Key               Value\n" +
		"---               -----\n" +
		"lease_duration    1h\n" +
		"note              n/a\n" +
		"policy            a\nb\n" +
		"short             n/a\n"
	if got != want {
		t.Errorf("Table:\n%q\nwant\n%q", got, want)
	}
}

func TestWrapBreaksWhereTheStockCLIDoes(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, text, want string
		indent           int
	}{
		{
			name:   "two lines",
			text:   `* TTL of "1h" exceeded the effective max_ttl of "15s"; TTL value is capped accordingly`,
			indent: 2,
			want:   "  * TTL of \"1h\" exceeded the effective max_ttl of \"15s\"; TTL value is capped\n  accordingly",
		},
		{
			name: "three lines",
			text: "* it is encouraged to disable generate_lease and rely on PKI's native capabilities " +
				"when possible; this option can cause instance-wide issues with large numbers of issued certificates",
			indent: 2,
			want: "  * it is encouraged to disable generate_lease and rely on PKI's native\n" +
				"  capabilities when possible; this option can cause instance-wide issues with\n" +
				"  large numbers of issued certificates",
		},
		{
			name: "no indent",
			text: "Success! You are now authenticated. The token information displayed below is already stored " +
				"in the token helper. You do NOT need to run \"bao login\" again. Future OpenBao requests will " +
				"automatically use this token.",
			want: "Success! You are now authenticated. The token information displayed below is\n" +
				"already stored in the token helper. You do NOT need to run \"bao login\" again.\n" +
				"Future OpenBao requests will automatically use this token.",
		},
		{
			name: "even rather than full first lines",
			text: "Success! You are now authenticated. The token information displayed below is already stored " +
				"in the token helper. You do NOT need to run \"curfew login\" again. Future Curfew requests.",
			want: "Success! You are now authenticated. The token information displayed below\n" +
				"is already stored in the token helper. You do NOT need to run \"curfew login\"\n" +
				"again. Future Curfew requests.",
		},
		{name: "nothing", text: " \n ", want: ""},
		{name: "one long word", text: strings.Repeat("x", 100), want: strings.Repeat("x", 100)},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := format.Wrap(tc.text, tc.indent); got != tc.want {
				t.Errorf("Wrap:\n%s\nwant\n%s", got, tc.want)
			}
		})
	}
}

// Wrapping keeps every word in order, and only a word that is longer than a
// line makes a line that is too long.
func TestWrapKeepsWordsAndWidth(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOf(rapid.StringMatching(`[a-zé]{1,90}`)).Draw(t, "words")
		indent := rapid.IntRange(0, 10).Draw(t, "indent")
		got := format.Wrap(strings.Join(words, " "), indent)
		if !slices.Equal(strings.Fields(got), words) {
			t.Fatalf("words changed: %q", got)
		}
		for line := range strings.SplitSeq(got, "\n") {
			if utf8.RuneCountInString(line) > format.Width && len(strings.Fields(line)) != 1 {
				t.Fatalf("line too long: %q", line)
			}
		}
	})
}

func TestDurationDropsZeroUnits(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{
		"0s": 0, "-2s": -2 * time.Second, "10s": 10 * time.Second, "10m": 10 * time.Minute,
		"59m59s": 3599 * time.Second, "1h": time.Hour, "1h5s": 3605 * time.Second,
		"10h": 10 * time.Hour, "1h10m": 70 * time.Minute, "1h10m10s": 4210 * time.Second,
		"768h": 768 * time.Hour,
	} {
		if got := format.Duration(d); got != want {
			t.Errorf("Duration(%s) = %q, want %q", d, got, want)
		}
	}
}

// Dropping zero units never changes the length of time.
func TestDurationKeepsTheLength(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(-10_000_000, 10_000_000).Draw(t, "seconds")
		d, err := time.ParseDuration(format.Seconds(n))
		if err != nil || d != time.Duration(n)*time.Second {
			t.Fatalf("Seconds(%d) = %q", n, format.Seconds(n))
		}
	})
}

func TestValueReadsAsInATable(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		value any
		want  string
	}{
		{"ttl", json.Number("3599"), "59m59s"},
		{"default_ttl", json.Number("3600"), "1h"},
		{"creation_period", json.Number("60"), "1m"},
		{"lease_duration", json.Number("0"), "0s"},
		{"lease_count", json.Number("3600"), "3600"},
		{"ttl", "soon", "soon"},
		{"ttl", json.Number("1.5"), "1.5"},
		{"meta", nil, "<nil>"},
		{"policies", []any{"app", "default"}, "[app default]"},
		{"details", map[string]any{"b": "2", "a": json.Number("1")}, "map[a:1 b:2]"},
	}
	for _, tc := range cases {
		if got := format.Value(tc.name, tc.value); got != tc.want {
			t.Errorf("Value(%s, %v) = %q, want %q", tc.name, tc.value, got, tc.want)
		}
	}
}
