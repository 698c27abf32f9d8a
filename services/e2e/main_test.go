//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/curfew-project/curfew/shared/testkit"
)

func TestMain(m *testing.M) {
	// Nothing of the caller's may reach the program or the client libraries.
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		for _, prefix := range []string{"VAULT_", "BAO_", "CURFEW_"} {
			if !strings.HasPrefix(name, prefix) || own(name) {
				continue
			}
			if err := os.Unsetenv(name); err != nil {
				panic(err)
			}
		}
	}
	testkit.Main(m)
}

// own are the variables that steer the tests, not the program.
func own(name string) bool {
	switch name {
	case "CURFEW_CI", "CURFEW_PG_BIN", "CURFEW_REDIS_BIN", "CURFEW_E2E_KILLS":
		return true
	}
	return false
}

// build builds the program once for all tests. It lies beside the test binary,
// in a folder that the go command removes when the tests have ended.
var build = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), "curfew")
	args := []string{"build", "-buildvcs=false", "-o", path} // the checkout may be another user's
	if raced {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "../curfew")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return path, nil
})

// program is the path of the built program.
func program(tb testing.TB) string {
	tb.Helper()
	path, err := build()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}
