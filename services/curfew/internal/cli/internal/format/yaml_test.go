package format_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/services/curfew/internal/cli/internal/format"
)

func TestYAML(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"b":1,"a":{"y":true,"x":[]},"l":[{"n":"1","m":null},[1,["x"]],{}],"s":"a: b","t":"no","d":"database/creds/a"}`: "" +
			"a:\n  x: []\n  \"y\": true\nb: 1\nd: database/creds/a\nl:\n- m: null\n  \"n\": \"1\"\n- - 1\n  - - x\n- {}\ns: \"a: b\"\nt: \"no\"\n",
		`[]`: "[]\n", `{}`: "{}\n", `"x"`: "x\n", `null`: "null\n", `["a\nb"]`: "- \"a\\nb\"\n", `{"k":[1]}`: "k:\n- 1\n",
	} {
		got, err := format.YAML(json.RawMessage(in))
		if err != nil || got != want {
			t.Errorf("%s:\n%s, want\n%s (%v)", in, got, want, err)
		}
	}
	if _, err := format.YAML(func() {}); err == nil {
		t.Error("a function was laid out")
	}
}

// Law: a YAML parser reads back what the JSON says.
func TestYAMLReadsBack(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		"yes", "null", "~", "1e3", "0x1f", "a: b", "- a", "#", "a #b", "2026-11-22", "12:30", ".inf", "%x", "@a", "`", "\u0085", "\u2028", "\ufeff", "", " a", "a ", "a  b", "---", "...", "?", "<<",
	}))
	var values *rapid.Generator[any]
	values = rapid.Deferred(func() *rapid.Generator[any] {
		return rapid.OneOf(
			rapid.Just[any](nil), rapid.Map(rapid.Bool(), func(v bool) any { return v }),
			rapid.Map(rapid.IntRange(-1e9, 1e9), func(v int) any { return v }), rapid.Map(text, func(v string) any { return v }),
			rapid.Map(rapid.SliceOfN(values, 0, 3), func(v []any) any { return v }),
			rapid.Map(rapid.MapOfN(text, values, 0, 3), func(v map[string]any) any { return v }),
		)
	})
	rapid.Check(t, func(t *rapid.T) {
		value := values.Draw(t, "value")
		laid, err := format.YAML(value)
		if err != nil {
			t.Fatal(err)
		}
		var back any
		if err := yaml.Unmarshal([]byte(laid), &back); err != nil {
			t.Fatalf("%v:\n%s", err, laid)
		}
		wrote, _ := json.Marshal(value)
		read, err := json.Marshal(back)
		if err != nil {
			t.Fatalf("%v:\n%s", err, laid)
		}
		var a, b any
		if json.Unmarshal(wrote, &a) != nil || json.Unmarshal(read, &b) != nil || !reflect.DeepEqual(a, b) {
			t.Fatalf("%s was read back as %s:\n%s", wrote, read, laid)
		}
	})
}
