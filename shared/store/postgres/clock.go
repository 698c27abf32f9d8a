package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/lease"
)

// storeClock keeps the database's clock from going back in the eyes of this
// process (A5). While the database is behind what it once said (its clock was
// set back, or a standby with a slower one took over), time goes on at half the
// pace of the local monotonic clock until the database has caught up: standing
// still would stop every expiry, and going on at full pace would never end.
type storeClock struct {
	clock clock.Clock
	// source, if set, is asked in place of the database: tests own the time.
	source func() time.Time

	mu   sync.Mutex
	last time.Time // the latest time given
	read time.Time // the local clock at that moment
}

// at is the store's time when the database says db.
func (c *storeClock) at(db time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.source != nil {
		db = c.source()
	}
	read := c.clock.Now()
	now := db.Round(0).UTC()
	if now.Before(c.last) {
		now = c.last.Add(max(0, read.Sub(c.read)) / 2)
	}
	c.last, c.read = now, read
	return now
}

// notBefore is the store's time for a change of l: never before a time that l
// has, whichever process wrote it (A5).
func notBefore(now time.Time, l *lease.Lease) time.Time {
	r := &l.Revocation
	for _, t := range []time.Time{l.IssuedAt, l.ActivatedAt, l.RenewedAt, r.Since, r.LastFailedAt} {
		if now.Before(t) {
			now = t
		}
	}
	return now
}

const selectNow = `SELECT clock_timestamp()`

// Now implements [store.Time].
func (s *Store) Now(ctx context.Context) (now time.Time, err error) {
	err = s.read(ctx, "read the store's time", func(ctx context.Context, r reader) error {
		var db time.Time
		if err := r.row(ctx, selectNow).Scan(&db); err != nil {
			return err
		}
		now = s.clock.at(db)
		return nil
	})
	if err != nil {
		return time.Time{}, err
	}
	return now, nil
}

// never stands in an index for a time that a column cannot hold.
const never = 1<<63 - 1

// nanos is a time as columns hold it: 1678 to 2262, later ones as never. The
// zero time is 0, which statements make NULL.
func nanos(t time.Time) int64 {
	switch {
	case t.Year() < 1678:
		return 0
	case t.Year() > 2261:
		return never
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time { return time.Unix(0, n).UTC() }
