//go:build integration

package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/testkit"
)

// BenchmarkBatch creates and removes accounts that are members of a group, as
// the lint recommends, in batches.
func BenchmarkBatch(b *testing.B) {
	for _, n := range []int{1, 32, 128} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			admin := testkit.SharedPostgres(b).CreateAdmin(b, testkit.CreateRoleAdmin)
			w := settle(b, admin)
			group := "readers_" + admin.User
			run(b, w.super(), `CREATE ROLE `+group)
			run(b, w.super(), `GRANT `+group+` TO `+admin.User+` WITH ADMIN OPTION`)
			p := plan(createLogin, `GRANT `+group+` TO "{{name}}"`)
			w.removed(w.issue(1, p)...)
			var create, disable, remove time.Duration
			for b.Loop() {
				start := time.Now()
				made := w.issue(n, p)
				create += time.Since(start)
				leases := make([]lease.Lease, n)
				for i := range leases {
					leases[i] = made[i].lease
				}
				start = time.Now()
				for _, o := range w.Disable(b.Context(), leases) {
					if o.Err != nil {
						b.Fatal(o.Err)
					}
				}
				disable += time.Since(start)
				for i := range leases {
					leases[i].Revocation.DisabledAt, leases[i].Revocation.SessionsEndedAt = time.Now(), time.Now()
				}
				start = time.Now()
				for _, o := range w.Remove(b.Context(), leases) {
					if o.Err != nil {
						b.Fatal(o.Err)
					}
				}
				remove += time.Since(start)
			}
			for name, d := range map[string]time.Duration{"created/s": create, "disabled/s": disable, "removed/s": remove} {
				b.ReportMetric(float64(n*b.N)/d.Seconds(), name)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
