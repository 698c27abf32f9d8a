//go:build e2e

package fault

import (
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/faults"
)

const (
	// allRounds and fewRounds are how often processes are killed at random.
	allRounds = 300
	fewRounds = 6
	// checkEvery is how many rounds there are between two checks.
	checkEvery = 10
)

// TestRandomKills kills any process, up to three of the distributed form at about
// the same time, at any time under load: leases are issued, renewed, revoked and
// run out meanwhile.
func TestRandomKills(t *testing.T) {
	w := open(t)
	all := rounds(t, allRounds, fewRounds)
	row := faults.Row{Fault: "random kills, " + w.form.name()}
	l := w.load(t, 2*loadClients)
	for round := 1; round <= all; round++ {
		names := w.form.processes()
		w.chance.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		names = names[:min(len(names), 1+w.chance.IntN(3))]
		var after []time.Duration
		for _, name := range names {
			after = append(after, time.Duration(w.chance.Int64N(int64(700*time.Millisecond))))
			time.Sleep(after[len(after)-1]) // any instant will do
			w.form.kill(t, name)
		}
		up := w.again(t)
		row.Rounds++
		t.Logf("round %d: %s after %v", round, strings.Join(names, ", "), after)
		if round%checkEvery == 0 || round == all {
			l.end()
			w.settle(t, &row, up)
			if round < all {
				w.tell(t.Context(), t, parked())
				l = w.load(t, 2*loadClients)
			}
		}
	}
	w.close(t, &row)
}
