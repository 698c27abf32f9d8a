//go:build e2e

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/curfew-project/curfew/services/internal/built"
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
	case "CURFEW_CI", "CURFEW_PG_BIN", "CURFEW_REDIS_BIN", "CURFEW_E2E_KILLS", formVariable:
		return true
	}
	return false
}

// build builds the programs once for all tests. They lie beside the test binary,
// in a folder that the go command removes when the tests have ended.
var build = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(filepath.Dir(self), "bin")
	folders := []string{"curfew"}
	if distributed() {
		folders = append(folders, built.Distributed()...)
	}
	return dir, built.Programs(context.Background(), dir, raced, folders...)
})

// programs is the folder of the built programs.
func programs(tb testing.TB) string {
	tb.Helper()
	dir, err := build()
	must(tb, err, "build")
	return dir
}

// program is the path of the curfew program.
func program(tb testing.TB) string {
	tb.Helper()
	return filepath.Join(programs(tb), "curfew")
}
