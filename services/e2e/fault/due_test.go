//go:build e2e

package fault

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// makers are the clients that issue many leases, and look is how many each of
	// them issues to see how fast it goes.
	makers, look = 32, 10
	// rewritten is how often a role is written whose leases fall due together.
	rewritten = time.Second
)

// together issues n leases that fall due within two seconds, and returns when that
// begins: at least spare later than now. A time to live is frozen in its lease
// (A2), so the role is written anew as time goes on.
func (w *world) together(t *testing.T, g *target, n int, spare time.Duration) (all []credential, due time.Time) {
	t.Helper()
	first := min(n, makers*look)
	began := time.Now()
	for _, cred := range w.many(t, g.mount+"/creds/batch", first) {
		w.book.asks(cred)
		w.book.ends(cred)
	}
	due = time.Now().Add(time.Since(began)*time.Duration(n)/time.Duration(first)*3/2 + 2*spare).Truncate(time.Second)
	c := w.client(t)
	_, err := c.Logical().Write("sys/leases/revoke-prefix/"+g.mount+"/creds/batch", map[string]any{"sync": false})
	must(t, err, "revoke what was issued to see")
	write := func() {
		_, err := c.Logical().Write(g.mount+"/roles/due", role(time.Until(due).Round(time.Second).String()))
		must(t, err, "write the role")
	}
	write()
	made := make(chan struct{})
	go func() {
		defer close(made)
		all = w.many(t, g.mount+"/creds/due", n)
	}()
	for tick := time.NewTicker(rewritten); ; {
		select {
		case <-tick.C:
			if time.Until(due) > spare {
				write()
			}
			continue
		case <-made:
		}
		tick.Stop()
		break
	}
	for _, cred := range all {
		w.book.ends(cred)
	}
	due = due.Add(-rewritten)
	t.Logf("%d leases in %v: %.0f a second; due in %v", len(all), time.Since(began).Round(time.Second),
		float64(first+n)/time.Since(began).Seconds(), time.Until(due).Round(100*time.Millisecond))
	if len(all) < n || time.Until(due) < 0 {
		t.Fatalf("%d of %d leases were issued, and they are due in %v", len(all), n, time.Until(due))
	}
	return all, due
}

// many issues n credentials. Who gets no answer in time asks again; what came of
// the first request runs out by itself.
func (w *world) many(t *testing.T, path string, n int) (all []credential) {
	t.Helper()
	var (
		mu    sync.Mutex
		taken atomic.Int64
		again atomic.Int64
		made  sync.WaitGroup
	)
	for range min(makers, n) {
		c := w.client(t)
		made.Go(func() {
			for taken.Add(1) <= int64(n) {
				cred, err := w.issue(t.Context(), c, path)
				for err != nil && unclear(err) && again.Add(1) < int64(max(10, n/10)) {
					cred, err = w.issue(t.Context(), c, path)
				}
				if err != nil {
					t.Errorf("issue: %v", err)
					return
				}
				mu.Lock()
				all = append(all, cred)
				mu.Unlock()
			}
		})
	}
	made.Wait()
	if n := again.Load(); n > 0 {
		t.Logf("%d requests were not answered in time", n)
	}
	return all
}
