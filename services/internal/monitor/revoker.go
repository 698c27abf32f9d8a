package monitor

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/curfew-project/curfew/revoker"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// RevokerMetrics are what the revoker's work looks like to Prometheus. Counts and
// times are of this process; the index is the same for all that share it.
type RevokerMetrics struct {
	names *names

	revocations *prometheus.CounterVec
	retries     *prometheus.CounterVec
	lag         *prometheus.HistogramVec
	strays      *prometheus.CounterVec
	unrotated   *prometheus.CounterVec
	rotations   prometheus.Counter
	repaired    prometheus.Counter
	lapsed      prometheus.Counter
	recounts    prometheus.Counter
	mended      prometheus.Counter
	due         prometheus.Gauge

	failures, up, drift, members *prometheus.Desc

	mu     sync.Mutex
	failed map[failure]float64
	asked  bool
	last   revoker.Drift
}

// failure is what failed attempts are counted by.
type failure struct{ mount, target, fate string }

// Values of the labels fate, stage and outcome.
const (
	retried, parked = "retry", "park"
	disabled, gone  = "disabled", "gone"
	ended, failed   = "ended", "failed"
)

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "curfew_" + name, Help: help})
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "curfew_" + name, Help: help}, labels)
}

// Revoker returns the metrics of a revoker, which is to be told of as the
// revoker's observer.
func Revoker(s store.Entries) *RevokerMetrics {
	m := &RevokerMetrics{
		names: newNames(s), failed: map[failure]float64{},
		revocations: counters("revocations_total", "Revocations that this process ended.", "kind", "state"),
		retries:     counters("revocation_retries_total", "Attempts of this process at revocations that had failed before, by how they ended.", "outcome"),
		lag: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "curfew_expiry_lag_seconds",
			Help:    "From when access had to end to when the login was disabled, and to when the account was proved gone.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2, 5, 10, 30, 60, 300, 1800, 3600},
		}, []string{"mount", "stage"}),
		strays:    counters("strays_found_total", "Accounts without a lease that this process found and put into revocation.", "mount", "target"),
		unrotated: counters("rotation_failures_total", "Rotations of static roles by this process that failed: retried, or parked for a person.", "fate"),
		rotations: counter("rotations_total", "Passwords of static roles that this process rotated because they were due."),
		repaired:  counter("index_repaired_total", "Leases that the expiry index lacked and that were offered to it again."),
		lapsed:    counter("claims_lapsed_total", "Leases in claims that ran out: whoever had them died or was too slow."),
		recounts:  counter("recounts_total", "Comparisons of the counts of living leases with the leases, by this process."),
		mended:    counter("recount_mended_total", "Paths whose count of living leases was wrong and was mended by this process."),
		due: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "curfew_rotations_due", Help: "Passwords of static roles that should have been rotated by now.",
		}),
		failures: desc("revocation_failures_total", "Attempts of this process that failed: retried, or parked for a person.", "mount", "target", "fate"),
		up:       desc("index_up", "1 where the expiry index answered when it was last compared with the store."),
		drift:    desc("index_drift", "Leases that fall due within a minute and that the expiry index lacked; left out where it does not answer."),
		members:  desc("index_members", "Leases in the expiry index, due and in flight; left out where it does not answer."),
	}
	// What has not happened yet is 0, so that the first time is a rise.
	for _, fate := range []string{retried, parked} {
		m.unrotated.WithLabelValues(fate)
	}
	for _, outcome := range []string{ended, failed} {
		m.retries.WithLabelValues(outcome)
	}
	for _, kind := range []lease.Kind{lease.Secret, lease.Token, lease.Stray} {
		m.revocations.WithLabelValues(string(kind), string(lease.Revoked))
	}
	return m
}

// Ended implements [revoker.Observer].
func (m *RevokerMetrics) Ended(l *lease.Lease) {
	m.revocations.WithLabelValues(string(l.Kind), string(l.State)).Inc()
	if l.Revocation.Attempts > 0 {
		m.retries.WithLabelValues(ended).Inc()
	}
	if l.Kind == lease.Token { // nothing has to be reached for it
		return
	}
	m.observe(l.Mount, disabled, l.Revocation.DueAt, l.Revocation.DisabledAt)
	m.observe(l.Mount, gone, l.Revocation.DueAt, l.Revocation.EndedAt)
}

