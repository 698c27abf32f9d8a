package engine_test

import (
	"testing"

	"github.com/curfew-project/curfew/shared/engine"
)

func TestHelpMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"", "", true},
		{"", "a", false},
		{"a", "", false},
		{"a", "a", true},
		{"a", "a/b", false},
		{"a/b", "a", false},
		{"a/<x>", "a/b", true},
		{"a/<x>", "a", false},
		{"a/<x>", "a/", false},
		{"a/<x>", "a/b/c", false},
		{"<x>/b", "a/b", true},
		{"a/<x>/c", "a/b/c", true},
		{"a/<x>/c", "a/b/d", false},
		{"a/…", "a", false},
		{"a/…", "a/b", true},
		{"a/…", "a/b/c/d", true},
		{"a/…", "b/c", false},
		{"a/…/z", "a/b/z", true},
		{"a/…/z", "a/b/c/z", true},
		{"a/…/z", "a/z", false},
		{"a/…/z", "a/b/c", false},
		{"a/…/z", "a/z/z", true},
	} {
		h := engine.Help{Path: c.pattern}
		if got := h.Matches(c.path); got != c.want {
			t.Errorf("%q matches %q: %v", c.pattern, c.path, got)
		}
	}
	all := []engine.Help{{Path: "a/b", Synopsis: "first"}, {Path: "a/<x>", Synopsis: "second"}}
	for path, want := range map[string]string{"a/b": "first", "a/c": "second", "c": ""} {
		if h, ok := engine.FindHelp(all, path); h.Synopsis != want || ok != (want != "") {
			t.Errorf("%q: %+v", path, h)
		}
	}
}
