package username_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/engine/username"
)

func parsed(tb testing.TB, text string) *username.Template {
	tb.Helper()
	t, err := username.ParseTemplate(text)
	if err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	return t
}

// What the article of stock servers teaches, with the mark in place of the
// random part.
const stockWithMark = `{{ printf "v-%s-%s-%s-%s" (.DisplayName | truncate 8) (.RoleName | truncate 8) (.Mark) (unix_time) | truncate 63 }}`

// The name of one lease is written down: a change of the derivation would cut
// every running installation off from its accounts.
func TestTemplatedNameIsStable(t *testing.T) {
	t.Parallel()
	n := namer(t, "installation-1", 'a', key('a', 1))
	at := time.Unix(1693258841, 0)
	for text, want := range map[string]string{
		stockWithMark: "v-token-ap-app-read-amxxtvghw64va6lwchkzbso2fcz-1693258841",
		`{{.Mark}}`:   "amxxtvghw64vazj7furwbso2fcz",
		`app_{{.RoleName | uppercase | truncate 20}}@{{.Mark}}`: "app_APP-READONLY@amxxtvghw64vayu3wfmlbso2fcz",
	} {
		got := n.Templated(parsed(t, text), "token-app-A", "app-readonly", "database/creds/app-readonly/abcdefgh", at)
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
		mark, ok := n.Recognise(got)
		if !ok || !mark.CreatedAt.Equal(at) || mark.KeyID != 'a' || mark.LeaseHash != username.LeaseHash("database/creds/app-readonly/abcdefgh") {
			t.Errorf("%s tells %+v, %t", got, mark, ok)
		}
	}
}

// B2: what cannot be proved is refused, in words that say what to write.
func TestTemplateRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{{ printf "v-%s-%s-%s-%s" (.DisplayName | truncate 8) (.RoleName | truncate 8) (random 20) (unix_time) | truncate 63 }}`: "Write {{.Mark}} where a random part stands",
		`vault-{{random 20}}`:        "{{.Mark}}",
		``:                           "{{.Mark}}",
		`plain`:                      "{{.Mark}}",
		`{{.Mark}}{{.Mark}}`:         "more than once",
		`{{.DisplayName}}-{{.Mark}}`: "{{.DisplayName | truncate 8}}",
		`{{.DisplayName | truncate 40}}-{{.Mark}}`:                            "names may have 68 bytes, 63 are possible",
		`{{.DisplayName | truncate 20 | replace "a" "bbb"}}-{{.Mark}}`:        "88 bytes",
		`{{.DisplayName | sha256}}-{{.Mark}}`:                                 "92 bytes",
		`{{printf "%s-%s" .DisplayName .Mark | truncate 63}}`:                 "may cut into {{.Mark}}",
		`{{printf "%s-%s" .DisplayName .Mark | truncate_sha256 63}}`:          "may cut into {{.Mark}}",
		`{{.Mark | truncate 20}}`:                                             "may cut into {{.Mark}}",
		`{{.Mark | uppercase}}`:                                               "would change {{.Mark}}",
		`{{.Mark | sha256}}`:                                                  "would change {{.Mark}}",
		`{{.Mark | base64}}`:                                                  "would change {{.Mark}}",
		`{{.Mark | replace "a" "b"}}`:                                         "would change {{.Mark}}",
		`{{if .DisplayName}}{{.Mark}}{{end}}`:                                 "is not supported",
		`{{range .DisplayName}}{{end}}{{.Mark}}`:                              "is not supported",
		`{{with .Mark}}{{.}}{{end}}`:                                          "is not supported",
		`{{$x := .Mark}}{{$x}}`:                                               "variables are not supported",
		`{{define "x"}}y{{end}}{{.Mark}}`:                                     "not supported",
		`{{template "x"}}{{.Mark}}`:                                           "is not supported",
		`{{.Nonsense}}{{.Mark}}`:                                              "there are .DisplayName, .RoleName and .Mark",
		`{{.DisplayName.X | truncate 8}}{{.Mark}}`:                            "there are .DisplayName",
		`{{len .DisplayName}}{{.Mark}}`:                                       "unable to parse template",
		`{{.Mark`:                                                             "unable to parse template",
		`a"; DROP ROLE x; {{.Mark}}`:                                          "names consist of letters",
		`a b{{.Mark}}`:                                                        "names consist of letters",
		`é{{.Mark}}`:                                                          "names consist of letters",
		`{{.DisplayName | truncate 8 | replace "a" "'"}}{{.Mark}}`:            "names consist of letters",
		`{{printf "%s\x00" .Mark}}`:                                           "names consist of letters",
		`{{"$x"}}{{.Mark}}`:                                                   "names consist of letters",
		`{{printf "%d" .Mark}}`:                                               "%s and %v",
		`{{printf "%s-%s" .Mark}}`:                                            "more texts than are given",
		`{{printf "%s" .Mark "a"}}`:                                           "than the format asks for",
		`{{.DisplayName | truncate 0}}{{.Mark}}`:                              "max length must be > 0 but was 0",
		`{{.DisplayName | truncate_sha256 8}}{{.Mark}}`:                       "max length must be > 8 but was 8",
		`{{.DisplayName | truncate "8"}}{{.Mark}}`:                            "a number and a text are wanted",
		`{{random 0}}{{.Mark}}`:                                               "a number from 1",
		`{{random 999999999}}{{.Mark}}`:                                       "a number from 1",
		`{{8}}{{.Mark}}`:                                                      "is a number",
		`{{timestamp .DisplayName}}{{.Mark}}`:                                 "a format in quotes",
		`{{timestamp "2006-01-02T15:04:05.000000000Z07:00-Monday"}}{{.Mark}}`: "bytes, 63 are possible",
		strings.Repeat("x", 5000) + `{{.Mark}}`:                               "at most 4096",
	} {
		got, err := username.ParseTemplate(text)
		if err == nil || got != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", text, err, want)
		}
	}
}

