//go:build integration

package postgres_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// BenchmarkLife is the life of a lease in three commits (a beginning, an
// activation, both with the guards of life, and a revocation), by one caller
// and by many that share commits (A6).
func BenchmarkLife(b *testing.B) {
	for _, callers := range []int{1, 32, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := openReal(b, configured(b))
			put, err := s.Write(b.Context(), store.Write{Puts: []store.Entry{
				{Kind: store.KindMount, Key: "database/"}, {Kind: store.KindRole, Key: "m/r"}, {Kind: store.KindConnection, Key: "m/c"},
			}})
			if err != nil {
				b.Fatal(err)
			}
			guard := store.Guard{Barriers: true}
			for _, e := range put {
				guard.Entries = append(guard.Entries, store.Ref{Kind: e.Kind, ID: e.ID})
			}
			var n atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						if err := live(b, s, guard); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "leases/s")
			b.ReportMetric(3*float64(b.N)/b.Elapsed().Seconds(), "transitions/s")
		})
	}
}

func live(b *testing.B, s store.Store, guard store.Guard) error {
	b.Helper()
	id := lease.NewID("database/creds/readonly")
	l := lease.Lease{
		Kind: lease.Secret, MountID: "mount", Mount: "database/", Role: "readonly", Engine: "database", Target: "target",
		TokenID: "auth/token/create/parent", Account: "v-token-readonly-" + string(id[len(id)-24:]), Plan: make([]byte, 300),
		TTL: time.Hour, MaxTTL: 24 * time.Hour, Renewable: true,
	}
	for v, do := range []lease.Action{lease.Begin{Lease: l, Grace: time.Minute}, lease.Activate{Handle: []byte("oid")}, lease.Revoke{}} {
		item := store.Transition{Guard: guard, Change: lease.Change{
			ID: id, Version: int64(v), Key: lease.RandomBase62(12), By: lease.System("bench"), Do: do,
		}}
		if out := s.Apply(b.Context(), item)[0]; out.Err != nil {
			return out.Err
		}
	}
	return nil
}

// BenchmarkNumber numbers 1,024 events at a time, with a long backlog behind
// them, and reads them as the publisher does.
func BenchmarkNumber(b *testing.B) {
	const batch = 1024
	s := openReal(b, configured(b))
	backlog(b, s, 100*batch)
	lock, _, err := s.Acquire(b.Context(), "publisher", "bench", time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	var after event.Position
	for b.Loop() {
		head, n, err := s.Number(b.Context(), lock, batch)
		if err != nil {
			b.Fatal(err)
		}
		all, err := s.Events(b.Context(), after, batch)
		if err != nil || len(all) != n {
			b.Fatal(len(all), n, err)
		}
		if after = head; n < batch {
			b.StopTimer()
			backlog(b, s, 100*batch)
			b.StartTimer()
		}
	}
	b.ReportMetric(batch*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func backlog(b *testing.B, s store.Store, n int) {
	b.Helper()
	events := make([]event.Event, 1024)
	for i := range events {
		events[i] = event.Event{Type: event.RequestServed, Subject: "database/creds/readonly", Data: event.Data{Status: 200}}
	}
	for range n / len(events) {
		if err := s.Append(b.Context(), events...); err != nil {
			b.Fatal(err)
		}
	}
}
