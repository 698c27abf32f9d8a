//go:build e2e

package topology

import (
	"slices"
	"testing"
)

// The standby takes over for good: what was the store does not come back with
// the other parts, and its folder goes with theirs.
func TestStandby(t *testing.T) {
	t.Parallel()
	cfg := config(t, true)
	cfg.Standby = true
	top := open(t, cfg)
	if want := []string{Store, Standby, Index}; !slices.Equal(top.Names()[:3], want) {
		t.Fatalf("the parts are %v", top.Names())
	}
	for act, end := range map[string]func() error{
		"kill": func() error { return top.Kill(t.Context()) }, "stop": func() error { return top.Stop(t.Context()) },
	} {
		if err := end(); err != nil {
			t.Fatalf("%s: %v", act, err)
		}
		if err := top.Start(t.Context()); err != nil {
			t.Fatalf("start again: %v", err)
		}
		serves(t, top)
	}
	if err := top.Promote(t.Context()); err == nil {
		t.Fatal("it was promoted beside the store")
	}
	old, folders := top.Postgres(), len(top.Folders())
	if err := top.Kill(t.Context(), Store); err != nil {
		t.Fatal(err)
	}
	if err := top.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := top.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	serves(t, top)
	if old == top.Postgres() || old.Running() || slices.Contains(top.Names(), Standby) || !part(t, top, Store).Running() {
		t.Errorf("after the promotion the parts are %v, and the old store runs: %t", top.Names(), old.Running())
	}
	if len(top.Folders()) != folders {
		t.Errorf("folders are %v", top.Folders())
	}
	if err := top.Promote(t.Context()); err == nil {
		t.Error("there is another standby")
	}
	closed(t, top, cfg)
}

// A standby that was cut off holds up no commit, and has none of what follows.
func TestStandbyCutOff(t *testing.T) {
	t.Parallel()
	cfg := config(t, true)
	cfg.Standby = true
	top := open(t, cfg)
	if err := top.CutOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	if part(t, top, Standby).Running() {
		t.Error("it goes on")
	}
	if err := execute(t.Context(), top.Postgres(), "CREATE TABLE later ()"); err != nil {
		t.Fatal(err)
	}
	if err := top.Kill(t.Context(), Store); err != nil {
		t.Fatal(err)
	}
	if err := top.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	var there bool
	if err := ask(t.Context(), top.Postgres(), "SELECT to_regclass('later') IS NOT NULL", &there); err != nil || there {
		t.Errorf("what was committed since is there: %t, %v", there, err)
	}
	closed(t, top, cfg)
}