// piece draws a part of a template.
func piece(t *rapid.T) string {
	source := rapid.SampledFrom([]string{
		".DisplayName", ".RoleName", ".Mark", "uuid", "unix_time", "unix_time_millis", `"x_Y.z@"`,
		"(random 5)", `(timestamp "2006-Jan-_2")`, "(.RoleName | truncate 5)", `(printf "%s+%v" .Mark (random 2))`,
	})
	step := rapid.SampledFrom([]string{
		" | truncate 4", " | truncate 9", " | truncate 30", " | truncate_sha256 12", " | truncate 63", " | uppercase", " | lowercase",
		` | replace "a" "bcd"`, ` | replace "" "-"`, ` | replace "-" "_"`, " | sha256", " | base64", ` | printf "<%s"`, ` | printf "%%%s"`, ` | printf "=%s:"`,
	})
	var b strings.Builder
	b.WriteString("{{" + source.Draw(t, "source"))
	for range rapid.IntRange(0, 3).Draw(t, "steps") {
		b.WriteString(step.Draw(t, "step"))
	}
	return b.String() + "}}"
}

func drawn(t *rapid.T) string {
	var b strings.Builder
	mark := rapid.IntRange(0, 3).Draw(t, "mark at")
	for i := range rapid.IntRange(1, 4).Draw(t, "parts") {
		b.WriteString(rapid.SampledFrom([]string{"", "-", "--", "v_", "pg_", "A.1"}).Draw(t, "text"))
		if i == mark {
			b.WriteString("{{.Mark}}")
		} else {
			b.WriteString(piece(t))
		}
	}
	return b.String()
}

// checkTemplated is the law: any accepted template × any display name and role
// gives a name that the sweep recognises, that PostgreSQL takes whole and that
// no other lease has (B2, B3).
func checkTemplated(t interface{ Fatalf(string, ...any) }, n *username.Namer, tpl *username.Template, text, display, role, lease string, at time.Time) {
	name := n.Templated(tpl, display, role, lease, at)
	if len(name) > username.MaxTemplated || strings.Contains(name, "--") || strings.HasPrefix(name, "pg_") ||
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@:+/=") != "" {
		t.Fatalf("%s with %q, %q: %q is no name", text, display, role, name)
	}
	mark, ok := n.Recognise(name)
	if !ok || mark.LeaseHash != username.LeaseHash(lease) || !mark.CreatedAt.Equal(at) {
		t.Fatalf("%s with %q, %q: %q tells %+v, %t", text, display, role, name, mark, ok)
	}
	if other := n.Templated(tpl, display, role, lease+"'", at); other == name {
		t.Fatalf("%s with %q, %q: two leases are %q", text, display, role, name)
	}
}

func TestTemplateLaws(t *testing.T) {
	t.Parallel()
	n := namer(t, "i", 'a', key('a', 1), key('b', 2))
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		text := drawn(t)
		tpl, err := username.ParseTemplate(text)
		if err != nil {
			return
		}
		accepted++
		anything := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-zA-Z0-9 _'"$-]{0,80}`), rapid.StringMatching(`a{0,300}`))
		at := time.Unix(rapid.Int64Range(0, 1<<35-1).Draw(t, "at"), 0)
		checkTemplated(t, n, tpl, text, anything.Draw(t, "display"), anything.Draw(t, "role"), anything.Draw(t, "lease"), at)
	})
	if accepted == 0 {
		t.Fatal("no template was accepted: the law was not looked at")
	}
}

