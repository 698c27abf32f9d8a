//go:build e2e && !race

package e2e

// raced reports whether the tests run with the race detector.
const raced = false
