package policy

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func named(tb testing.TB, name, text string) *Policy {
	tb.Helper()
	p, err := Parse(name, text)
	if err != nil {
		tb.Fatalf("%v\n%s", err, text)
	}
	return p
}

// The examples of the documentation of stock servers.
func TestDocumented(t *testing.T) {
	t.Parallel()
	type ask struct {
		op    Operation
		path  string
		data  map[string]any
		allow bool
	}
	one := func(key string, value any) map[string]any { return map[string]any{key: value} }
	for name, c := range map[string]struct {
		text string
		asks []ask
	}{
		"exact": {`path "secret/foo" { capabilities = ["read"] }`, []ask{
			{Read, "secret/foo", nil, true},
			{Read, "/secret/foo", nil, true},
			{Update, "secret/foo", nil, false},
			{Delete, "secret/foo", nil, false},
			{Read, "secret/food", nil, false},
			{Read, "secret/foo/bar", nil, false},
			{Read, "Secret/foo", nil, false},
		}},
		"deny inside of a glob": {
			`path "secret/*" { capabilities = ["create", "read", "update", "patch", "delete", "list"] }
			 path "secret/super-secret" { capabilities = ["deny"] }`, []ask{
				{Read, "secret/a", nil, true},
				{Patch, "secret/a/b", nil, true},
				{List, "secret", nil, true},
				{Read, "secret/super-secret", nil, false},
				{List, "secret/super-secret", nil, false},
				{Read, "secret/super-secrets", nil, true},
			},
		},
		"glob of a folder": {`path "secret/bar/*" { capabilities = ["read"] }`, []ask{
			{Read, "secret/bar/zip", nil, true},
			{Read, "secret/bar/zip/zap", nil, true},
			{Read, "secret/bars/zip", nil, false},
			{Read, "secret/bar", nil, false},
		}},
		"glob of a beginning": {`path "secret/zip-*" { capabilities = ["read"] }`, []ask{
			{Read, "secret/zip-zap", nil, true},
			{Read, "secret/zip-zap/zong", nil, true},
			{Read, "secret/zip/zap", nil, false},
		}},
		"segments": {`path "secret/+/teamb" { capabilities = ["read"] }
			path "secret/+/+/teamb" { capabilities = ["list"] }`, []ask{
			{Read, "secret/foo/teamb", nil, true},
			{Read, "secret/foo/bar/teamb", nil, false},
			{List, "secret/foo/bar/teamb", nil, true},
			{Read, "secret/teamb", nil, false},
			{Read, "secret/foo/teamb/x", nil, false},
			{Read, "secret/foo/teambs", nil, false},
		}},
		"rule 3 of the priorities": {`path "secret/*" { capabilities = ["read"] }
			path "secret/+/+/foo/*" { capabilities = ["deny"] }`, []ask{
			{Read, "secret/a/b/foo/c", nil, true},
		}},
		"a list sees rules with and without its slash": {`path "a" { capabilities = ["list"] }
			path "b/" { capabilities = ["list"] }
			path "+/c" { capabilities = ["list"] }
			path "+/d/" { capabilities = ["list"] }
			path "e/+" { capabilities = ["list"] }`, []ask{
			{List, "a", nil, true},
			{List, "a/", nil, true},
			{List, "b", nil, true},
			{List, "b/", nil, true},
			{List, "x/c", nil, true},
			{List, "x/c/", nil, true},
			{List, "x/d", nil, true},
			{List, "e", nil, true},
			{List, "e/f", nil, true},
			{List, "e/f/g", nil, false},
			{Read, "b", nil, false},
		}},
		"a list is denied by what denies all below": {`path "a/*" { capabilities = ["list"] }
			path "a/b/*" { capabilities = ["deny"] }`, []ask{
			{List, "a", nil, true}, {List, "a/b", nil, false}, {List, "a/c", nil, true},
		}},
		"allowed": {`path "secret/restricted" {
				capabilities = ["create", "list", "delete"]
				allowed_parameters = { "foo" = [] "bar" = ["zip", "zap"] }
			}`, []ask{
			{Create, "secret/restricted", one("foo", "any"), true},
			{Create, "secret/restricted", one("FOO", []any{1}), true},
			{Create, "secret/restricted", one("bar", "zap"), true},
			{Create, "secret/restricted", one("bar", "zop"), false},
			{Create, "secret/restricted", one("bar", []any{"zip"}), false},
			{Create, "secret/restricted", one("baz", "zip"), false},
			{Create, "secret/restricted", one("*", "zip"), false},
			{Create, "secret/restricted", nil, true},
			{Delete, "secret/restricted", one("baz", "zip"), true}, // not looked at
		}},
		"allowed with the rest": {`path "secret/foo" {
				capabilities = ["create"]
				allowed_parameters = { "bar" = ["zip", "zap"] "*" = [] }
			}`, []ask{
			{Create, "secret/foo", one("bar", "zip"), true},
			{Create, "secret/foo", one("bar", "x"), false},
			{Create, "secret/foo", one("else", "x"), true},
			{Create, "secret/foo", one("*", "x"), true},
		}},
		"denied": {`path "auth/token/roles/*" {
				capabilities = ["create", "update"]
				denied_parameters = { "allowed_policies" = ["admin"] "orphan" = [] }
			}`, []ask{
			{Update, "auth/token/roles/a", one("allowed_policies", "admin"), false},
			{Update, "auth/token/roles/a", one("Allowed_Policies", "admin"), false},
			{Update, "auth/token/roles/a", one("allowed_policies", []any{"app", "admin"}), false},
			{Update, "auth/token/roles/a", one("allowed_policies", []string{"app", "admin"}), false},
			{Update, "auth/token/roles/a", one("allowed_policies", []any{"app"}), true},
			{Update, "auth/token/roles/a", one("orphan", nil), false},
			{Update, "auth/token/roles/a", one("else", "admin"), true},
		}},
		"all denied": {`path "transit/keys/*" {
				capabilities = ["create", "update"]
				denied_parameters = { "*" = [] }
				allowed_parameters = { "a" = [] }
			}`, []ask{
			{Update, "transit/keys/a", one("a", 1), false},
			{Update, "transit/keys/a", nil, true},
			{Update, "transit/keys/a", map[string]any{}, true},
		}},
		"denied before allowed": {`path "a" { capabilities = ["update"]
				allowed_parameters = { "x" = [] "y" = [] }
				denied_parameters = { "x" = ["1"] } }`, []ask{
			{Update, "a", one("x", "2"), true}, {Update, "a", one("x", "1"), false}, {Update, "a", one("y", "1"), true},
		}},
		"required": {`path "secret/profile" { capabilities = ["create", "read", "list"] required_parameters = ["Name", "id"] }`, []ask{
			{Create, "secret/profile", map[string]any{"name": "a", "id": nil}, true},
			{Create, "secret/profile", map[string]any{"NAME": "a", "id": "b"}, false},
			{Create, "secret/profile", one("name", "a"), false},
			{Create, "secret/profile", nil, false},
			{Read, "secret/profile", nil, false},
			{List, "secret/profile", nil, true},
		}},
		"required because of its default": {`path "secret/foo" { capabilities = ["create"]
				required_parameters = ["no_store"]
				denied_parameters = { "no_store" = [false, "false"] } }`, []ask{
			{Create, "secret/foo", one("value", "bar"), false},
			{Create, "secret/foo", one("no_store", false), false},
			{Create, "secret/foo", one("no_store", "false"), false},
			{Create, "secret/foo", one("no_store", true), true},
		}},
		"globs of values": {`path "secret/foo" { capabilities = ["create"]
				allowed_parameters = { "front" = ["foo-*"] "back" = ["*-foo"] "both" = ["*foo*"] "all" = ["*"] "number" = ["5*"] "in" = [["a*"]] } }`, []ask{
			{Create, "secret/foo", one("front", "foo-a"), true},
			{Create, "secret/foo", one("front", "a-foo-"), false},
			{Create, "secret/foo", one("back", "a-foo"), true},
			{Create, "secret/foo", one("back", "-foo-"), false},
			{Create, "secret/foo", one("both", "xfoox"), true},
			{Create, "secret/foo", one("both", "fo"), false},
			{Create, "secret/foo", one("all", ""), true},
			{Create, "secret/foo", one("all", true), false},
			{Create, "secret/foo", one("number", json.Number("55")), false},
			{Create, "secret/foo", one("in", []any{"a*"}), true},
			{Create, "secret/foo", one("in", []any{"ab"}), false},
			{Create, "secret/foo", one("in", []string{"a*"}), true},
			{Create, "secret/foo", one("in", "a*"), false},
		}},
		"numbers": {`path "a" { capabilities = ["create"] denied_parameters = { "n" = [5, 2.5, 9007199254740993] } }`, []ask{
			{Create, "a", one("n", json.Number("5")), false},
			{Create, "a", one("n", json.Number("5.0")), false},
			{Create, "a", one("n", json.Number("50e-1")), false},
			{Create, "a", one("n", 5.0), false},
			{Create, "a", one("n", 5), false},
			{Create, "a", one("n", json.Number("2.50")), false},
			{Create, "a", one("n", json.Number("6")), true},
			{Create, "a", one("n", json.Number("1e999999999")), true},
			{Create, "a", one("n", "5"), true},
			{Create, "a", one("n", json.Number("9007199254740992")), true},
			{Create, "a", one("n", json.Number("9007199254740993")), false},
			{Create, "a", one("n", nil), true},
			{Create, "a", one("n", map[string]any{}), true},
		}},
		"other operations": {`path "*" { capabilities = ["create", "read", "update", "patch", "delete", "list", "sudo", "subscribe"] }`, []ask{
			{Subscribe, "a", nil, true},
			{Help, "a", nil, true},
			{"", "a", nil, false},
			{"sudo", "a", nil, false},
			{"deny", "a", nil, false},
			{"Read", "a", nil, false},
			{"root", "a", nil, false},
			{Read, "", nil, true},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := New(parsed(t, c.text))
			for _, ask := range c.asks {
				d := a.Allows(Request{Path: ask.path, Operation: ask.op, Parameters: ask.data})
				if d.Allowed != ask.allow {
					t.Errorf("%s %s %v: %s", ask.op, ask.path, ask.data, d.Explain())
				}
			}
		})
	}
}

