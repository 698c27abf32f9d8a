// Package memory keeps the garbage of a process small beside what it holds.
//
// Go's collector lets garbage grow to the size of what lives, whatever that
// costs and whatever it saves. Of a burst of work, such as tens of thousands of
// leases that are due at once, most is garbage, and a process that takes
// hundreds of megabytes for it is one that somebody's limit ends. So there is a
// soft limit on what Go takes, which collecting more often holds.
//
// # What holds
//
//   - The limit is [Floor], or what lives and a margin. Where much lives, garbage
//     may be as much as Go's collector would let it, less a constant: collecting
//     never costs a large process many times what it would.
//   - Where operators set GOMEMLIMIT or GOGC, theirs counts and nothing is done.
//
// The limit is one of the process: one Keep at a time is enough, several do no
// harm.
package memory

import (
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
)

const (
	// Floor is the least limit, in bytes.
	Floor = 176 << 20
	// margin is the least room for garbage beside what lives, in bytes.
	margin = 40 << 20
	// spared is by how many bytes garbage stays below what lives, where that is
	// more than the margin leaves.
	spared = 160 << 20
	// pace is how often the limit is adapted.
	pace = time.Second
)

// Keep holds the limit until end is called, which gives the process back the
// limit that it had.
func Keep(c clock.Clock, lookup func(string) (string, bool)) (end func()) {
	for _, theirs := range []string{"GOMEMLIMIT", "GOGC"} {
		if _, set := lookup(theirs); set {
			return func() {}
		}
	}
	before := debug.SetMemoryLimit(Floor)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		limit := int64(Floor)
		for {
			tick, stop := c.Timer(pace)
			select {
			case <-done:
				stop()
				return
			case <-tick:
			}
			if next := room(live()); next != limit {
				limit = next
				debug.SetMemoryLimit(limit)
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(done)
		<-ended
		debug.SetMemoryLimit(before)
	})
}

// room is the limit where so many bytes live.
func room(live int64) int64 {
	return max(Floor, live+max(margin, live-spared))
}

// live is how many bytes the last collection found in use.
func live() int64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64()) //nolint:gosec // bytes that there are
}
