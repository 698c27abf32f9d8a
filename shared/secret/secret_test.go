package secret_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/secret"
)

const text = "hunter2-8fd1"

// Law: no printer and no encoder shows the content, nested or not.
func TestValueHidesItself(t *testing.T) {
	t.Parallel()
	v := secret.New(text)
	type box struct {
		V  secret.Value
		P  *secret.Value
		M  map[string]secret.Value
		in secret.Value
	}
	b := box{V: v, P: &v, M: map[string]secret.Value{"k": v}, in: v}
	var shown []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %v"} {
		args := []any{v}
		if verb == "%T %v" {
			args = []any{v, v}
		}
		shown = append(shown, fmt.Sprintf(verb, args...), fmt.Sprintf("%v", b), fmt.Sprintf("%+v", b))
	}
	j, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	type element struct{ V secret.Value }
	x, err := xml.Marshal(element{v})
	if err != nil {
		t.Fatal(err)
	}
	var g bytes.Buffer
	_ = gob.NewEncoder(&g).Encode(v)
	var l bytes.Buffer
	slog.New(slog.NewJSONHandler(&l, nil)).Info("m", "v", v, "b", b)
	shown = append(shown, string(j), string(x), g.String(), l.String(), fmt.Errorf("act: %v", v).Error())
	for _, s := range shown {
		if strings.Contains(s, text) || strings.Contains(s, fmt.Sprintf("%x", text)) {
			t.Errorf("the content is shown in %q", s)
		}
	}
	if v.Reveal() != text {
		t.Error("Reveal does not give the content")
	}
}

func TestEqual(t *testing.T) {
	t.Parallel()
	if !secret.New("a").Equal(secret.New("a")) || secret.New("a").Equal(secret.New("b")) || secret.New("a").Equal(secret.New("ab")) {
		t.Error("Equal is not equality")
	}
	if !(secret.Value{}).Empty() || secret.New("a").Empty() {
		t.Error("Empty is not emptiness")
	}
}

func TestReveal(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "a", text} {
		if v := secret.New(s); v.Reveal() != s || v.Empty() != (s == "") || !v.Equal(secret.New(s)) || v != secret.New(string([]byte(s))) || v == secret.New(s+"x") {
			t.Errorf("%q becomes %q", s, v.Reveal())
		}
	}
	if (secret.Value{}).Reveal() != "" || !(secret.Value{}).Equal(secret.New("")) {
		t.Error("the zero value is not the empty secret")
	}
}
