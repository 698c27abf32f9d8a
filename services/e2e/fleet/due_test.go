//go:build e2e

package fleet

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// dueLeases is how many leases fall due together.
	dueLeases = 5000
	// issueWithin is how long they may take to be made; on a machine that cannot
	// do that, fewer fall due. makers are the clients that do it.
	issueWithin = 2 * time.Minute
	makers      = 32
	// claimHold and sweepEvery are the revoker's: the longest that a claim of a
	// killed one is missed, and how often overdue leases are looked for.
	claimHold  = 5 * time.Second
	sweepEvery = time.Second
	// workWithin is generous for what a revoker alone has to do then, on a machine
	// that does much else.
	workWithin = 2 * time.Minute
)

// due kills one of two revokers while thousands of leases fall
// due. Each account is revoked once and none is forgotten (C7, D1).
func due(t *testing.T, f *fleet) {
	t.Helper()
	kept := f.hold(t, f.client(t))
	within := f.horizon(t)
	began := time.Now()
	due := f.together(t, began.Add(within))
	t.Logf("%d leases were issued in %v, due %v after the first", len(due), time.Since(began).Round(time.Second), within)
	if len(due) < 500 {
		t.Fatalf("only %d leases: the test is of no use", len(due))
	}
	count := func() int { return len(f.target.accounts(t)) - len(f.book.holds()) }
	start, left := count(), 0
	eventually(t, "a quarter of them is gone", func() error {
		if left = count(); left > start*3/4 {
			return fmt.Errorf("%d of %d are there", left, start)
		}
		return nil
	})
	f.kill(t, "revoker-1")
	t.Logf("one revoker was killed when %d of %d accounts were left", left, start)
	if left < start/20 {
		t.Errorf("it was killed at the end, not in the middle")
	}
	f.check(t)
	disabled, gone := f.lags(t, due)
	t.Logf("%d leases, disabled after their time: %s", len(due), spread(disabled))
	t.Logf("%d leases, gone after their time: %s", len(due), spread(gone))
	if worst := gone[len(gone)-1]; worst > claimHold+sweepEvery+workWithin {
		t.Errorf("one was gone only %v after its time", worst)
	}
	renew(t, f.client(t), kept, time.Hour)
	f.start(t)
}

// revokersFrozen stops one of two revokers in the middle of its work and lets
// it go on when the other has done it: its claims have lapsed, and what it still
// does harms nobody (C7).
func revokersFrozen(t *testing.T, f *fleet) {
	t.Helper()
	l := f.load(t, 8)
	l.more(t, 50)
	for _, name := range f.named("revoker-") {
		thaw, frozen := f.freeze(t, name), time.Now()
		c := f.client(t)
		var brief []credential
		for range 10 {
			brief = append(brief, f.brief(t, c))
		}
		t.Logf("%s is frozen; leases that ran out meanwhile were gone %v later", name, f.gone(t, brief).Round(time.Millisecond))
		l.more(t, 100)
		time.Sleep(time.Until(frozen.Add(lockLasts + 2*time.Second))) // it may have been the publisher (D3)
		thaw()
		l.more(t, 50)
	}
	if errors := l.stop(t); len(errors) > 0 {
		t.Errorf("%d requests failed", len(errors))
	}
	f.check(t)
}

// horizon is how long it will take to issue them all, as a few tell, and some.
func (f *fleet) horizon(t *testing.T) time.Duration {
	t.Helper()
	const few = 10 // of each client
	began := time.Now()
	var clients sync.WaitGroup
	for range makers {
		c := f.client(t)
		clients.Go(func() {
			for range few {
				cred, err := issue(t.Context(), c, "app")
				if err != nil {
					t.Errorf("issue: %v", err)
					return
				}
				f.book.note(func() { f.book.held[cred.user] = cred })
			}
		})
	}
	clients.Wait()
	all := time.Since(began) * dueLeases / (makers * few)
	return min(issueWithin, all*3/2+20*time.Second).Round(time.Second)
}

// together issues leases that end about at due: a role's time to live is
// frozen in the lease (A2), so the role is written anew as time goes on.
func (f *fleet) together(t *testing.T, due time.Time) []credential {
	t.Helper()
	const (
		step   = 2 * time.Second  // between two writes of the role
		before = 10 * time.Second // no more are issued
	)
	admin := f.client(t)
	write := func() { must(t, f.target.role(admin, "due", time.Until(due).Round(time.Second)), "write role due") }
	write()
	var (
		mu    sync.Mutex
		all   []credential
		taken atomic.Int64
		made  sync.WaitGroup
	)
	deadline := due.Add(-before)
	for range makers {
		c := f.client(t)
		made.Go(func() {
			for taken.Add(1) <= dueLeases && time.Now().Before(deadline) {
				cred, err := issue(t.Context(), c, "due")
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
	done := make(chan struct{})
	go func() { made.Wait(); close(done) }()
	for tick := time.NewTicker(step); ; {
		select {
		case <-tick.C:
			if time.Until(due) > before {
				write()
			}
			continue
		case <-done:
			tick.Stop()
		}
		break
	}
	f.book.note(func() {
		for _, cred := range all {
			f.book.ended[cred.user] = cred
		}
	})
	return all
}
