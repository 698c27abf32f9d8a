//go:build integration

package monitor

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// promtool is where `make clients` puts it, or on the way to programs.
func promtool(t *testing.T) string {
	t.Helper()
	found, err := filepath.Abs("../../../.cache/clients/promtool")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(found); err == nil {
		return found
	}
	if found, err = exec.LookPath("promtool"); err == nil {
		return found
	}
	if os.Getenv("CURFEW_CI") == "1" {
		t.Fatal("promtool is missing: make clients")
	}
	t.Skip("promtool is missing: make clients")
	return ""
}

// The rules are what Prometheus takes, and each alert comes when it should and
// not before.
func TestRules(t *testing.T) {
	t.Parallel()
	tool := promtool(t)
	for _, args := range [][]string{{"check", "rules", filepath.Base(rules)}, {"test", "rules", filepath.Base(ruleTests)}} {
		cmd := exec.CommandContext(t.Context(), tool, args...)
		cmd.Dir = filepath.Dir(rules)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// The tests of the rules can fail: this is what they look for.
func TestRulesThatAreWrong(t *testing.T) {
	t.Parallel()
	tool := promtool(t)
	dir := t.TempDir()
	for name, edit := range map[string]string{filepath.Base(rules): "> 30", filepath.Base(ruleTests): ""} {
		b := text(t, filepath.Join(filepath.Dir(rules), name))
		if edit != "" {
			b = replaceOnce(t, b, edit, "> 3000")
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), tool, "test", "rules", filepath.Base(ruleTests))
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("a limit that is a hundred times too high passes:\n%s", out)
	}
}

func replaceOnce(t *testing.T, s, old, now string) string {
	t.Helper()
	before, after, found := strings.Cut(s, old)
	if !found {
		t.Fatalf("%q is not there", old)
	}
	return before + now + after
}
