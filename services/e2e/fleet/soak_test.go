//go:build e2e

package fleet

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	soakDefault = 20 * time.Second
	sampleEvery = 10 * time.Second
)

// what is watched of each process.
const (
	goroutines = "go_goroutines"
	resident   = "process_resident_memory_bytes"
	heap       = "go_memstats_heap_inuse_bytes"
	files      = "process_open_fds"
)

// flatFrom is the shortest soak that says something about a trend: caches and
// pools are full after its first third. Between the second and the last, nothing
// may grow by more than a quarter, and some.
const (
	flatFrom   = 5 * time.Minute
	flatWithin = 1.25
)

// soak loads the fleet for some minutes and prints how memory and
// goroutines of each program went.
func soak(t *testing.T, f *fleet) {
	t.Helper()
	lasts := soakDefault
	if text := os.Getenv(soakVariable); text != "" {
		minutes, err := strconv.Atoi(text)
		must(t, err, "read "+soakVariable)
		lasts = time.Duration(minutes) * time.Minute
	}
	l := f.load(t, 4)
	l.more(t, 20)
	samples := map[string][]map[string]float64{}
	for end := time.Now().Add(lasts); time.Now().Before(end); {
		next := time.Now().Add(min(sampleEvery, lasts/4))
		for _, name := range f.ours() {
			m, err := f.metrics(t, name)
			must(t, err, "read metrics")
			if m[goroutines] == 0 || m[resident] == 0 {
				t.Fatalf("%s does not tell %s and %s", name, goroutines, resident)
			}
			samples[name] = append(samples[name], m)
		}
		time.Sleep(time.Until(next))
	}
	if errors := l.stop(t); len(errors) > 0 {
		t.Errorf("%d requests failed", len(errors))
	}
	f.check(t)
	t.Logf("%d requests in %v (first, middle and last third of %d samples: medians)\n%s",
		l.done.Load(), lasts, len(samples[f.ours()[0]]), table(t, lasts, f.ours(), samples))
}

// table shows each program's medians over the thirds of the time: a collector's
// rhythm is not a trend. It fails the test where one still grows.
func table(t *testing.T, lasts time.Duration, names []string, samples map[string][]map[string]float64) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%-12s %22s %26s %26s %26s\n", "", "goroutines", "resident MB", "heap in use MB", "open files")
	for _, name := range names {
		all := samples[name]
		third := len(all) / 3
		fmt.Fprintf(&b, "%-12s", name)
		for _, metric := range []struct {
			name       string
			unit, some float64
		}{{goroutines, 1, 10}, {resident, 1 << 20, 16}, {heap, 1 << 20, 8}, {files, 1, 10}} {
			var medians []float64
			for _, part := range [][]map[string]float64{all[:third], all[third : len(all)-third], all[len(all)-third:]} {
				medians = append(medians, median(part, metric.name)/metric.unit)
				fmt.Fprintf(&b, " %8.1f", medians[len(medians)-1])
			}
			if lasts >= flatFrom && medians[2] > medians[1]*flatWithin+metric.some {
				t.Errorf("%s of %s grows: %v", metric.name, name, medians)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func median(samples []map[string]float64, name string) float64 {
	var all []float64
	for _, s := range samples {
		all = append(all, s[name])
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}
