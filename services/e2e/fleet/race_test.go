//go:build e2e && race

package fleet

// raced reports whether the tests run with the race detector; the programs are
// then built with it, too.
const raced = true