// The functions give what those of the stock template language give: the
// reference is text/template with functions written from the documentation.
func TestTemplateFunctions(t *testing.T) {
	t.Parallel()
	n := namer(t, "i", 'a', key('a', 1))
	at := time.Unix(1_700_000_000, 123_000_000)
	sha := func(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }
	reference := template.FuncMap{
		"truncate": func(n int, s string) (string, error) {
			if n <= 0 {
				return "", errors.New("too short")
			}
			return s[:min(n, len(s))], nil
		},
		"truncate_sha256": func(n int, s string) string {
			if len(s) <= n {
				return s
			}
			return s[:n-8] + sha(s[n-8:])[:8]
		},
		"uppercase": strings.ToUpper, "lowercase": strings.ToLower, "sha256": sha,
		"replace":          func(find, by, s string) string { return strings.ReplaceAll(s, find, by) },
		"base64":           func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		"timestamp":        func(layout string) string { return at.UTC().Format(layout) },
		"unix_time":        func() string { return strconv.FormatInt(at.Unix(), 10) },
		"unix_time_millis": func() string { return strconv.FormatInt(at.UnixMilli(), 10) },
	}
	for _, text := range []string{
		stockWithMark,
		`{{.DisplayName | truncate 5}}.{{.Mark}}`,
		`{{truncate 5 .DisplayName}}.{{.Mark}}`,
		`{{.DisplayName | truncate_sha256 12}}.{{.Mark}}`,
		`{{.DisplayName | replace "a" "ZZ" | truncate 12 | uppercase}}.{{.Mark}}`,
		`{{.DisplayName | replace "" "_" | truncate 12}}.{{.Mark}}`,
		`{{.DisplayName | sha256 | truncate 16}}:{{.Mark}}`,
		`{{.DisplayName | truncate 9 | base64}}:{{.Mark}}`,
		`{{timestamp "20060102-Jan-15.04.05"}}/{{.Mark}}`,
		`{{unix_time}}+{{.Mark}}={{unix_time_millis}}`,
		`{{printf "%s-%v.%s" (.RoleName | truncate 4 | uppercase) .Mark "x" | lowercase}}`,
		"{{- /* why */ -}} {{- .Mark -}} ",
	} {
		name := n.Templated(parsed(t, text), "tokenapplication", "readonly", "lease", at)
		i := strings.Index(name, username.LeaseHash("lease"))
		if i < 0 {
			t.Fatalf("%s: %s has no mark", text, name)
		}
		var want strings.Builder
		err := template.Must(template.New("").Funcs(reference).Parse(text)).Execute(&want, map[string]string{
			"DisplayName": "tokenapplication", "RoleName": "readonly", "Mark": name[i : i+username.MarkLen],
		})
		if err != nil || name != want.String() {
			t.Errorf("%s\n got %s\nwant %s, %v", text, name, want.String(), err)
		}
	}
}

func TestTemplateRandomParts(t *testing.T) {
	t.Parallel()
	n := namer(t, "i", 'a', key('a', 1))
	for text, length := range map[string]int{`{{random 20}}-{{.Mark}}`: 20, `{{uuid | truncate 35}}-{{.Mark}}`: 35} {
		tpl, seen := parsed(t, text), map[string]bool{}
		for range 100 {
			head, _, _ := strings.Cut(n.Templated(tpl, "d", "r", "l", time.Unix(1, 0)), "-"+username.LeaseHash("l"))
			if len(head) != length || seen[head] {
				t.Fatalf("%s: %q, again or of a wrong length", text, head)
			}
			seen[head] = true
		}
	}
}

// A name that differs in one character is foreign, at every place; so are those
// of another installation, and those under a key that is gone (B2).
func TestNoNeighbourOfATemplatedNameIsRecognised(t *testing.T) {
	t.Parallel()
	n := namer(t, "i", 'a', key('a', 1))
	name := n.Templated(parsed(t, stockWithMark), "token", "role", "lease", time.Unix(1_795_304_195, 0))
	for i := range name {
		for _, c := range nameChars + "A_'" {
			for _, changed := range []string{name[:i] + name[i+1:], name[:i] + string(c) + name[i:], name[:i] + string(c) + name[i+1:]} {
				if changed == name {
					continue
				}
				if _, ok := n.Recognise(changed); ok {
					t.Errorf("%s is recognised, made from %s", changed, name)
				}
			}
		}
	}
	for _, other := range []*username.Namer{namer(t, "j", 'a', key('a', 1)), namer(t, "i", 'a', key('a', 2)), namer(t, "i", 'b', key('b', 1))} {
		if _, ok := other.Recognise(name); ok {
			t.Errorf("%s is recognised by another installation or key", name)
		}
	}
	if m, ok := namer(t, "i", 'b', key('a', 1), key('b', 2)).Recognise(name); !ok || m.KeyID != 'a' {
		t.Error("the name is not recognised under a key that is current no more")
	}
}

func FuzzParseTemplate(f *testing.F) {
	n := namer(f, "i", 'a', key('a', 1))
	for _, text := range []string{
		stockWithMark, `{{.Mark}}`, `{{.DisplayName | replace "" "xx" | truncate_sha256 9}}{{.Mark}}`, `{{if .Mark}}`, `{{timestamp "Jan _2"}}{{.Mark}}`,
		`{{(printf "%s" (.Mark))}}`, `{{"a" | printf "%s"}}{{.Mark}}`,
	} {
		f.Add(text, "token-app", "role")
	}
	f.Fuzz(func(t *testing.T, text, display, role string) {
		tpl, err := username.ParseTemplate(text)
		if err != nil {
			return
		}
		checkTemplated(t, n, tpl, text, display, role, "lease", time.Unix(1_795_304_195, 0))
	})
}
