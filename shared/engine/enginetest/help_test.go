package enginetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/engine"
)

// served reports whether the fake has a path.
func served(t *testing.T, f *Fake) func(string) bool {
	t.Helper()
	return func(path string) bool {
		q := &engine.Request{Path: path, MountID: "m", Mount: "m/", LeaseID: "m/x"}
		if plan, err := f.Plan(t.Context(), q); plan != nil || err != nil {
			return true
		}
		for _, q.Operation = range []engine.Operation{engine.Read, engine.List, engine.Delete, engine.Write} {
			if _, err := f.Handle(t.Context(), q); err == nil || engine.AsError(err).Kind != engine.UnsupportedPath {
				return true
			}
		}
		return false
	}
}

func TestFakeHelp(t *testing.T) {
	t.Parallel()
	f := NewFake(FakeConfig{})
	CheckHelp(t, f, ".", "x", served(t, f))
}

type helps []engine.Help

func (h helps) Help() []engine.Help { return h }

type noted []string

func (*noted) Helper() {}
func (n *noted) Errorf(format string, args ...any) {
	*n = append(*n, fmt.Sprintf(format, args...))
}

// The law finds what is left out, what is invented, and what says nothing.
func TestCheckHelpFinds(t *testing.T) {
	t.Parallel()
	f := NewFake(FakeConfig{})
	all := f.Help()
	for name, c := range map[string]struct {
		helps helps
		want  string
	}{
		"a path left out":       {slices.Delete(slices.Clone(all), 2, 3), "config/x is served and not explained"},
		"a deeper one left out": {slices.Concat(all[:2], helps{{Path: "config/<n>", Synopsis: "One."}}, all[3:]), "is served and not explained"},
		"the mount left out":    {all[1:], "the mount itself is not explained first"},
		"a path invented":       {append(slices.Clone(all), engine.Help{Path: "none/<x>", Synopsis: "Nothing."}), "none/x is not served"},
		"no sentence":           {append(slices.Clone(all), engine.Help{Path: "config/a"}), "is no sentence"},
		"twice":                 {append(slices.Clone(all), all[1]), "there twice"},
		"nothing":               {nil, "the mount itself"},
	} {
		var n noted
		CheckHelp(&n, c.helps, ".", "x", served(t, f))
		if !strings.Contains(strings.Join(n, "\n"), c.want) {
			t.Errorf("%s: found %q, want %q", name, n, c.want)
		}
	}
}
