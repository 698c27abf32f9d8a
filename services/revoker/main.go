// Command curfew-revoker takes credentials away when they are due. Any number of
// them run beside each other: work is claimed, not assigned.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/curfew-project/curfew/revoker"
	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/services/internal/heartbeat"
	"github.com/curfew-project/curfew/services/internal/monitor"
	"github.com/curfew-project/curfew/services/internal/program"
	"github.com/curfew-project/curfew/shared/expiry/memory"
	"github.com/curfew-project/curfew/shared/step"
)

func main() {
	os.Exit(program.Main(config.Revoker, "Take credentials away when they are due", role))
}

func role(ctx context.Context, p *program.Process) error {
	if err := p.Await(ctx); err != nil {
		return err
	}
	stream, err := p.OpenStream(ctx)
	if err != nil {
		return err
	}
	index, err := p.OpenIndex(ctx)
	if err != nil {
		return err
	}
	if err := p.Publish(ctx, stream); err != nil {
		return err
	}
	watch := monitor.Revoker(p.Store)
	p.Monitor.Register(watch)
	r, err := revoker.New(revoker.Deps{
		Store: p.Store, Stream: stream, Index: index, Engines: p.Engines(), Clock: p.Clock, Log: p.Part("revoker"),
	}, revoker.Config{
		Name: p.Config.Name, StrayEvery: p.Config.Expiry.StraySweep, Lanes: int(p.Config.Expiry.Lanes), Paused: p.Config.Expiry.Paused,
		Observer: heartbeat.Index{Observer: watch, Tell: p.Tell, Strays: p.Config.Expiry.StraySweep}, Ahead: ahead(p.Config.Redis),
		// Redis may be away: what is overdue then goes by an index of our own.
		Fallback: memory.New(),
	})
	if err != nil {
		return fmt.Errorf("make the revoker: %w", err)
	}
	p.Life.Run(ctx, "janitor", step.New(p.Clock, p.Part("janitor"), step.Config{}, p.Janitor()).Run)
	p.Life.Run(ctx, "revoker", r.Run)
	return nil
}

// ahead is how far ahead the index knows (D2).
func ahead(c config.Redis) time.Duration {
	if c.Window == 0 {
		return revoker.Everything
	}
	return c.Window
}
