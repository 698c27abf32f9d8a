//go:build e2e && !race

package fleet

const raced = false