func TestSudoAndWrapping(t *testing.T) {
	t.Parallel()
	a := New(
		named(t, "a", `path "sys/audit" { capabilities = ["read"] } path "sys/raw" { capabilities = ["read", "sudo"] }
			path "wrap" { capabilities = ["read"] min_wrapping_ttl = "1m" max_wrapping_ttl = "1h" }
			path "short" { capabilities = ["read"] max_wrapping_ttl = "10s" } path "long" { capabilities = ["read"] min_wrapping_ttl = "1h" }`),
		named(t, "b", `path "wrap" { min_wrapping_ttl = "1s" max_wrapping_ttl = "90s" } path "long" { max_wrapping_ttl = "1m" }`),
	)
	for _, c := range []struct {
		path  string
		sudo  bool
		wrap  time.Duration
		allow bool
	}{
		{"sys/audit", true, 0, false},
		{"sys/audit", false, 0, true},
		{"sys/raw", true, 0, true},
		{"sys/audit", false, time.Hour, true},
		{"wrap", false, 0, false},
		{"wrap", false, -1, false},
		{"wrap", false, 500 * time.Millisecond, false},
		{"wrap", false, time.Second, true},
		{"wrap", false, 90 * time.Second, true},
		{"wrap", false, 91 * time.Second, false},
		{"short", false, 0, false},
		{"short", false, time.Second, true},
		{"short", false, time.Minute, false},
		{"long", false, time.Minute, false},
		{"long", false, time.Hour, false},
		{"long", false, 30 * time.Minute, false},
	} {
		d := a.Allows(Request{Path: c.path, Operation: Read, Sudo: c.sudo, WrapTTL: c.wrap})
		if d.Allowed != c.allow {
			t.Errorf("%+v: %s", c, d.Explain())
		}
	}
	if !a.Allows(Request{Path: "sys/raw", Operation: Read}).Sudo || a.Allows(Request{Path: "sys/audit", Operation: Read}).Sudo {
		t.Error("sudo is not told")
	}
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	a := New(
		named(t, "a", `path "a" { policy = "sudo" } path "b/*" { capabilities = ["subscribe", "patch"] } path "c" {} path "d/" { capabilities = ["list"] }`),
		named(t, "b", `path "b/*" { capabilities = ["read"] } path "e" { capabilities = ["read", "deny"] }`),
	)
	for path, want := range map[string][]string{
		"a":      {"create", "delete", "list", "read", "sudo", "update"},
		"/a":     {"create", "delete", "list", "read", "sudo", "update"},
		"a/":     {"create", "delete", "list", "read", "sudo", "update"},
		"b/x":    {"patch", "read", "subscribe"},
		"b":      {"deny"},
		"c":      {"deny"},
		"d":      {"deny"},
		"d/":     {"list"},
		"e":      {"deny"},
		"nobody": {"deny"},
		"":       {"deny"},
	} {
		if got := a.Capabilities(path); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", path, got, want)
		}
	}
	if got := New(parsed(t, ""), Root()).Capabilities("x"); !slices.Equal(got, []string{"root"}) {
		t.Errorf("root: %v", got)
	}
	if got := New(nil).Capabilities("x"); !slices.Equal(got, []string{"deny"}) {
		t.Errorf("none: %v", got)
	}
}

