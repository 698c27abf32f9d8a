//go:build e2e && race

package e2e

// raced reports whether the tests run with the race detector; the program is
// then built with it, too.
const raced = true
