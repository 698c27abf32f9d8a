package api

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/wire"
)

// limit counts the request against its rate quota, and says in headers how it
// stands.
func (e *exchange) limit(path, address string) error {
	v, headers := e.api.Quotas.Take(path, address)
	if !v.Governed || v.Allowed && !headers {
		return nil
	}
	reset := int64(math.Ceil(v.Reset.Seconds()))
	h := e.w.Header()
	h.Set("X-Ratelimit-Limit", strconv.Itoa(v.Limit))
	h.Set("X-Ratelimit-Remaining", strconv.Itoa(v.Remaining))
	h.Set("X-Ratelimit-Reset", strconv.FormatInt(reset, 10))
	if v.Allowed {
		return nil
	}
	return &wire.Error{
		Status: http.StatusTooManyRequests, Messages: []string{fmt.Sprintf("request path %q: rate limit quota exceeded", path)},
		RetryAfter: time.Duration(reset) * time.Second,
	}
}
