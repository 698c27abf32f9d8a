package measure

import (
	"maps"
	"math"
	"slices"
	"time"
)

// Samples are the outcome of a run.
type Samples struct {
	Latencies []time.Duration // sorted, of what succeeded
	Elapsed   time.Duration
	Errors    map[string]int // how often each text was
}

// Quantile is the smallest latency that a share q of all do not exceed; 0 where
// there is none.
func (s Samples) Quantile(q float64) time.Duration { return Quantile(s.Latencies, q) }

// Quantile is that of sorted durations.
func Quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	i := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// PerSecond is the rate of what succeeded.
func (s Samples) PerSecond() float64 {
	if s.Elapsed <= 0 {
		return 0
	}
	return float64(len(s.Latencies)) / s.Elapsed.Seconds()
}

// Failed is the number of errors.
func (s Samples) Failed() (n int) {
	for v := range maps.Values(s.Errors) {
		n += v
	}
	return n
}

// collector gathers the samples of one client; the clients' are merged.
type collector struct {
	latencies []time.Duration
	errors    map[string]int
}

func (c *collector) add(d time.Duration, err error) {
	if err == nil {
		c.latencies = append(c.latencies, d)
		return
	}
	if c.errors == nil {
		c.errors = map[string]int{}
	}
	c.errors[err.Error()]++
}

func merge(parts []collector, elapsed time.Duration) Samples {
	s := Samples{Elapsed: elapsed, Errors: map[string]int{}}
	for _, p := range parts {
		s.Latencies = append(s.Latencies, p.latencies...)
		for text, n := range p.errors {
			s.Errors[text] += n
		}
	}
	slices.Sort(s.Latencies)
	return s
}
