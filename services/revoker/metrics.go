package main

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/curfew-project/curfew/revoker"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
)

// metrics are what the revoker's work looks like to Prometheus. Counts and times
// are of this process; the index is the same for all that share it.
type metrics struct {
	revocations *prometheus.CounterVec
	failures    *prometheus.CounterVec
	lag         *prometheus.HistogramVec
	repaired    prometheus.Counter
	rotations   prometheus.Counter
	unrotated   *prometheus.CounterVec

	up, drift, members *prometheus.Desc

	mu    sync.Mutex
	asked bool
	last  revoker.Drift
}

func newMetrics() *metrics {
	m := &metrics{
		revocations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "curfew_revocations_total", Help: "Revocations that this process ended.",
		}, []string{"kind", "state"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "curfew_revocation_failures_total", Help: "Attempts of this process that failed: retried, or parked for a person.",
		}, []string{"fate"}),
		lag: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "curfew_expiry_lag_seconds",
			Help:    "From when access had to end to when the login was disabled, and to when the account was proved gone.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2, 5, 10, 30, 60, 300, 1800, 3600},
		}, []string{"stage"}),
		repaired: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "curfew_index_repaired_total", Help: "Leases that the expiry index lacked and that were offered to it again.",
		}),
		rotations: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "curfew_rotations_total", Help: "Passwords of static roles that this process rotated because they were due.",
		}),
		unrotated: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "curfew_rotation_failures_total",
			Help: "Rotations of static roles by this process that failed: retried, or parked for a person.",
		}, []string{"fate"}),
		up:      prometheus.NewDesc("curfew_index_up", "1 where the expiry index answered when it was last compared with the store.", nil, nil),
		drift:   prometheus.NewDesc("curfew_index_drift", "Leases that fall due within a minute and that the expiry index lacked; left out where it does not answer.", nil, nil),
		members: prometheus.NewDesc("curfew_index_members", "Leases in the expiry index, due and in flight; left out where it does not answer.", nil, nil),
	}
	// What has not happened yet is 0, so that the first time is a rise.
	for _, fate := range []string{retried, parked} {
		m.failures.WithLabelValues(fate)
		m.unrotated.WithLabelValues(fate)
	}
	for _, stage := range []string{disabled, gone} {
		m.lag.WithLabelValues(stage)
	}
	for _, kind := range []lease.Kind{lease.Secret, lease.Token, lease.Stray} {
		m.revocations.WithLabelValues(string(kind), string(lease.Revoked))
	}
	return m
}

// Values of the labels fate and stage.
const (
	retried, parked = "retry", "park"
	disabled, gone  = "disabled", "gone"
)

// Ended implements [revoker.Observer].
func (m *metrics) Ended(l *lease.Lease) {
	m.revocations.WithLabelValues(string(l.Kind), string(l.State)).Inc()
	if l.Kind == lease.Token { // nothing has to be reached for it
		return
	}
	m.observe(disabled, l.Revocation.DueAt, l.Revocation.DisabledAt)
	m.observe(gone, l.Revocation.DueAt, l.Revocation.EndedAt)
}

func (m *metrics) observe(stage string, due, at time.Time) {
	if !due.IsZero() && !at.IsZero() {
		m.lag.WithLabelValues(stage).Observe(max(0, at.Sub(due)).Seconds())
	}
}

// Failed implements [revoker.Observer].
func (m *metrics) Failed(l *lease.Lease) {
	fate := retried
	if l.Revocation.Parked {
		fate = parked
	}
	m.failures.WithLabelValues(fate).Inc()
}

// Rotated implements [revoker.Observer].
func (m *metrics) Rotated(_ engine.Rotation, err error) {
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
func (m *metrics) Compared(d revoker.Drift) {
	m.repaired.Add(float64(d.Missing))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last, m.asked = d, true
}

// Describe implements [prometheus.Collector].
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, c := range m.own() {
		c.Describe(out)
	}
	out <- m.up
	out <- m.drift
	out <- m.members
}

// Collect implements [prometheus.Collector].
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	for _, c := range m.own() {
		c.Collect(out)
	}
	m.mu.Lock()
	d, asked := m.last, m.asked
	m.mu.Unlock()
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

func (m *metrics) own() []prometheus.Collector {
	return []prometheus.Collector{m.revocations, m.failures, m.lag, m.repaired, m.rotations, m.unrotated}
}

var (
	_ revoker.Observer     = (*metrics)(nil)
	_ prometheus.Collector = (*metrics)(nil)
)
