//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"
)

const (
	// hang is how long a test waits for what has no deadline of its own.
	hang = 90 * time.Second
	// pace is how often it looks.
	pace = 20 * time.Millisecond
)

// eventually waits until check returns nil and fails with its last error.
func eventually(tb testing.TB, within time.Duration, check func() error) {
	tb.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("not within %v: %v", within, err)
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

// want compares one value.
func want[T comparable](tb testing.TB, what string, got, want T) {
	tb.Helper()
	if got != want {
		tb.Errorf("%s: got %v, want %v", what, fmt.Sprint(got), fmt.Sprint(want))
	}
}

// term compares a lease_duration. A lease ends before its account does, so one
// whose creation took seconds, on a busy machine, is that much shorter (B8).
func term(tb testing.TB, got, want time.Duration) {
	tb.Helper()
	const busy = 10 * time.Second
	if got > want || got < want-busy {
		tb.Errorf("lease_duration: got %v, want %v", got, want)
	}
}