func TestRoot(t *testing.T) {
	t.Parallel()
	a := New(named(t, "a", `path "*" { capabilities = ["deny"] }`), Root())
	d := a.Allows(Request{Path: "sys/raw", Operation: Delete, Sudo: true})
	if !d.Allowed || !d.Root || !d.Sudo || d.Explain() != "allowed by policy root" || !slices.Equal(d.Policies, []string{"root"}) {
		t.Errorf("%+v", d)
	}
	// A policy is root by how it came to be, not by its name.
	if New(&Policy{Name: RootName}).Allows(Request{Path: "a", Operation: Read}).Allowed {
		t.Error("a policy is root by its name")
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	a := New(
		named(t, "reader", `path "db/creds/*" { capabilities = ["read", "update"] allowed_parameters = { "a" = ["x"] } }`),
		named(t, "guard", `path "db/creds/*" { required_parameters = ["why"] denied_parameters = { "b" = [] } min_wrapping_ttl = "1m" }
			path "db/creds/prod" { capabilities = ["deny"] }`),
		named(t, "prod", `path "db/creds/prod" { capabilities = ["read"] }`),
	)
	const creds = `by path "db/creds/*" of guard, reader`
	for _, c := range []struct {
		r    Request
		want string
	}{
		{Request{Path: "db/roles/x", Operation: Read}, "denied\nno policy of the token has a rule for this path"},
		{Request{Path: "db/creds/prod", Operation: Read}, `denied by path "db/creds/prod" of guard` + "\nthe rule denies everything"},
		{Request{Path: "db/creds/x", Operation: Help}, "allowed to every token"},
		{Request{Path: "db/creds/x", Operation: "guess"}, "denied " + creds + "\nthere is no capability for such an operation"},
		{
			Request{Path: "db/creds/x", Operation: Delete, Sudo: true},
			"denied " + creds + "\ncapability \"delete\" is missing\ncapability \"sudo\" is missing\nthe answer must be wrapped, for 1m0s or longer",
		},
		{
			Request{Path: "db/creds/x", Operation: Read, WrapTTL: time.Second, Parameters: map[string]any{"c": "hush", "B": "hush", "a": "hush"}},
			"denied " + creds + "\nthe wrapping TTL must be 1m0s or longer\nparameter \"why\" is required\n" +
				"parameter \"B\" is denied, or its value is\nthe value of parameter \"a\" is not among the allowed ones\nparameter \"c\" is not among the allowed ones",
		},
	} {
		if got := a.Allows(c.r).Explain(); got != c.want {
			t.Errorf("%+v\ngot  %q\nwant %q", c.r, got, c.want)
		}
	}
	// Of those that have the rule only one gives the capability.
	d := a.Allows(Request{Path: "db/creds/x", Operation: Read, WrapTTL: time.Hour, Parameters: map[string]any{"why": "x"}})
	if d.Allowed || !slices.Equal(d.Policies, []string{"guard", "reader"}) {
		t.Errorf("%+v", d) // "why" is not among the allowed ones
	}
	a = New(named(t, "w", `path "x" { capabilities = ["update"] }`), named(t, "r", `path "x" { capabilities = ["read"] }`))
	if d := a.Allows(Request{Path: "x", Operation: Read}); !slices.Equal(d.Policies, []string{"r"}) || d.Explain() != `allowed by path "x" of r` {
		t.Errorf("%+v", d)
	}
	for m, want := range map[Missing]string{
		{Kind: WrapTTL, Min: time.Second, Max: time.Minute}: "the wrapping TTL must be 1s to 1m0s",
		{Kind: NotWrapped, Max: time.Minute}:                "the answer must be wrapped, for 1m0s or shorter",
		{Kind: WrapTTL, Min: time.Hour, Max: time.Minute}:   "the wrapping TTL must be 1h0m0s or longer and 1m0s or shorter, which policies ask for together and nothing is",
	} {
		if got := m.String(); got != want {
			t.Errorf("%+v: %q", m, got)
		}
	}
}

// Building ACLs from the same policies, and asking them, changes neither.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	one := named(t, "one", `path "a/*" { capabilities = ["update"] allowed_parameters = { "x" = ["1"] } required_parameters = ["x"] }`)
	two := named(t, "two", `path "a/*" { capabilities = ["read"] allowed_parameters = { "x" = ["2"] "y" = [] } required_parameters = ["y"] }`)
	before := fmt.Sprintf("%#v %#v", one.rules, two.rules)
	alone, both := New(two), New(one, two)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				if !New(two, one).Allows(Request{Path: "a/b", Operation: Update, Parameters: map[string]any{"x": "1", "y": 1}}).Allowed {
					t.Error("joined: refused")
				}
				if !both.Allows(Request{Path: "a/b", Operation: Read, Parameters: map[string]any{"x": "2", "y": 1}}).Allowed {
					t.Error("shared: refused")
				}
				if alone.Allows(Request{Path: "a/b", Operation: Read, Parameters: map[string]any{"x": "1", "y": 1}}).Allowed {
					t.Error("alone: has the values of another policy")
				}
			}
		})
	}
	group.Wait()
	if after := fmt.Sprintf("%#v %#v", one.rules, two.rules); after != before {
		t.Errorf("policies changed\n%s\n%s", before, after)
	}
}

