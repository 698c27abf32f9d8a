//go:build e2e

package e2e

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/curfew-project/curfew/shared/testkit"
)

// TestQuotas: a lease count holds exactly over all issuers, and makes room when
// leases end; a rate refuses with the headers that clients go by; neither refuses
// a revocation. What a stock client writes is what it reads.
func TestQuotas(t *testing.T) {
	t.Parallel()
	s := newCurfew(t)
	c := newVault(t, s)
	target := targetOf(t, testkit.Postgres(t), testkit.CreateRoleAdmin) // its own: accounts are counted
	target.setUp(t, c, "database", "1h", "1h")
	_, err := c.write("sys/quotas/lease-count/db", map[string]any{"path": "database/creds", "max_leases": 5})
	must(t, err, "write a lease count")
	const asked, most = 24, 5
	var wg sync.WaitGroup
	var made, refused atomic.Int64
	for range asked {
		wg.Go(func() {
			r, err := s.send(http.MethodGet, "/v1/database/creds/app", s.root, "", nil)
			switch {
			case err != nil:
				t.Errorf("issue: %v", err)
			case r.status == http.StatusOK:
				made.Add(1)
			case r.status == http.StatusTooManyRequests && strings.Contains(string(r.body), "lease count quota exceeded"):
				refused.Add(1)
			default:
				t.Errorf("issue: %d %s", r.status, r.body)
			}
		})
	}
	wg.Wait()
	if accounts := len(target.accounts(t, "v-")); made.Load() != most || refused.Load() != asked-most || accounts != most {
		t.Errorf("of %d requests at once %d were served, %d refused, and there are %d accounts; the quota is %d",
			asked, made.Load(), refused.Load(), accounts, most)
	}
	a, err := c.read("sys/quotas/lease-count/db")
	must(t, err, "read it")
	if a.text("counter") != "5" || a.text("max_leases") != "5" || a.text("path") != "database/creds/" {
		t.Errorf("the lease count is %v", a.Data)
	}
	_, err = c.write("sys/quotas/rate-limit/all", map[string]any{"path": "", "rate": "0.001", "interval": "1h", "block_interval": "1h"})
	must(t, err, "write a rate limit")
	eventually(t, hang, func() error { // every issuer has heard of it
		for range 8 {
			r, err := s.send(http.MethodGet, "/v1/sys/mounts", s.root, "", nil)
			if err != nil {
				return err
			}
			if r.status != http.StatusTooManyRequests || r.header.Get("Retry-After") == "" || r.header.Get("X-RateLimit-Limit") != "1" {
				return &unexpected{r}
			}
		}
		return nil
	})
	must(t, c.revokePrefix("database/creds", true), "revoke beside the rate limit")
	if left := target.accounts(t, "v-"); len(left) != 0 {
		t.Errorf("accounts are left: %v", left)
	}
}

// unexpected is an answer that is another than was waited for.
type unexpected struct{ r *reply }

func (u *unexpected) Error() string { return http.StatusText(u.r.status) + " " + string(u.r.body) }
