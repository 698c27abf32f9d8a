package sqlite_test

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/sqlite"
)

// BenchmarkLife is what a drain costs the store: of 10,000 leases that live, in
// flights of 128, sixteen at a time, each is taken into revocation and ended. The
// processor time is that of the whole process.
func BenchmarkLife(b *testing.B) {
	const leases, flight, aloft = 10_000, 128, 16
	ctx := b.Context()
	for b.Loop() {
		b.StopTimer()
		s, err := sqlite.Open(ctx, b.TempDir(), clock.System{}, sqlite.Config{})
		if err != nil {
			b.Fatal(err)
		}
		ids := make([]lease.ID, leases)
		var items []store.Transition
		for i := range ids {
			ids[i] = lease.NewID("database/creds/app")
			items = append(items, store.Transition{Change: lease.Change{
				ID: ids[i], Key: lease.RandomBase62(16), By: lease.Actor{Name: "accessor-of-a-token", DisplayName: "approle", Address: "127.0.0.1", RequestID: "5b0a2b44-9f3e-4a3c-8f0a-2b449f3e4a3c"},
				Do: lease.Begin{Lease: lease.Lease{
					Kind: lease.Secret, MountID: "3pQ9vLrT2mXcZ8aB", Mount: "database/", Role: "app", Engine: "database", Target: "Zk4tR8wLq2NbV7cD",
					TokenID: "auth/token/create/5b0a2b449f3e4a3c8f0a2b44", Account: fmt.Sprintf("v-approle-app-%020d-%d", i, 1763877000), Plan: make([]byte, 200), TTL: time.Hour,
				}},
			}})
		}
		all := func(items []store.Transition) {
			for _, o := range s.Apply(ctx, items...) {
				if o.Err != nil {
					b.Error(o.Err)
				}
			}
		}
		all(items)
		for i := range items {
			items[i].Change = lease.Change{ID: ids[i], Version: 1, Key: lease.RandomBase62(16), Do: lease.Activate{Handle: make([]byte, 60)}}
		}
		all(items)
		drain := func(do func() lease.Action) {
			var wg sync.WaitGroup
			for lane := range aloft {
				wg.Go(func() {
					for at := lane * flight; at < leases; at += aloft * flight {
						part := make([]store.Transition, 0, flight)
						for _, id := range ids[at:min(at+flight, leases)] {
							part = append(part, store.Transition{Change: lease.Change{ID: id, Version: lease.AnyVersion, Key: lease.RandomBase62(16), By: lease.System(lease.ActorExpiry), Do: do()}})
						}
						all(part)
					}
				})
			}
			wg.Wait()
		}
		before := processor(b)
		b.StartTimer()
		drain(func() lease.Action { return lease.Revoke{} })
		drain(func() lease.Action {
			now := time.Now()
			return lease.Finish{To: lease.Revoked, Stages: lease.Stages{DisabledAt: now, SessionsEndedAt: now}}
		})
		b.StopTimer()
		b.ReportMetric(float64((processor(b)-before).Microseconds())/leases, "cpu-µs/lease")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// processor is what the process has used of the processors.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
