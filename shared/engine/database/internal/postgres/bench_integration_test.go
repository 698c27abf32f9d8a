//go:build integration

package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
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
			w.batches(b, n, plan(createLogin, `GRANT `+group+` TO "{{name}}"`))
		})
	}
}

// BenchmarkTables creates and removes accounts with rights on 20 tables: granted
// to each, and to a group role of Curfew's (shared_grants); with one iteration of
// the hash, and with as many as there are by default.
func BenchmarkTables(b *testing.B) {
	const tables, accounts = 20, 32
	for _, iterations := range []int{1, 4096} {
		for _, shared := range []bool{false, true} {
			b.Run(fmt.Sprintf("iterations=%d/shared=%t", iterations, shared), func(b *testing.B) {
				w := settle(b, testkit.SharedPostgres(b).CreateAdmin(b, testkit.CreateRoleAdmin))
				conn := w.admin.Connect(b)
				for i := range tables - 1 { // and items
					run(b, conn, fmt.Sprintf(`CREATE TABLE table_%d (n int)`, i))
				}
				p := plan(createLogin, grantAll)
				if shared {
					var g postgres.Group
					g, p = sharing(grantAll)
					w.keep(g)
				}
				p.Iterations = iterations
				w.batches(b, accounts, p)
			})
		}
	}
}

// batches creates, disables and removes n accounts at a time.
func (w *world) batches(b *testing.B, n int, p postgres.Plan) {
	b.Helper()
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
}
