//go:build e2e

package fault

import (
	"cmp"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/curfew-project/curfew/services/internal/built"
	"github.com/curfew-project/curfew/services/internal/faults"
	"github.com/curfew-project/curfew/services/internal/instrument"
	"github.com/curfew-project/curfew/shared/testkit"
	"github.com/curfew-project/curfew/shared/testkit/crashpoint"
)

// Variables that steer the tests.
const (
	fullVariable   = "CURFEW_FAULT"        // everything, not a part of it
	formVariable   = "CURFEW_E2E_FORM"     // "distributed"; else the one-machine form
	seedVariable   = "CURFEW_FAULT_SEED"   // of a run that is repeated
	roundsVariable = "CURFEW_FAULT_ROUNDS" // of random kills
	pointsVariable = "CURFEW_FAULT_POINTS" // those whose plan matches this expression
)

func TestMain(m *testing.M) {
	// Nothing of the caller's may reach the programs or the client libraries.
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		switch name {
		case "CURFEW_CI", "CURFEW_PG_BIN", "CURFEW_REDIS_BIN",
			fullVariable, formVariable, seedVariable, roundsVariable, pointsVariable,
			outageVariable, overloadVariable, faults.TableVariable:
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

func distributed() bool { return os.Getenv(formVariable) == "distributed" }
func full() bool        { return os.Getenv(fullVariable) != "" }

// rounds of random kills: the fewer ones where not everything is asked for.
func rounds(tb testing.TB, all, few int) int {
	tb.Helper()
	text := os.Getenv(roundsVariable)
	switch {
	case text != "":
		n, err := strconv.Atoi(text)
		must(tb, err, "read "+roundsVariable)
		return n
	case full():
		return all
	}
	return few
}

// chance is the source of what is left to chance, by a seed that is printed and
// can be given again.
func chance(tb testing.TB) *rand.Rand {
	tb.Helper()
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv(seedVariable), strconv.FormatUint(uint64(rand.Uint32()), 10)), 10, 64)
	must(tb, err, "read "+seedVariable)
	tb.Logf("the seed is %d: %s=%d repeats the choices", seed, seedVariable, seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// programs are the built programs with their crash points.
type programs struct {
	dir    string
	points []instrument.Point
}

// build builds them once for all tests, beside the test binary: in a folder that
// the go command removes when the tests have ended. Without the race detector,
// which would make a kill rarer by making everything slower.
var build = sync.OnceValues(func() (p programs, err error) {
	self, err := os.Executable()
	if err != nil {
		return p, err
	}
	p.dir = filepath.Join(filepath.Dir(self), "bin")
	ctx := lasting()
	if p.points, err = instrument.Points(ctx, "."); err != nil {
		return p, err
	}
	scratch, err := os.MkdirTemp(filepath.Dir(self), "source-")
	if err != nil {
		return p, err
	}
	folders := []string{"curfew"}
	if distributed() {
		folders = append(folders, built.Distributed()...)
	}
	return p, instrument.Build(ctx, p.points, scratch, p.dir, false, folders...)
})

// open starts a world for a test and its subtests.
func open(t *testing.T, options ...option) *world {
	t.Helper()
	p, err := build()
	must(t, err, "build")
	control, err := crashpoint.Open(p.dir)
	must(t, err, "open the folder of plans")
	w := &world{points: p.points, control: control, chance: chance(t), book: newBook(), target: newTarget(t, testkit.WithSetting("max_connections", "400"))}
	w.record.leases = map[string]*history{}
	if distributed() {
		w.form = newFleet(t, p.dir, options...)
	} else {
		w.form = newServer(t, p.dir, options...)
	}
	w.root = w.form.token(t)
	w.target.setUp(t, w.client(t))
	return w
}
