//go:build e2e

package fleet

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/topology"
)

// killed kills programs and servers under load, many at once and some at
// random, and starts them again with the data that they had.
func killed(t *testing.T, f *fleet) {
	t.Helper()
	for name, parts := range map[string][]string{"all programs": f.ours(), "everything": f.Names()} {
		t.Run(name, func(t *testing.T) {
			l := f.load(t, 8)
			l.more(t, 100)
			f.kill(t, parts...)
			f.start(t)
			t.Logf("clients are served again %v after everything was ready", l.more(t, 100).Round(time.Millisecond))
			l.stop(t)
			f.check(t)
		})
	}
	t.Run("at random", f.atRandom)
}

// atRandom kills up to three parts in each round, at any time of each other.
func (f *fleet) atRandom(t *testing.T) {
	rounds := 10
	if text := os.Getenv(killsVariable); text != "" {
		var err error
		rounds, err = strconv.Atoi(text)
		must(t, err, "read "+killsVariable)
	}
	const checkEvery = 5
	l := f.load(t, 8)
	for round := 1; round <= rounds; round++ {
		names := f.Names()
		rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		names = names[:1+rand.IntN(3)]
		t.Logf("round %d: %s", round, strings.Join(names, ", "))
		for _, name := range names {
			time.Sleep(rand.N(time.Second)) // any instant will do
			f.kill(t, name)
		}
		f.start(t)
		l.more(t, 20)
		if round%checkEvery == 0 || round == rounds {
			l.stop(t)
			f.check(t)
			if round < rounds {
				l = f.load(t, 8)
			}
		}
	}
}

// storeKilled kills the store under load and starts it with the same data:
// nothing that was answered is lost, and clients recover by themselves (A7).
func storeKilled(t *testing.T, f *fleet) {
	t.Helper()
	l := f.load(t, clients)
	for range 3 {
		l.more(t, 100)
		f.kill(t, topology.Store)
		f.start(t)
		t.Logf("clients are served again %v after the store was ready", l.more(t, 50).Round(time.Millisecond))
	}
	l.stop(t)
	f.check(t)
}
