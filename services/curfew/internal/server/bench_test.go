//go:build unix

package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkRead is a cheap read over HTTP, by 32 clients on connections that
// stay open: with the cache of tokens (D7) and without it.
func BenchmarkRead(b *testing.B) {
	for _, tokens := range []int64{16_384, 0} {
		b.Run(fmt.Sprintf("cached=%t", tokens > 0), func(b *testing.B) {
			c := configuration(b)
			c.Limits.Tokens = tokens
			a, stop := run(b, c)
			defer stop()
			token, err := os.ReadFile(filepath.Join(c.DataDir, "root-token"))
			if err != nil {
				b.Fatal(err)
			}
			const clients = 32
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
			b.SetParallelism(clients / 2) // of two cores
			var failed atomic.Int64
			b.ReportAllocs()
			before := cpu(b)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if !read(b.Context(), client, a.Address+"/v1/sys/mounts", strings.TrimSpace(string(token))) {
						failed.Add(1)
					}
				}
			})
			b.StopTimer()
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "µs-cpu/op")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
			if n := failed.Load(); n > 0 {
				b.Errorf("%d requests failed", n)
			}
		})
	}
}

// cpu is what this process has spent of the processors, clients and all roles
// together: on a machine with other work it says more than the time that passed.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func read(ctx context.Context, client *http.Client, url, token string) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	r.Header.Set("X-Vault-Token", token)
	res, err := client.Do(r)
	if err != nil {
		return false
	}
	defer func() { _ = res.Body.Close() }()
	_, err = io.Copy(io.Discard, res.Body)
	return err == nil && res.StatusCode == http.StatusOK
}
