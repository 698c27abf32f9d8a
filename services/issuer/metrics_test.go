package main

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/curfew-project/curfew/issuer"
)

func TestMetricsOfTheTokenCache(t *testing.T) {
	t.Parallel()
	var s issuer.TokenCacheStats
	m := newMetrics(func() issuer.TokenCacheStats { return s })
	if n := testutil.CollectAndCount(m, "curfew_token_cache_age_seconds"); n != 0 {
		t.Error("there is an age before the first answer")
	}
	s.Hits, s.Misses, s.Stale, s.Ending, s.Kept, s.Age, s.Known = 5, 4, 3, 2, 1, 250*time.Millisecond, true
	want := `
# HELP curfew_token_cache_age_seconds Since the store was last asked which tokens have changed; above 1 the cache is not used. Left out before the first answer.
# TYPE curfew_token_cache_age_seconds gauge
curfew_token_cache_age_seconds 0.25
# HELP curfew_token_cache_tokens Tokens in the cache.
# TYPE curfew_token_cache_tokens gauge
curfew_token_cache_tokens 1
# HELP curfew_token_lookups_total Look-ups of the tokens of requests: hit is answered from the cache; the others asked the store, because it is not kept (miss), because the cache has not heard from the store for a second (stale), or because it may have expired (ending).
# TYPE curfew_token_lookups_total counter
curfew_token_lookups_total{result="ending"} 2
curfew_token_lookups_total{result="hit"} 5
curfew_token_lookups_total{result="miss"} 4
curfew_token_lookups_total{result="stale"} 3
`
	if err := testutil.CollectAndCompare(m, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	s.Off = true
	if n := testutil.CollectAndCount(m); n != 0 {
		t.Errorf("a cache that is off has %d metrics", n)
	}
}
