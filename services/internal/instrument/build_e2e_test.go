//go:build e2e

package instrument

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/curfew-project/curfew/services/internal/built"
	"github.com/curfew-project/curfew/shared/testkit/crashpoint"
)

// A program that is built in the ordinary way has nothing of crash points, and
// the machine's clock; one that is built with them has.
func TestOrdinaryBuild(t *testing.T) {
	t.Parallel()
	points, err := Points(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, folder := range []string{"ordinary", "points"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := built.Programs(t.Context(), filepath.Join(dir, "ordinary"), false, "revoker"); err != nil {
		t.Fatal(err)
	}
	if err := Build(t.Context(), points, t.TempDir(), filepath.Join(dir, "points"), false, "revoker"); err != nil {
		t.Fatal(err)
	}
	for folder, want := range map[string]bool{"ordinary": false, "points": true} {
		text, err := os.ReadFile(filepath.Join(dir, folder, "curfew-revoker"))
		if err != nil {
			t.Fatal(err)
		}
		for _, what := range []string{"testkit/crashpoint", crashpoint.Folder, "testkit/wrongclock"} {
			if got := bytes.Contains(text, []byte(what)); got != want {
				t.Errorf("the %s build has %q in it: %t, want %t", folder, what, got, want)
			}
		}
	}
}
