package policy

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// fifty gives 50 policies of 50 paths: 40 % exact, 40 % with a * at the end,
// 20 % with a + (half of them with a * too).
func fifty(tb testing.TB) []*Policy {
	tb.Helper()
	var out []*Policy
	for p := range 50 {
		var text strings.Builder
		for i := range 50 {
			path := fmt.Sprintf("team-%d/database/creds/role-%d", p, i)
			switch i % 10 {
			case 0, 1, 2, 3:
				path += "/*"
			case 4:
				path = fmt.Sprintf("team-%d/+/creds/role-%d", p, i)
			case 5:
				path = fmt.Sprintf("+/database-%d/+/role-%d-*", p, i)
			}
			fmt.Fprintf(&text, "path %q {\n  capabilities = [\"read\", \"update\", \"list\"]\n  denied_parameters = { \"ttl\" = [\"0\"] }\n}\n", path)
		}
		out = append(out, named(tb, fmt.Sprintf("policy-%d", p), text.String()))
	}
	return out
}

func BenchmarkAllows(b *testing.B) {
	a := New(fifty(b)...)
	data := map[string]any{"ttl": json.Number("60"), "name": "x"}
	for _, c := range []struct {
		name string
		r    Request
		rule string
	}{
		{"exact", Request{Path: "team-7/database/creds/role-9", Operation: Read}, "team-7/database/creds/role-9"},
		{"parameters", Request{Path: "team-7/database/creds/role-9", Operation: Update, Parameters: data}, "team-7/database/creds/role-9"},
		{"glob", Request{Path: "team-33/database/creds/role-12/a/b", Operation: Read}, "team-33/database/creds/role-12/*"},
		{"plus", Request{Path: "team-33/anything/creds/role-14", Operation: Read}, "team-33/+/creds/role-14"},
		{"plus and glob", Request{Path: "somebody/database-9/creds/role-25-x/y", Operation: Read}, "+/database-9/+/role-25-*"},
		{"list", Request{Path: "team-33/database/creds/role-12", Operation: List}, "team-33/database/creds/role-12/*"},
		{"none", Request{Path: "team-33/database/config/role-12", Operation: Read}, ""},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d := a.Allows(c.r); d.Rule != c.rule || d.Allowed != (c.rule != "") {
					b.Fatal(d.Explain())
				}
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	policies := fifty(b)
	b.ReportAllocs()
	for b.Loop() {
		New(policies...)
	}
}

func BenchmarkParse(b *testing.B) {
	text := fifty(b)[0].Text
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Parse("p", text); err != nil {
			b.Fatal(err)
		}
	}
}

// An allowed request costs no allocation.
func TestAllocations(t *testing.T) {
	a := New(fifty(t)...)
	data := map[string]any{"ttl": json.Number("60"), "name": "x"}
	for _, path := range []string{"team-7/database/creds/role-9", "team-33/database/creds/role-12/a/b", "somebody/database-9/creds/role-25-x/y"} {
		r := Request{Path: path, Operation: Update, Parameters: data}
		if n := testing.AllocsPerRun(100, func() {
			if !a.Allows(r).Allowed {
				t.Fatal("refused")
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}
