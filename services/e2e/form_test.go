//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// formVariable chooses what the tests run against: "distributed", or the
// one-machine form where it is empty.
const formVariable = "CURFEW_E2E_FORM"

func distributed() bool { return os.Getenv(formVariable) == "distributed" }

// oneMachine skips a test that is about `curfew server` itself.
func oneMachine(tb testing.TB, why string) {
	tb.Helper()
	if distributed() {
		tb.Skip("the one-machine form only: " + why)
	}
}

// form is what a server runs as.
type form interface {
	// launch starts it and does not wait until it serves; await does.
	launch(tb testing.TB)
	await(tb testing.TB)
	// kill ends all of it as a power cut would. What has ended is left.
	kill(tb testing.TB)
	// end stops it in order and returns the exit code, the first that is not 0
	// where there are several.
	end(tb testing.TB) (code int)
	// output is what it has written, across starts.
	output(tb testing.TB) string
	// store is the folder of the store. folders are all that something of it is
	// in, the data directory first.
	store() string
	folders() []string
}

// newForm is the form that the tests run against.
func newForm(tb testing.TB, c *curfew, settings []string) form {
	tb.Helper()
	if distributed() {
		c.dir = "" // it makes its own
		return &place{curfew: c, settings: settings}
	}
	c.dir = filepath.Join(tb.TempDir(), "data")
	return newProcess(tb, c, settings)
}
