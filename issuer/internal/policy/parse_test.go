package policy

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func parsed(tb testing.TB, text string) *Policy {
	tb.Helper()
	return named(tb, "test", text)
}

func TestParse(t *testing.T) {
	t.Parallel()
	const (
		read  = canRead
		write = canCreate | canRead | canUpdate | canDelete | canList
	)
	for name, c := range map[string]struct {
		text string
		want []rule
	}{
		"empty":           {"", nil},
		"only a comment":  {"# nothing\n// here\n/* at\nall */", nil},
		"of the articles": {"path \"database/creds/readonly\" {\n  capabilities = [\"read\"]\n}\n", []rule{{can: read, pattern: pattern{text: "database/creds/readonly"}}}},
		"one line":        {`path "a" { capabilities = ["read"], comment = "x" }`, []rule{{can: read, pattern: pattern{text: "a"}}}},
		"two attributes without comma": {
			`path "a" { capabilities = ["read"] min_wrapping_ttl = "1m" }`,
			[]rule{{can: read, pattern: pattern{text: "a"}, wrap: bounds{min: time.Minute}}},
		},
		"windows":       {"path \"a\" {\r\n capabilities = [\"read\"]\r\n}\r\n", []rule{{can: read, pattern: pattern{text: "a"}}}},
		"name":          {`name = "x"`, nil},
		"leading slash": {`path "/a/b" { policy = "read" }`, []rule{{can: read | canList, pattern: pattern{text: "a/b"}}}},
		"no capability": {`path "a" {}`, []rule{{pattern: pattern{text: "a"}}}},
		"all": {
			`path "a" { capabilities = ["create","read","update","patch","delete","list","sudo","subscribe"] }`,
			[]rule{{can: write | canPatch | canSudo | canSubscribe, pattern: pattern{text: "a"}}},
		},
		"deny alone":    {`path "a" { capabilities = ["read","deny"] max_wrapping_ttl = 5 }`, []rule{{can: denied, pattern: pattern{text: "a"}}}},
		"policy read":   {`path "a" { policy = "read" }`, []rule{{can: read | canList, pattern: pattern{text: "a"}}}},
		"policy write":  {`path "a" { policy = "write" }`, []rule{{can: write, pattern: pattern{text: "a"}}}},
		"policy sudo":   {`path "a" { policy = "sudo" }`, []rule{{can: write | canSudo, pattern: pattern{text: "a"}}}},
		"policy deny":   {`path "a" { policy = "deny" capabilities = ["read"] }`, []rule{{can: denied, pattern: pattern{text: "a"}}}},
		"policy list":   {`path "a" { policy = "list" }`, []rule{{can: canList, pattern: pattern{text: "a"}}}},
		"policy none":   {`path "a" { policy = "" }`, []rule{{pattern: pattern{text: "a"}}}},
		"policy joined": {`path "a" { policy = "list" capabilities = ["read"] }`, []rule{{can: read | canList, pattern: pattern{text: "a"}}}},
		"seconds and durations": {
			`path "a" { min_wrapping_ttl = 30 max_wrapping_ttl = "1d" }`,
			[]rule{{pattern: pattern{text: "a"}, wrap: bounds{30 * time.Second, 24 * time.Hour}}},
		},
		"equal bounds": {
			`path "a" { min_wrapping_ttl = "60" max_wrapping_ttl = "1m" }`,
			[]rule{{pattern: pattern{text: "a"}, wrap: bounds{time.Minute, time.Minute}}},
		},
		"parameters": {
			`path "a" {
				allowed_parameters = { "Foo" = [] bar = ["zip", 1, 2.5, true, 0x10, ["x", 1]] "*" = [] }
				denied_parameters { "no_store" = [false, "false"] }
				required_parameters = ["Name", "id", "NAME"]
			}`,
			[]rule{{pattern: pattern{text: "a"}, parameters: parameters{
				allowed: map[string][]any{
					"foo": {}, "*": {},
					"bar": {"zip", json.Number("1"), json.Number("2.5"), true, json.Number("16"), []any{"x", json.Number("1")}},
				},
				denied:   map[string][]any{"no_store": {false, "false"}},
				required: []string{"id", "name"},
			}}},
		},
		"twice": {`path "a" { policy = "list" } path "/a" { policy = "read" }`, []rule{
			{can: canList, pattern: pattern{text: "a"}},
			{can: read | canList, pattern: pattern{text: "a"}},
		}},
		"heredoc":        {"path \"a\" {\n comment = <<EOT\nx\nEOT\n}\n", []rule{{pattern: pattern{text: "a"}}}},
		"json":           {`{"path": {"a": {"capabilities": ["read"]}, "b": {"policy": "list"}}}`, []rule{{can: read, pattern: pattern{text: "a"}}, {can: canList, pattern: pattern{text: "b"}}}},
		"json of lists":  {` {"path": [{"a": [{"capabilities": ["read"]}]}, {"b": {"policy": "list"}}]}`, []rule{{can: read, pattern: pattern{text: "a"}}, {can: canList, pattern: pattern{text: "b"}}}},
		"json truth":     {`{"path": {"a": {"allowed_parameters": {"x": [true, null]}}}}`, []rule{{pattern: pattern{text: "a"}, parameters: parameters{allowed: map[string][]any{"x": {true, nil}}}}}},
		"json empty":     {`{}`, nil},
		"json parameter": {`{"path": {"a": {"denied_parameters": [{"x": []}]}}}`, []rule{{pattern: pattern{text: "a"}, parameters: parameters{denied: map[string][]any{"x": {}}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := parsed(t, c.text)
			if p.Name != "test" || p.Text != c.text {
				t.Errorf("name %q, text %q", p.Name, p.Text)
			}
			for i := range p.rules {
				p.rules[i].pattern = pattern{text: p.rules[i].text} // the rest has its own test
			}
			if !reflect.DeepEqual(p.rules, c.want) {
				t.Errorf("got  %#v\nwant %#v", p.rules, c.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	stanza := func(inside string) string { return "path \"x\" {\n" + inside + "\n}" }
	for _, c := range []struct{ text, want string }{
		// As recorded of a stock server.
		{`path "x" { capabilities = ["fly"] }`, `path "x": invalid capability "fly"`},

		{stanza(`policy = "admin"`), `path "x": invalid policy "admin"`},
		{stanza(`capabilities = "read"`), `path "x": capabilities: expected a list of strings`},
		{stanza(`capabilities = [1]`), `path "x": capabilities: expected a list of strings`},
		{stanza(`capabilities = ["deny", "fly"]`), `path "x": invalid capability "fly"`},
		{stanza(`capabilities = ["Read"]`), `path "x": invalid capability "Read"`},
		{stanza(`capabilities = ["help"]`), `path "x": invalid capability "help"`},
		{stanza(`capabilities = ["root"]`), `path "x": invalid capability "root"`},
		{stanza(`capabilities = [""]`), `path "x": invalid capability ""`},
		{stanza(`capability = ["read"]`), `path "x": invalid key "capability" on line 2`},
		{stanza(`mfa_methods = ["x"]`), `path "x": key "mfa_methods" on line 2 is not supported: it would not be enforced`},
		{stanza(`subscribe_event_types = ["*"]`), `path "x": key "subscribe_event_types" on line 2 is not supported: it would not be enforced`},
		{stanza(`comment = 1`), `path "x": comment: expected a string`},
		{stanza(`policy = ["read"]`), `path "x": policy: expected a string`},
		{stanza(`policy "read" {}`), `path "x": policy on line 2: takes no label`},
		{stanza("policy = \"read\"\npolicy = \"sudo\""), `The argument "policy" at 3:1 was already set. Each argument can only be defined once`},
		// The library compares names with their quotes.
		{stanza("policy = \"read\"\n\"policy\" = \"sudo\""), `path "x": The argument "policy" at 3:1 was already set. Each argument can only be defined once`},
		{stanza("denied_parameters { a = [] }\ndenied_parameters { b = [] }"), `path "x": The argument "denied_parameters" at 3:1 was already set. Each argument can only be defined once`},
		{stanza(`min_wrapping_ttl = "2m" max_wrapping_ttl = "1m"`), `path "x": max_wrapping_ttl cannot be less than min_wrapping_ttl`},
		{stanza(`min_wrapping_ttl = "soon"`), `path "x": min_wrapping_ttl: time: invalid duration "soon"`},
		{stanza(`max_wrapping_ttl = -1`), `path "x": max_wrapping_ttl: duration "-1" is negative`},
		{stanza(`max_wrapping_ttl = true`), `path "x": max_wrapping_ttl: expected a duration or a number of seconds`},
		{stanza(`max_wrapping_ttl = 99999999999999`), `path "x": max_wrapping_ttl: duration "99999999999999" is above a hundred years`},
		{stanza(`allowed_parameters = ["a"]`), `path "x": allowed_parameters: expected an object of lists`},
		{stanza(`allowed_parameters = { a = "b" }`), `path "x": allowed_parameters: parameter key "a": expected a list of strings, numbers and truth values; [] is any value`},
		{stanza(`denied_parameters = { a = [{ b = 1 }] }`), `path "x": denied_parameters: parameter key "a": expected a list of strings, numbers and truth values; [] is any value`},
		{stanza(`denied_parameters = { "a*" = [] }`), `path "x": denied_parameters: parameter key "a*" cannot contain non-tail wildcards`},
		{stanza(`denied_parameters = { "*" = ["x"] }`), `path "x": denied_parameters: parameter key "*" takes no values, only []`},
		{stanza(`denied_parameters = { "/a/b" = [] }`), `path "x": denied_parameters: parameter key "/a/b": pointers into nested values are not supported`},
		{stanza("denied_parameters = { a = []\n A = [] }"), `path "x": denied_parameters: The argument "A" at 3:2 was already set. Each argument can only be defined once`},
		{stanza(`required_parameters = ["*"]`), `path "x": required_parameters: parameter key "*": wildcard is not permitted here`},
		{stanza(`required_parameters = { a = [] }`), `path "x": required_parameters: expected a list of strings`},
		{"\npaths \"x\" {}", `invalid key "paths" on line 2`},
		{`PATH "x" {}`, `invalid key "PATH" on line 1`},
		{`path "x" "y" {}`, `path "x" on line 1: a path is one string`},
		{`path = "x"`, `path on line 1: expected an object`},
		{`name = 1`, `name: expected a string`},
		{`path "x" {`, `At 1:12: object expected closing RBRACE got: EOF`},
		{`path "x" { capabilities = ["read" }`, `At 1:35: error parsing list, expected comma or list end, got: RBRACE`},
		{`path "x { capabilities = ["read"] }`, `At 1:36: literal not terminated`},
		{`path "x" { max_wrapping_ttl = 9223372036854775808 }`, `At 1:31: the number is out of range`},
		{`path "x" { max_wrapping_ttl = 1e999 }`, `At 1:31: the number is out of range`},
		{`path "\777" {}`, `At 1:6: the string cannot be unquoted`},
		{"path \"x\x00\" {}", `At 1:8: unexpected null character (0x00)`},
		{"path \"\xff\" {}", `the policy is not UTF-8`},
		{`{"path": {"x": {"capabilities": ["fly"]}}}`, `path "x": invalid capability "fly"`},
		{`{"path": {"x": {"capabilities": ["read"]}, "x": {}}}`, `The argument "x" at 1:46 was already set. Each argument can only be defined once`},
		{"{\"path\": {\"x\": {\n\"policy\": \"read\",\n\"policy\": \"sudo\"}}}", `The argument "policy" at 3:8 was already set. Each argument can only be defined once`},
		{`{"path": {"x": {}}} path "y" {}`, `At 1:20: data after the end of the policy`},
		{`{"path": {"x": {}}`, `At 1:18: unexpected EOF`},
		{`{"path": {"x": null}}`, `path "x" on line 1: expected an object`},
		{`{"path": []}`, `path on line 1: expected an object`},
		{`{"path": {"x": {"max_wrapping_ttl": 1e999}}}`, `At 1:41: the number is out of range`},
		{`{"path": {"x": {"bogus": 1}}}`, `path "x": invalid key "bogus" on line 1`},
		{`path "x" { allowed_parameters = { a = ` + strings.Repeat("[", 5000) + ` } }`, `the policy is nested deeper than 16 levels`},
		{`{"path": ` + strings.Repeat(`{"a":`, 5000), `the policy is nested deeper than 16 levels`},
		{strings.Repeat(" ", MaxSize+1), `the policy has 524289 bytes, at most 524288 are read`},
	} {
		p, err := Parse("test", c.text)
		if err == nil {
			t.Errorf("taken: %.80s\n%+v", c.text, p.rules)
			continue
		}
		if got := err.Error(); got != "failed to parse policy: "+c.want {
			t.Errorf("%.80s\ngot  %s\nwant failed to parse policy: %s", c.text, got, c.want)
		}
	}
}

// A message quotes the text at fault, but not half a megabyte of it.
func TestMessagesAreBounded(t *testing.T) {
	t.Parallel()
	_, err := Parse("test", `path "`+strings.Repeat("é", 1000)+`" { policy = "x" }`)
	if err == nil || len(err.Error()) > 600 || !utf8.ValidString(err.Error()) || !strings.HasSuffix(err.Error(), "…") {
		t.Errorf("%v", err)
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]pattern{
		"a/b":      {text: "a/b", body: "a/b", first: 3},
		"/a/b":     {text: "a/b", body: "a/b", first: 3},
		"a/":       {text: "a/", body: "a/", first: 2},
		"*":        {text: "*", glob: true},
		"a/b*":     {text: "a/b*", body: "a/b", glob: true, first: 3},
		"a/*":      {text: "a/*", body: "a/", glob: true, first: 2},
		"a/..*":    {text: "a/..*", body: "a/..", glob: true, first: 4},
		"+":        {text: "+", body: "+", plus: 1},
		"a/+/+/b*": {text: "a/+/+/b*", body: "a/+/+/b", glob: true, first: 2, plus: 2},
		"+/a/":     {text: "+/a/", body: "+/a/", plus: 1},
	} {
		if got, err := parsePattern(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"":                       "the path is empty",
		"/":                      "the path is empty",
		"//a":                    "the path has an empty segment, which no request has",
		"a//b":                   "the path has an empty segment, which no request has",
		"a//*":                   "the path has an empty segment, which no request has",
		"a/./b":                  `the path has a segment ".", which no request has`,
		"a/..":                   `the path has a segment "..", which no request has`,
		"a*b":                    "invalid use of wildcards ('*' stands only at the end)",
		"a/**":                   "invalid use of wildcards ('*' stands only at the end)",
		"a/*/b":                  "invalid use of wildcards ('*' stands only at the end)",
		"a/+*":                   "invalid use of wildcards ('+*' is forbidden)",
		"+*":                     "invalid use of wildcards ('+*' is forbidden)",
		"a/+b":                   "invalid use of wildcards ('+' stands only for a whole segment)",
		"a/b+/c":                 "invalid use of wildcards ('+' stands only for a whole segment)",
		"a/++":                   "invalid use of wildcards ('+' stands only for a whole segment)",
		"a/\x00":                 "the path has a control character or a backslash, which no request has",
		`a\b`:                    "the path has a control character or a backslash, which no request has",
		"a/{{x}}/*":              "templated paths are not supported: there are no identities to fill them in from",
		"{{identity.entity.id}}": "templated paths are not supported: there are no identities to fill them in from",
	} {
		if got, err := parsePattern(text); err == nil || err.Error() != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func TestName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"App-ReadOnly": "app-readonly", "default": "default", "team/a": "team/a", "größe 1": "größe 1"} {
		if got, err := Name(name); err != nil || got != want {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{
		"", "root", "ROOT", "Response-Wrapping", " a", "a\n", "a\x00b", "a,root", `a\b`, "\xff", "a\u202eb", "a\u200b", strings.Repeat("a", 257),
	} {
		if got, err := Name(name); err == nil {
			t.Errorf("taken: %q as %q", name, got)
		}
		if p, err := Parse(name, ""); err == nil || p != nil {
			t.Errorf("parsed: %q", name)
		}
	}
}

func TestDefault(t *testing.T) {
	t.Parallel()
	p, err := Parse(DefaultName, DefaultText)
	if err != nil {
		t.Fatal(err)
	}
	a := New(p)
	for path, op := range map[string]Operation{
		"auth/token/lookup-self": Read, "auth/token/renew-self": Update, "auth/token/revoke-self": Update,
		"sys/capabilities-self": Update, "sys/wrapping/unwrap": Update,
	} {
		if d := a.Allows(Request{Path: path, Operation: op}); !d.Allowed {
			t.Errorf("%s %s: %s", op, path, d.Explain())
		}
	}
	for path, op := range map[string]Operation{
		"auth/token/lookup": Update, "auth/token/create": Update, "sys/leases/revoke-prefix/x": Update, "sys/leases/revoke-force/x": Update,
		"sys/leases/lookup/": List, "sys/leases/lookup": Update, "sys/leases/renew": Update, "sys/leases/revoke": Update,
		"sys/leases/renew/database/creds/x/y": Update, "sys/capabilities": Update, "sys/policies/acl/default": Read, "database/creds/x": Read,
	} {
		if d := a.Allows(Request{Path: path, Operation: op}); d.Allowed || d.Sudo {
			t.Errorf("%s %s: %s", op, path, d.Explain())
		}
	}
}

// Law: every text becomes a policy or an error for a person, and what became a
// policy answers any path; never a panic.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		DefaultText, `path "x" { capabilities = ["fly"] }`, `{"path": {"a/+/b*": {"policy": "write", "denied_parameters": {"x": [1, "a*"]}}}}`,
		"path \"a\" {\n comment = <<-EOT\n  x\n  EOT\n}\n", "<<E\n\nE\n", `path "${a{b}}" {}`, `path "\x4" {}`, "a = 08", "a = 0x", "a = .5e", "[[[[", "path \"\uE123\" {}", "{\"a\":[1,]}",
	} {
		f.Add(seed, "a/b/c")
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		p, err := Parse("fuzz", text)
		if err != nil {
			m := err.Error()
			if p != nil || !strings.HasPrefix(m, "failed to parse policy: ") || len(m) > 600 || !utf8.ValidString(m) {
				t.Fatalf("%q: %v %q", text, p, m)
			}
			return
		}
		for _, r := range p.rules {
			if again, err := parsePattern(r.text); err != nil || again != r.pattern {
				t.Fatalf("%q: pattern %+v, %+v, %v", text, r.pattern, again, err)
			}
		}
		a := New(p, p)
		for _, op := range []Operation{Read, List, Help, "", "sudo", "deny"} {
			d := a.Allows(Request{Path: path, Operation: op, Parameters: map[string]any{"x": "a", "Y": json.Number("1")}})
			if d.Allowed != (d.Missing == nil) || d.Explain() == "" {
				t.Fatalf("%q %q: %+v", text, path, d)
			}
			if d.Allowed && op.needs() == 0 && op != Help {
				t.Fatalf("%q %q: %q is allowed", text, path, op)
			}
		}
		if len(a.Capabilities(path)) == 0 {
			t.Fatalf("%q %q: no capabilities", text, path)
		}
	})
}