// Patterns and paths that a careless index is slow or wrong with.
func TestHostile(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 200 {
		fmt.Fprintf(&text, "path %q { capabilities = [\"read\"] }\n", strings.Repeat("a/", i)+"*")
		fmt.Fprintf(&text, "path %q { capabilities = [\"update\"] }\n", strings.Repeat("+/", i+1)+"a")
	}
	for mask := range 256 { // all patterns of a and + with eight segments
		segments := make([]string, 8)
		for i := range segments {
			segments[i] = "a"
			if mask>>i&1 == 1 {
				segments[i] = "+"
			}
		}
		fmt.Fprintf(&text, "path %q { capabilities = [\"list\"] }\n", strings.Join(segments, "/"))
	}
	a := New(parsed(t, text.String()))
	for path, want := range map[string]string{
		strings.Repeat("a/", 100) + "b":  strings.Repeat("a/", 100) + "*",
		strings.Repeat("a/", 1<<16):      strings.Repeat("a/", 199) + "*",
		"a/a/a/a/a/a/a/a":                "a/a/a/a/a/a/a/a",
		"a/a/a/a/b/a/a/a":                "a/a/a/a/+/a/a/a",
		"a/b/a/b/a/b/a/b":                "a/+/a/+/a/+/a/+",
		"b/b/b/b/b/b/b/b":                "+/+/+/+/+/+/+/+",
		"b/b/a":                          "+/+/a",
		"b/b/b":                          "*",
		"":                               "*",
		strings.Repeat("/", 1000):        "*",
		strings.Repeat("x", 1<<20):       "*",
		"a/\x00/\xff" + "a":              "a/*",
		strings.Repeat("b/", 150) + "a":  strings.Repeat("+/", 150) + "a",
		strings.Repeat("b/", 3000) + "a": "*",
	} {
		if d := a.Allows(Request{Path: path, Operation: Read}); d.Rule != want {
			t.Errorf("%.40q: %.80q, want %.80q", path, d.Rule, want)
		}
	}
}

