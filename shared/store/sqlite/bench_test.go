package sqlite_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/sqlite"
)

// BenchmarkApply is the cost of a beginning with its event, one caller and
// many that share commits (A6).
func BenchmarkApply(b *testing.B) {
	for _, callers := range []int{1, 32, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s, err := sqlite.Open(b.Context(), b.TempDir(), clock.System{}, sqlite.Config{})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			var n atomic.Int64
			left := make(chan struct{}, b.N)
			for range b.N {
				left <- struct{}{}
			}
			close(left)
			done := make(chan error, callers)
			b.ResetTimer()
			for range callers {
				go func() {
					for range left {
						item := begin(lease.ID(fmt.Sprintf("database/creds/a/%024d", n.Add(1))))
						item.Guard = store.Guard{Barriers: true}
						if out := s.Apply(b.Context(), item); out[0].Err != nil {
							done <- out[0].Err
							return
						}
					}
					done <- nil
				}()
			}
			for range callers {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "leases/s")
		})
	}
}

// BenchmarkDue is a page of due leases among many that are not.
func BenchmarkDue(b *testing.B) {
	s, err := sqlite.Open(b.Context(), b.TempDir(), clock.System{}, sqlite.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for n := range 200 {
		var items []store.Transition
		for i := range 100 {
			item := begin(lease.ID(fmt.Sprintf("a/%d-%d", n, i)))
			item.Change.Do = lease.Begin{Lease: lease.Lease{Kind: lease.Token, TTL: time.Duration(1+n*i%1000) * time.Minute}}
			items = append(items, item)
		}
		s.Apply(b.Context(), items...)
	}
	until := time.Now().Add(10 * time.Minute)
	for b.Loop() {
		if _, err := s.Due(b.Context(), until, store.Cursor{}, 128); err != nil {
			b.Fatal(err)
		}
	}
}
