package monitor

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/curfew-project/curfew/issuer"
)

// tokenCache is what the issuer's cache of tokens looks like to Prometheus (D7).
type tokenCache struct {
	stats              func() issuer.TokenCacheStats
	lookUps, kept, age *prometheus.Desc
}

// TokenCache is the collector of an issuer's cache of tokens.
func TokenCache(stats func() issuer.TokenCacheStats) prometheus.Collector {
	return &tokenCache{
		stats: stats,
		lookUps: prometheus.NewDesc("curfew_token_lookups_total",
			"Look-ups of the tokens of requests: hit is answered from the cache; the others asked the store, because it is not kept (miss), "+
				"because the cache has not heard from the store for a second (stale), or because it may have expired (ending).",
			[]string{"result"}, nil),
		kept: prometheus.NewDesc("curfew_token_cache_tokens", "Tokens in the cache.", nil, nil),
		age: prometheus.NewDesc("curfew_token_cache_age_seconds",
			"Since the store was last asked which tokens have changed; above 1 the cache is not used. Left out before the first answer.", nil, nil),
	}
}

// Describe implements [prometheus.Collector].
func (m *tokenCache) Describe(out chan<- *prometheus.Desc) {
	out <- m.lookUps
	out <- m.kept
	out <- m.age
}

// Collect implements [prometheus.Collector].
func (m *tokenCache) Collect(out chan<- prometheus.Metric) {
	s := m.stats()
	if s.Off {
		return
	}
	for result, n := range map[string]uint64{"hit": s.Hits, "miss": s.Misses, "stale": s.Stale, "ending": s.Ending} {
		out <- prometheus.MustNewConstMetric(m.lookUps, prometheus.CounterValue, float64(n), result)
	}
	out <- prometheus.MustNewConstMetric(m.kept, prometheus.GaugeValue, float64(s.Kept))
	if s.Known {
		out <- prometheus.MustNewConstMetric(m.age, prometheus.GaugeValue, s.Age.Seconds())
	}
}

var _ prometheus.Collector = (*tokenCache)(nil)