func TestDecisionIsDeterministic(t *testing.T) {
	t.Parallel()
	data := map[string]any{}
	for i := range 50 {
		data[fmt.Sprint("p", i)] = i
	}
	a := New(parsed(t, `path "a" { capabilities = ["read"] allowed_parameters = { "x" = [] } }`))
	first := a.Allows(Request{Path: "a", Operation: Read, Parameters: data})
	for range 20 {
		if d := a.Allows(Request{Path: "a", Operation: Read, Parameters: data}); !reflect.DeepEqual(d, first) {
			t.Fatalf("%+v\n%+v", d, first)
		}
	}
}

// For each documented rule of priority two patterns that only it tells apart;
// the second decides.
func TestPriorityByRule(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ rule, lower, higher, path string }{
		{"exact", "a/b*", "a/b", "a/b"},
		{"exact", "a/+", "a/b", "a/b"},
		{"1", "+/b/c", "a/+/c", "a/b/c"},
		{"1", "a/*", "a/b/*", "a/b/c"},
		{"1", "a/+/c", "a/b*", "a/b/c"},
		{"2", "a/*", "a/+", "a/b"},
		{"2", "a/+/*", "a/+/+", "a/b/c"},
		{"3", "secret/+/+/foo/*", "secret/*", "secret/a/b/foo/c"},
		{"3", "a/+/+/d", "a/+/c/d", "a/b/c/d"},
		{"4", "a/+/c*", "a/+/cd*", "a/b/cde"},
		{"5", "a/+/+/b", "a/+/b/+", "a/x/b/b"},
	} {
		for _, order := range [][]string{{c.lower, c.higher}, {c.higher, c.lower}} {
			text := fmt.Sprintf("path %q { policy = \"read\" }\npath %q { policy = \"read\" }", order[0], order[1])
			if d := New(parsed(t, text)).Allows(Request{Path: c.path, Operation: Read}); d.Rule != c.higher {
				t.Errorf("rule %s: %q decides %q before %q", c.rule, d.Rule, c.path, c.higher)
			}
		}
	}
}

