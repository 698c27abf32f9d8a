package clock

import (
	"context"
	"time"
)

// Sleep returns after d by c, or with ctx's error as soon as ctx ends.
func Sleep(ctx context.Context, c Clock, d time.Duration) error {
	tick, stop := c.Timer(d)
	defer stop()
	select {
	case <-tick:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
