package monitor

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/curfew-project/curfew/issuer"
)

// IssuerMetrics are what issuing looks like to Prometheus. Counts and times are
// of this process.
type IssuerMetrics struct {
	took          *prometheus.HistogramVec
	refusals      *prometheus.CounterVec
	sealed, limit prometheus.Collector
}

// Issuer returns the metrics of an issuer, which is to be told of as the
// issuer's observer. most is its limit of unconfirmed events; open says that the
// API is not sealed.
func Issuer(most int64, open func() bool) *IssuerMetrics {
	m := &IssuerMetrics{
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "curfew_issue_seconds",
			Help:    "From a request for a credential to the commit that makes it active.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"mount"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "curfew_issue_refusals_total", Help: "Requests for a credential that got none, by reason.",
		}, []string{"reason"}),
		sealed: gauge("sealed", "1 where the API is sealed, or not initialised.", func() float64 { return truth(!open()) }),
		limit: gauge("events_backlog_limit", "Unconfirmed events above which nothing is issued.",
			func() float64 { return float64(most) }),
	}
	for _, reason := range issuer.Reasons() { // so that the first time is a rise
		m.refusals.WithLabelValues(reason)
	}
	return m
}

// Issued implements [issuer.Observer].
func (m *IssuerMetrics) Issued(mount string, took time.Duration) {
	m.took.WithLabelValues(mount).Observe(took.Seconds())
}

// Refused implements [issuer.Observer].
func (m *IssuerMetrics) Refused(reason string) { m.refusals.WithLabelValues(reason).Inc() }

// Describe implements [prometheus.Collector].
func (m *IssuerMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(out)
	}
}

// Collect implements [prometheus.Collector].
func (m *IssuerMetrics) Collect(out chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(out)
	}
}

func (m *IssuerMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.took, m.refusals, m.sealed, m.limit}
}

var (
	_ issuer.Observer      = (*IssuerMetrics)(nil)
	_ prometheus.Collector = (*IssuerMetrics)(nil)
)
