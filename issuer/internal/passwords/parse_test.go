package passwords

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/password"
)

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"length = 20\nrule \"charset\" {\n charset = \"abc\"\n min-chars = 1\n}",
		`{"length":20,"rule":[{"charset":{"charset":"abc","min-chars":1}}]}`,
		"rule {\n charset {\n charset = \"abc\"\n }\n}\nlength = 0x14", "a = [[[", "length = <<X\n5\nX\n", `rule "charset" "x" { }`,
		"\"\\", "{", `rule "charset" { charset = "\x" }`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parse(text)
		if err != nil {
			return
		}
		if p.Text != text {
			t.Fatalf("%q is kept as %q", text, p.Text)
		}
		if p.Check() != nil {
			return
		}
		b, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := password.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		got, err := again.Generate(rand.Reader)
		if err != nil || len([]rune(got)) != p.Length {
			t.Fatalf("%q gives %q, %v", text, got, err)
		}
	})
}

// Both ways of writing, and both of writing blocks, mean the same.
func TestParseForms(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"length = 20\nrule \"charset\" {\n charset = \"abc\"\n min-chars = 1\n}\nrule \"charset\" {\n charset = \"de\"\n}",
		"length = 20\r\nrule {\r\n charset {\r\n charset = \"abc\"\r\n min-chars = 1\r\n}\r\n}\r\nrule \"charset\" {\r\n charset = \"de\"\r\n}",
		`{"length":20,"rule":[{"charset":{"charset":"abc","min-chars":1}},{"charset":[{"charset":"de"}]}]}`,
		`{"length":20,"rule":{"charset":[{"charset":"abc","min-chars":1},{"charset":"de"}]}, "comment": true}`,
	} {
		p, err := parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if p.Length != 20 || len(p.Rules) != 2 || p.Rules[0] != (password.Rule{Charset: "abc", Min: 1}) || p.Rules[1] != (password.Rule{Charset: "de"}) {
			t.Errorf("%s is %+v", text, p)
		}
	}
	if _, err := parse(strings.Repeat(" ", maxText+1)); err == nil {
		t.Error("a long text is read")
	}
}
