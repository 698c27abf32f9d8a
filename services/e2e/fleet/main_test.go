//go:build e2e

package fleet

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

// Variables that steer the tests.
const (
	killsVariable = "CURFEW_FLEET_KILLS"
	soakVariable  = "CURFEW_FLEET_SOAK"
)

func TestMain(m *testing.M) {
	// Nothing of the caller's may reach the programs or the client libraries.
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		switch name {
		case "CURFEW_CI", "CURFEW_PG_BIN", "CURFEW_REDIS_BIN", killsVariable, soakVariable, fleetVariable:
			continue
		}
		if strings.HasPrefix(name, "VAULT_") || strings.HasPrefix(name, "CURFEW_") {
			if err := os.Unsetenv(name); err != nil {
				panic(err)
			}
		}
	}
	testkit.Main(m)
}

// build builds the programs once for all tests, beside the test binary: in a
// folder that the go command removes when the tests have ended.
var build = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(filepath.Dir(self), "bin")
	args := []string{"build", "-buildvcs=false", "-o", dir + "/"} // the checkout may be another user's
	if raced {
		args = append(args, "-race")
	}
	roles := []string{"issuer", "revoker", "auditor"}
	for _, folder := range append([]string{"curfew", "local"}, roles...) {
		args = append(args, "../../"+folder)
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	for _, role := range roles { // the names that they are known by
		if err := os.Rename(filepath.Join(dir, role), filepath.Join(dir, "curfew-"+role)); err != nil {
			return "", err
		}
	}
	return dir, nil
})
