package sqlite

import (
	"sync"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
)

// storeClock is the store's time (A5): the machine's wall clock, but it never
// goes back, also not over a restart. While the wall clock is behind (it was
// set back), time goes on with the monotonic clock: standing still would stop
// every expiry.
type storeClock struct {
	clock clock.Clock

	mu   sync.Mutex
	last time.Time // the latest time given
	read time.Time // the local clock at that moment
}

// newStoreClock starts at the time of the last commit at the earliest.
func newStoreClock(c clock.Clock, committed time.Time) *storeClock {
	return &storeClock{clock: c, last: committed.UTC(), read: c.Now()}
}

func (s *storeClock) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	read := s.clock.Now()
	now := s.last.Add(max(0, read.Sub(s.read)))
	if wall := read.Round(0).UTC(); wall.After(now) {
		now = wall
	}
	s.last, s.read = now, read
	return now
}

// never stands in an index for a time that a column cannot hold.
const never = 1<<63 - 1

// nanos is a time as columns hold it: 1678 to 2262, later ones as never.
func nanos(t time.Time) int64 {
	switch {
	case t.Year() < 1678:
		return 0
	case t.Year() > 2261:
		return never
	}
	return t.UnixNano()
}

// nullNanos is NULL for the zero time.
func nullNanos(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return nanos(t)
}

func fromNanos(n int64) time.Time { return time.Unix(0, n).UTC() }
