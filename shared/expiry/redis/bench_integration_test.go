//go:build integration

package redis

import (
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/testkit"
)

// leases are ids as they are in life: 47 bytes.
func leases(from, n int) []expiry.Member {
	out := make([]expiry.Member, n)
	for i := range out {
		out[i] = expiry.Member{
			ID:     lease.ID(fmt.Sprintf("database/creds/readonly/%023d", from+i)),
			Target: "a", At: base.Add(time.Duration(from+i) * time.Microsecond),
		}
	}
	return out
}

// BenchmarkOffer offers leases in pages of 1,000, as the indexer does.
func BenchmarkOffer(b *testing.B) {
	x := fresh(b, single(testkit.Redis(b)))
	b.ResetTimer()
	for from := 0; from < b.N; from += 1000 {
		if err := x.Offer(b.Context(), leases(from, min(1000, b.N-from))...); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "leases/s")
}

// BenchmarkMissing compares leases in pages of 1,000, as the revoker does.
func BenchmarkMissing(b *testing.B) {
	x := fresh(b, single(testkit.Redis(b)))
	const there = 10_000
	for from := 0; from < there; from += 1000 {
		if err := x.Offer(b.Context(), leases(from, 1000)...); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for from := 0; from < b.N; from += 1000 {
		found, err := x.Missing(b.Context(), leases(from%there, min(1000, b.N-from))...)
		if err != nil || len(found) != 0 {
			b.Fatal(len(found), err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "leases/s")
}

// BenchmarkClaim claims and completes leases in batches of 128.
func BenchmarkClaim(b *testing.B) {
	for _, workers := range []int{1, 4} {
		b.Run(fmt.Sprint("workers=", workers), func(b *testing.B) {
			x := fresh(b, single(testkit.Redis(b)))
			for from := 0; from < b.N; from += 1000 {
				if err := x.Offer(b.Context(), leases(from, min(1000, b.N-from))...); err != nil {
					b.Fatal(err)
				}
			}
			b.ResetTimer()
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for {
						c, err := x.Claim(b.Context(), "a", base.Add(time.Hour), 128, time.Minute)
						if err == nil && len(c.Members) == 0 {
							return
						}
						if err == nil {
							err = x.Complete(b.Context(), c)
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "leases/s")
		})
	}
}

var usedMemory = regexp.MustCompile(`used_memory:(\d+)`)

// BenchmarkMemory says what a waiting lease costs; run it with
// -benchtime=1000000x.
func BenchmarkMemory(b *testing.B) {
	x := fresh(b, Config{Addresses: []string{testkit.Redis(b, testkit.WithRedisSetting("appendonly", "no")).Address()}})
	used := func() int {
		info, err := x.client.Info(b.Context(), "memory").Result()
		if err != nil {
			b.Fatal(err)
		}
		n, err := strconv.Atoi(usedMemory.FindStringSubmatch(info)[1])
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	if err := x.Offer(b.Context(), leases(0, 1)...); err != nil { // scripts and connections
		b.Fatal(err)
	}
	before := used()
	for from := 1; from < b.N; from += 1000 {
		if err := x.Offer(b.Context(), leases(from, min(1000, b.N-from))...); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(used()-before)/float64(b.N), "B/lease")
}