// Rules of one pattern in several policies, joined.
func TestJoined(t *testing.T) {
	t.Parallel()
	rule := func(name, inside string) *Policy {
		return named(t, name, `{"path": {"a": {"capabilities": ["read"], `+inside+`}}}`)
	}
	// Lists of three have room for a fourth, which must not become shared.
	some := rule("some", `"allowed_parameters": {"x": ["1", "2", "3"]}`)
	more := rule("more", `"allowed_parameters": {"x": ["4"], "y": []}`)
	other := rule("other", `"allowed_parameters": {"x": ["5"]}`)
	any1 := rule("any", `"allowed_parameters": {"x": []}`)
	rest := rule("rest", `"allowed_parameters": {"*": []}`)
	never := rule("never", `"denied_parameters": {"x": ["1"]}`)
	nothing := rule("nothing", `"denied_parameters": {"x": []}`)
	needs := rule("needs", `"required_parameters": ["z"]`)
	plain := rule("plain", `"comment": ""`)
	type policies = []*Policy
	asks := []struct {
		of    policies
		data  map[string]any
		allow bool
	}{
		{policies{some, more}, map[string]any{"x": "4", "y": 1}, true},
		{policies{some, more}, map[string]any{"x": "1"}, true},
		{policies{some, more}, map[string]any{"x": "5"}, false},
		{policies{some, other}, map[string]any{"x": "5"}, true},
		{policies{some, other}, map[string]any{"x": "4"}, false},
		{policies{some, other}, map[string]any{"y": "4"}, false},
		{policies{some, any1}, map[string]any{"x": "9"}, true},
		{policies{any1, some}, map[string]any{"x": "9"}, true},
		{policies{some, any1, more}, map[string]any{"x": "9"}, true},
		{policies{some, rest}, map[string]any{"x": "9"}, false},
		{policies{some, rest}, map[string]any{"w": "9"}, true},
		{policies{some, never}, map[string]any{"x": "1"}, false},
		{policies{some, never}, map[string]any{"x": "2"}, true},
		{policies{never, nothing}, map[string]any{"x": "2"}, false},
		{policies{nothing, never}, map[string]any{"x": "2"}, false},
		{policies{some, needs}, map[string]any{"x": "2"}, false},
		{policies{plain, needs}, map[string]any{"z": "2"}, true},
		{policies{plain, needs}, nil, false},
		// A policy without conditions does not lift those of another.
		{policies{plain, some}, map[string]any{"x": "9"}, false},
	}
	var acls []*ACL
	for _, ask := range asks {
		acls = append(acls, New(ask.of...)) // all of them before the first is asked
	}
	for i, ask := range asks {
		if d := acls[i].Allows(Request{Path: "a", Operation: Read, Parameters: ask.data}); d.Allowed != ask.allow {
			t.Errorf("%d, %v: %s", i, ask.data, d.Explain())
		}
	}
}