func (m *RevokerMetrics) observe(mount, stage string, due, at time.Time) {
	if !due.IsZero() && !at.IsZero() {
		m.lag.WithLabelValues(mount, stage).Observe(max(0, at.Sub(due)).Seconds())
	}
}

// Failed implements [revoker.Observer].
func (m *RevokerMetrics) Failed(l *lease.Lease) {
	f := failure{l.Mount, l.Target, retried}
	if l.Revocation.Parked {
		f.fate = parked
	}
	if l.Revocation.Attempts > 1 {
		m.retries.WithLabelValues(failed).Inc()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed[f]++
	other := failure{f.mount, f.target, retried}
	if f.fate == retried {
		other.fate = parked
	}
	m.failed[other] += 0 // its first time is a rise
}

// Lapsed implements [revoker.Observer].
func (m *RevokerMetrics) Lapsed(leases int) { m.lapsed.Add(float64(leases)) }

// Stray implements [revoker.Observer].
func (m *RevokerMetrics) Stray(t engine.Target) {
	m.strays.WithLabelValues(t.Mount, t.Mount+t.Name).Inc()
}

// Recounted implements [revoker.Observer].
func (m *RevokerMetrics) Recounted(paths int) {
	m.recounts.Inc()
	m.mended.Add(float64(paths))
}

// RotationsDue implements [revoker.Observer].
func (m *RevokerMetrics) RotationsDue(n int) { m.due.Set(float64(n)) }

// Rotated implements [revoker.Observer].
func (m *RevokerMetrics) Rotated(_ engine.Rotation, err error) {
	if err == nil {
		m.rotations.Inc()
		return
	}
	fate := retried
	if engine.AsError(err).Parks() {
		fate = parked
	}
	m.unrotated.WithLabelValues(fate).Inc()
}

// Compared implements [revoker.Observer].
func (m *RevokerMetrics) Compared(d revoker.Drift) {
	m.repaired.Add(float64(d.Missing))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last, m.asked = d, true
}

// Describe implements [prometheus.Collector].
func (m *RevokerMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, c := range m.own() {
		c.Describe(out)
	}
	for _, d := range []*prometheus.Desc{m.failures, m.up, m.drift, m.members} {
		out <- d
	}
}

// Collect implements [prometheus.Collector].
func (m *RevokerMetrics) Collect(out chan<- prometheus.Metric) {
	for _, c := range m.own() {
		c.Collect(out)
	}
	m.mu.Lock()
	d, asked, failed := m.last, m.asked, maps.Clone(m.failed)
	m.mu.Unlock()
	m.collectFailures(out, failed)
	if !asked {
		return
	}
	gauge := func(of *prometheus.Desc, v float64) {
		out <- prometheus.MustNewConstMetric(of, prometheus.GaugeValue, v)
	}
	if !d.Known {
		gauge(m.up, 0)
		return
	}
	gauge(m.up, 1)
	gauge(m.drift, float64(d.Missing))
	gauge(m.members, float64(d.Members))
}

// collectFailures names the targets: two incarnations of a connection are one.
func (m *RevokerMetrics) collectFailures(out chan<- prometheus.Metric, failed map[failure]float64) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	named := map[failure]float64{}
	for f, n := range failed {
		f.target = m.names.target(ctx, f.mount, f.target)
		named[f] += n
	}
	sorted := slices.SortedFunc(maps.Keys(named), func(a, b failure) int {
		return strings.Compare(a.mount+a.target+a.fate, b.mount+b.target+b.fate)
	})
	for _, f := range sorted {
		out <- prometheus.MustNewConstMetric(m.failures, prometheus.CounterValue, named[f], f.mount, f.target, f.fate)
	}
}

func (m *RevokerMetrics) own() []prometheus.Collector {
	return []prometheus.Collector{
		m.revocations, m.retries, m.lag, m.strays, m.unrotated, m.rotations, m.repaired, m.lapsed, m.recounts, m.mended, m.due,
	}
}

var (
	_ revoker.Observer     = (*RevokerMetrics)(nil)
	_ prometheus.Collector = (*RevokerMetrics)(nil)
)
