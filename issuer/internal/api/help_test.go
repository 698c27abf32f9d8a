package api

import (
	"strings"
	"testing"

	"github.com/curfew-project/curfew/issuer/internal/tokens"
)

// Every path of the server's own is explained, and nothing else is.
func TestEveryRouteIsExplained(t *testing.T) {
	t.Parallel()
	a := New(Parts{}, Config{})
	if len(a.routes) < 50 || len(a.open) < 4 {
		t.Fatalf("%d routes and %d open ones: the test does not see them", len(a.routes), len(a.open))
	}
	known := map[string]bool{"sys": true, strings.TrimSuffix(tokens.Mount, "/"): true}
	for i := range a.routes {
		if name := a.routes[i].name(); name != "auth/…" { // what is mounted explains itself
			known[name] = true
		}
	}
	for path := range a.open {
		known[path] = true
	}
	explained := map[string]bool{}
	for _, h := range a.helps {
		switch {
		case !known[h.Path]:
			t.Errorf("%q is explained and not served", h.Path)
		case explained[h.Path]:
			t.Errorf("%q is explained twice", h.Path)
		case h.Synopsis == "" || !strings.HasSuffix(h.Synopsis, "."):
			t.Errorf("the synopsis of %q is no sentence: %q", h.Path, h.Synopsis)
		}
		explained[h.Path] = true
	}
	for name := range known {
		if !explained[name] {
			t.Errorf("%q is served and not explained", name)
		}
		path := strings.ReplaceAll(name, "…", "x/y")
		if h, ok := a.helpOf(path); !ok || h.Path != name {
			t.Errorf("%s finds the help of %q, want that of %q", path, h.Path, name)
		}
	}
}
