package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Law: the rules that are shown are those that were written, each pattern once.
func TestRulesAreAllThere(t *testing.T) {
	t.Parallel()
	text := `
path "a/b" { capabilities = ["read"] }
path "a/*" { capabilities = ["list", "create"] required_parameters = ["x"] min_wrapping_ttl = "1m" }
path "a/+/c" { capabilities = ["deny"] }
path "+/b*" { capabilities = ["update", "sudo"] allowed_parameters = { "n" = ["v"] } }
path "a/+/+/d*" { capabilities = ["read"] }
path "*" {}`
	p, err := Parse("p", text)
	if err != nil {
		t.Fatal(err)
	}
	other, err := Parse("q", `path "a/b" { capabilities = ["update"] }`)
	if err != nil {
		t.Fatal(err)
	}
	acl := New(p, other)
	got := []string{}
	for _, r := range acl.Rules() {
		got = append(got, fmt.Sprint(r.Pattern, r.Exact, r.Capabilities, r.Allowed, r.Required, r.MinWrap))
	}
	slices.Sort(got)
	want := []string{
		`* false [deny]map[] [] 0s`, `+/b* false [sudo update]map[n:[v]] [] 0s`, `a/* false [create list]map[] [x] 1m0s`,
		`a/+/+/d* false [read]map[] [] 0s`, `a/+/c false [deny]map[] [] 0s`, `a/b true [read update]map[] [] 0s`,
	}
	for i := range want {
		want[i] = strings.Replace(want[i], "* f", "*f", 1)
	}
	norm := func(s []string) string { return strings.ReplaceAll(strings.Join(s, "\n"), " ", "") }
	if norm(got) != norm(want) {
		t.Errorf("rules:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if acl.Root() || !New(Root()).Root() {
		t.Error("root is not told from the others")
	}
}

// Law: whoever may do anything on a path below a mount has something below it;
// where all rules deny, nothing.
func TestBelow(t *testing.T) {
	t.Parallel()
	patterns := []string{"db/creds/a", "db/*", "db", "db/", "d*", "*", "+/creds/a", "+/+", "db/+/a*", "other/x", "dbx/y", "+", "db2/*"}
	paths := []string{"db/creds/a", "db/creds/b", "db/x", "db/roles/a/b"}
	rapid.Check(t, func(t *rapid.T) {
		text := ""
		for _, p := range rapid.SliceOfDistinct(rapid.SampledFrom(patterns), rapid.ID[string]).Draw(t, "patterns") {
			text += fmt.Sprintf("path %q { capabilities = [%q] }\n", p, rapid.SampledFrom([]string{"read", "deny", "list"}).Draw(t, "capability"))
		}
		p, err := Parse("p", text)
		if err != nil {
			t.Fatal(err)
		}
		acl := New(p)
		below := acl.Below("db/")
		for _, path := range paths {
			if !slices.Equal(acl.Capabilities(path), []string{"deny"}) && !below {
				t.Fatalf("%s is reached, but nothing below db/:\n%s", path, text)
			}
		}
		if below && !strings.Contains(text, "read") && !strings.Contains(text, "list") {
			t.Fatalf("every rule denies, but something below db/ is reached:\n%s", text)
		}
	})
	for text, want := range map[string]bool{
		`path "*" { capabilities = ["read"] } path "db/*" { capabilities = ["deny"] }`: false,
		`path "db/creds/a" { capabilities = ["read"] }`:                                true,
		`path "dbx/y" { capabilities = ["read"] }`:                                     false,
		`path "db" { capabilities = ["read"] }`:                                        false,
		`path "db/creds/a" {}`:                                                         false,
	} {
		p, err := Parse("p", text)
		if err != nil {
			t.Fatal(err)
		}
		if got := New(p).Below("db/"); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if !New(Root()).Below("db/") {
		t.Error("root reaches nothing")
	}
}
