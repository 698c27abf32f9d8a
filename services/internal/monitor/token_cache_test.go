package monitor

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/issuer"
)

func TestMetricsOfTheTokenCache(t *testing.T) {
	t.Parallel()
	var s issuer.TokenCacheStats
	all := New("curfew-issuer", "1.2.3")
	all.Register(TokenCache(func() issuer.TokenCacheStats { return s }))
	scrape := func() (lines []string) {
		r := httptest.NewRecorder()
		all.Handler().ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
		for line := range strings.Lines(r.Body.String()) {
			if strings.HasPrefix(line, "curfew_token_") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		return lines
	}
	s.Hits, s.Misses, s.Stale, s.Ending, s.Kept = 5, 4, 3, 2, 1
	want := []string{
		"curfew_token_cache_tokens 1",
		`curfew_token_lookups_total{result="ending"} 2`, `curfew_token_lookups_total{result="hit"} 5`,
		`curfew_token_lookups_total{result="miss"} 4`, `curfew_token_lookups_total{result="stale"} 3`,
	}
	if got := scrape(); !slices.Equal(got, want) {
		t.Errorf("before the first answer: %q, want %q", got, want)
	}
	s.Age, s.Known = 250*time.Millisecond, true
	want = append([]string{"curfew_token_cache_age_seconds 0.25"}, want...)
	if got := scrape(); !slices.Equal(got, want) {
		t.Errorf("then: %q, want %q", got, want)
	}
	s.Off = true
	if got := scrape(); len(got) > 0 {
		t.Errorf("a cache that is off has %q", got)
	}
}
