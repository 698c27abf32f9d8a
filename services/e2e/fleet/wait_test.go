//go:build e2e

package fleet

import (
	"fmt"
	"testing"
	"time"
)

const (
	// hang is how long a test waits for what has no deadline of its own.
	hang = 2 * time.Minute
	// pace is how often it looks.
	pace = 50 * time.Millisecond
)

// eventually waits until check returns nil and fails with its last error. It
// returns how long that took.
func eventually(tb testing.TB, what string, check func() error) time.Duration {
	tb.Helper()
	began := time.Now()
	for {
		err := check()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > hang {
			tb.Fatalf("%s: not within %v: %v", what, hang, err)
		}
		time.Sleep(pace)
	}
}

// must fails the test at an error.
func must(tb testing.TB, err error, doing string) {
	tb.Helper()
	if err != nil {
		tb.Fatalf("%s: %v", doing, err)
	}
}

// shortError says how far a load is from its goal.
type shortError struct {
	done, goal int64
	seen       []error
}

func (e shortError) Error() string {
	last := "none"
	if len(e.seen) > 0 {
		last = e.seen[len(e.seen)-1].Error()
	}
	return fmt.Sprintf("%d of %d requests were answered; last error: %s", e.done, e.goal, last)
}
