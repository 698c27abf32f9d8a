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
//   - The limit is [Floor], or what lives and a margin.
//   - Collecting takes at most about a tenth of the processor's time that the
//     process has: where it takes more, the limit rises, and sinks again later.
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
	// pace is how often the limit is adapted.
	pace = time.Second
	// dear and cheap are shares of the processor's time that collecting takes, above
	// and below which the limit rises by a quarter and sinks by a sixteenth.
	dear, cheap = 0.10, 0.04
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
		limit, last := int64(Floor), read()
		for {
			tick, stop := c.Timer(pace)
			select {
			case <-done:
				stop()
				return
			case <-tick:
			}
			now := read()
			if next := adapted(limit, now.live, now.share(last)); next != limit {
				limit = next
				debug.SetMemoryLimit(limit)
			}
			last = now
		}
	}()
	return sync.OnceFunc(func() {
		close(done)
		<-ended
		debug.SetMemoryLimit(before)
	})
}

// adapted is the limit that follows, where so many bytes live and collecting took
// a share of the time.
func adapted(limit, live int64, share float64) int64 {
	switch {
	case share > dear:
		limit += limit / 4
	case share < cheap:
		limit -= limit / 16
	}
	return max(limit, Floor, live+margin)
}

// reading is what the runtime tells of itself.
type reading struct {
	live       int64   // bytes that the last collection found
	collecting float64 // seconds of the processor since the start, but those that nobody else wanted
	all        float64 // seconds that there were
}

func read() reading {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/cpu/classes/gc/total:cpu-seconds"},
		{Name: "/cpu/classes/gc/mark/idle:cpu-seconds"},
		{Name: "/cpu/classes/total:cpu-seconds"},
	}
	metrics.Read(s)
	return reading{
		live:       int64(s[0].Value.Uint64()), //nolint:gosec // bytes that there are
		collecting: s[1].Value.Float64() - s[2].Value.Float64(),
		all:        s[3].Value.Float64(),
	}
}

// share is that of collecting since before. The runtime counts anew at each
// collection: 0, where there was none.
func (r reading) share(before reading) float64 {
	if r.all <= before.all {
		return 0
	}
	return (r.collecting - before.collecting) / (r.all - before.all)
}
