//go:build e2e

package fleet

import (
	"math/rand/v2"
	"os"
	"testing"
)

// fleetVariable asks for the tests.
const fleetVariable = "CURFEW_FLEET"

// TestFleet does to one fleet what doc.go lists, in any order. After a failure
// the rest goes on with another fleet. It takes minutes of both cores of a small
// machine, so it is asked for by name (make fleet).
func TestFleet(t *testing.T) {
	if os.Getenv(fleetVariable) == "" {
		t.Skipf("it takes minutes and the whole machine: set %s=1, or make fleet", fleetVariable)
	}
	tests := []struct {
		name string
		run  func(*testing.T, *fleet)
	}{
		{"due", due},
		{"away", serversAway},
		{"lost", dataLost},
		{"issuer", issuerGone},
		{"creation", inCreation},
		{"revoker", revokersFrozen},
		{"auditor", auditorGone},
		{"kill", killed},
		{"store", storeKilled},
		{"soak", soak},
	}
	rand.Shuffle(len(tests), func(i, j int) { tests[i], tests[j] = tests[j], tests[i] })
	var f *fleet
	for _, test := range tests {
		if f == nil {
			f = open(t) // for all that follow
		}
		passed := t.Run(test.name, func(t *testing.T) {
			test.run(t, f)
			f.all(t)
		})
		if !passed {
			f.end(t)
			f = nil
		}
	}
}
