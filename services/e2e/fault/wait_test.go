//go:build e2e

package fault

import (
	"context"
	"testing"
	"time"
)

const (
	// hang is how long a test waits for what has no deadline of its own.
	hang = 2 * time.Minute
	// pace is how often it looks.
	pace = 20 * time.Millisecond
	// cleanWithin is the promise: everything agrees so long after the last
	// process is up.
	cleanWithin = 30 * time.Second
	// slow is from when on it is said what was waited for.
	slow = 10 * time.Second
)

// must fails the test at an error.
func must(tb testing.TB, err error, doing string) {
	tb.Helper()
	if err != nil {
		tb.Fatalf("%s: %v", doing, err)
	}
}

// soon waits until holds, and reports whether it did within d.
func soon(d time.Duration, holds func() bool) bool {
	for deadline := time.Now().Add(d); ; time.Sleep(pace) {
		if holds() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// lasting is for what all tests share.
func lasting() context.Context { return context.Background() }
