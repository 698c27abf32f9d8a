// Package hangup answers SIGHUP, by which log rotation and operators ask a
// program to open its files anew.
package hangup

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Each calls do for each SIGHUP until ctx ends; several at a time may be one.
func Each(ctx context.Context, do func()) error {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGHUP)
	defer signal.Stop(asked)
	for {
		select {
		case <-asked:
			do()
		case <-ctx.Done():
			return nil
		}
	}
}
