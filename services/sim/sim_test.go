package sim_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// number reads a setting of the run from the environment.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s=%s: want a number", name, text)
	}
	return n
}

// Every promise holds after every step, whatever the seed (promises 1-6). The
// first seed is printed: CURFEW_SIM_SEED=n replays seed n alone, and prints all
// that happens in it.
func TestSeeds(t *testing.T) {
	if seed := number(t, "CURFEW_SIM_SEED", 0); seed > 0 {
		r := simulate(t, uint64(seed), sound, true)
		t.Logf("seed %d: %d steps, hash %x\n%s", seed, r.steps, r.hash, r.trace)
		report(t, uint64(seed), &r)
		return
	}
	n, base := number(t, "CURFEW_SIM_SEEDS", 20), uint64(number(t, "CURFEW_SIM_BASE", 1))
	within := time.Duration(number(t, "CURFEW_SIM_WITHIN", 0)) * time.Second
	t.Logf("%d seeds from %d on", n, base)
	began, done, steps, failed := time.Now(), 0, 0, 0
	counts := map[string]int{}
	for ; done < n && (within == 0 || time.Since(began) < within); done++ {
		r := simulate(t, base+uint64(done), sound, false)
		for what, k := range r.counts {
			counts[what] += k
		}
		if steps += r.steps; len(r.failed) > 0 {
			failed++
			report(t, base+uint64(done), &r)
		}
	}
	took := time.Since(began)
	t.Logf("%d seeds (of %d), %d failed, %d steps, %s, %.1f seeds a second", done, n, failed, steps, took.Round(time.Second), float64(done)/took.Seconds())
	t.Logf("requests served, credentials, and leases by the states that they passed: %v", counts)
	if counts["credentials"] < done/2 {
		t.Errorf("%d credentials in %d seeds: nothing was simulated", counts["credentials"], done)
	}
}

func report(t *testing.T, seed uint64, r *result) {
	t.Helper()
	for _, v := range r.failed {
		t.Errorf("seed %d, after %s and %d steps: %s: %s", seed, r.took.Round(time.Millisecond), r.steps, v.invariant, v.text)
	}
}

// A seed replays exactly: the same happens again, step by step.
func TestReplay(t *testing.T) {
	base := uint64(number(t, "CURFEW_SIM_BASE", 1))
	for seed := base; seed < base+uint64(number(t, "CURFEW_SIM_REPLAYS", 10)); seed++ {
		first, again := simulate(t, seed, sound, true), simulate(t, seed, sound, true)
		if first.hash != again.hash || first.steps != again.steps {
			t.Errorf("seed %d: %d steps with hash %x, and then %d with %x\n%s", seed, first.steps, first.hash, again.steps, again.hash,
				parting(first.trace, again.trace))
		}
	}
}

// parting is where two traces part, with what was before.
func parting(a, b string) string {
	const before, after = 12, 4
	one, other := strings.Split(a, "\n"), strings.Split(b, "\n")
	n := 0
	for n < min(len(one), len(other)) && one[n] == other[n] {
		n++
	}
	part := func(lines []string, from int) string {
		return strings.Join(lines[min(from, len(lines)):min(n+after, len(lines))], "\n")
	}
	return part(one, max(0, n-before)) + "\n-- and then --\n" + part(other, n)
}

// Each invariant catches something: a rule that is broken on purpose is seen,
// and by what is said here. seed is one that is known to see it; where the code
// has changed since, others are tried.
func TestDefects(t *testing.T) {
	most := uint64(number(t, "CURFEW_SIM_DEFECT_SEEDS", 400))
	for _, c := range []struct {
		defect defect
		seed   uint64
		by     invariant
	}{
		{defectTombstone, 44, invariantLease},
		{defectRecheck, 106, invariantWithdrawn},
		{defectBarrier, 544, invariantWithdrawn},
		{defectClock, 17, invariantEarly},
		{defectRenewal, 22, invariantWorks},
		{defectSwap, 1484, invariantWorks},
		{defectTrim, 2, invariantEnds},
		{defectAppend, 1, invariantRecord},
		{defectStale, 33, invariantStray},
		{defectProof, 11, invariantLease},
		{defectGiveUp, 159, invariantGivenUp},
		{defectUnwrap, 23, invariantOnce},
		{defectVersion, 1, invariantMoves},
	} {
		t.Run(string(c.defect), func(t *testing.T) {
			for n := range most {
				r := simulate(t, c.seed+n, c.defect, false)
				if len(r.failed) > 0 && r.failed[0].invariant == c.by {
					t.Logf("seed %d: %s: %.200s", c.seed+n, c.by, r.failed[0].text)
					return
				}
			}
			t.Errorf("%d seeds do not see it", most)
		})
	}
}
