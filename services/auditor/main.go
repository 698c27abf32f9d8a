// Command curfew-auditor keeps the record. Several share one ledger: one of them
// appends, the others stand by and serve readers.
package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/curfew-project/curfew/auditor"
	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/services/internal/monitor"
	"github.com/curfew-project/curfew/services/internal/program"
	"github.com/curfew-project/curfew/services/internal/relay"
)

func main() {
	os.Exit(program.Main(config.Auditor, "Keep the record and serve it", role))
}

func role(ctx context.Context, p *program.Process) error {
	var running atomic.Pointer[auditor.Auditor]
	p.Life.Run(ctx, "hangup", func(ctx context.Context) error {
		return p.Hangups.Each(ctx, func() {
			if a := running.Load(); a != nil {
				a.Reopen()
			}
		})
	})
	if err := p.Await(ctx); err != nil {
		return err
	}
	key, err := p.Install.Derive(relay.Purpose)
	if err != nil {
		return err
	}
	stream, err := p.OpenStream(ctx)
	if err != nil {
		return err
	}
	devices, err := p.Config.Devices()
	if err != nil {
		return err
	}
	a, err := auditor.New(ctx, auditor.Deps{
		Stream: stream, Store: p.Store, Locks: p.Store, Seal: p.Install, Clock: p.Clock, Log: p.Part("auditor"),
	}, auditor.Config{
		Dir: filepath.Join(p.Config.DataDir, "audit"), LedgerDir: p.Config.Audit.LedgerDir,
		Installation: p.Install.ID(), Name: p.Config.Name, DeviceDirs: devices.Below, NoDevice: devices.Except,
	})
	if err != nil {
		return err
	}
	running.Store(a)
	p.Monitor.Register(monitor.Auditor(a))
	p.Life.Run(ctx, "auditor", a.Run)
	return p.Serve(ctx, &http.Server{
		Handler:           relay.Guard(key, a.Handler()),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 1 << 15,
	}, a.Drain)
}
