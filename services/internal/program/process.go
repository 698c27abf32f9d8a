package program

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/services/internal/heartbeat"
	"github.com/curfew-project/curfew/services/internal/lifecycle"
	"github.com/curfew-project/curfew/services/internal/listener"
	"github.com/curfew-project/curfew/services/internal/monitor"
	"github.com/curfew-project/curfew/services/internal/unseal"
	"github.com/curfew-project/curfew/services/internal/version"
	"github.com/curfew-project/curfew/shared/bus/jetstream"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store/postgres"
)

// Role adds the parts of a role to a process; it returns when they run.
type Role func(ctx context.Context, p *Process) error

// Process is a program that runs.
type Process struct {
	Program config.Program
	Config  config.Config
	Clock   clock.Clock
	Log     zerolog.Logger
	Life    *lifecycle.Lifecycle
	Monitor *monitor.Monitor
	Store   *postgres.Store
	Install *unseal.Installation
	Hangups *step.Watchers // tells of SIGHUP
	engine  *database.Engine
	beat    *heartbeat.Heartbeat
	looks   bool        // and changes nothing: see Inspect
	opened  atomic.Bool // Store and Install are set
	begun   atomic.Bool // the role has started
}

// run runs a role until ctx ends or a part fails, then stops everything in
// order.
func run(ctx context.Context, program config.Program, cfg config.Config, role Role, log zerolog.Logger, hangups *step.Watchers) error {
	p := newProcess(program, cfg, log, hangups)
	err := p.work(ctx, role)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil // asked to stop while it started: that is no failure
	}
	return errors.Join(err, p.Life.Stop(ctx))
}

func newProcess(program config.Program, cfg config.Config, log zerolog.Logger, hangups *step.Watchers) *Process {
	cfg.Name = cmp.Or(cfg.Name, heartbeat.OwnName())
	return &Process{
		Program: program, Config: cfg, Clock: clock.System{}, Log: log,
		Life: lifecycle.New(clock.System{}, log), Monitor: monitor.New(string(program), version.Version),
		Hangups: hangups,
	}
}

func (p *Process) work(ctx context.Context, role Role) error {
	if err := p.serveMonitor(ctx); err != nil {
		return err
	}
	if err := p.openStore(ctx); err != nil {
		return err
	}
	if err := p.begin(ctx, role); err != nil {
		return err
	}
	p.begun.Store(true)
	p.Log.Info().Str("program", string(p.Program)).Str("version", version.Version).Str("name", p.Config.Name).Msg("running")
	select {
	case <-ctx.Done():
		return nil
	case err := <-p.Life.Failed():
		return err
	}
}

// begin starts the role. A part that fails meanwhile ends the wait for what the
// role waits for.
func (p *Process) begin(ctx context.Context, role Role) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	started := make(chan error, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { started <- role(ctx, p) })
	select {
	case err := <-started:
		return err
	case err := <-p.Life.Failed():
		cancel()
		return err
	}
}

// Serve serves the program's API at its listener.
func (p *Process) Serve(ctx context.Context, s *http.Server, drain func()) error {
	l, err := listener.Open(ctx, p.Config.Listener)
	if err != nil {
		return err
	}
	l.Warn(p.Log)
	p.Monitor.Register(monitor.Certificate(l.Until))
	hangup, release := p.Hangups.Watch()
	p.Life.OnStop("hangups", func(context.Context) error { release(); return nil })
	p.Life.Run(ctx, "certificates", func(ctx context.Context) error { return l.Follow(ctx, p.Clock, hangup, p.Part("listener")) })
	p.Log.Info().Str("address", listener.URL(p.Config.Listener, l.Addr())).Msg("serving")
	p.Life.Run(ctx, "api", func(ctx context.Context) error { return listener.Serve(ctx, s, l, drain, p.Part("api")) })
	return nil
}

func (p *Process) serveMonitor(ctx context.Context) error {
	if p.Config.Monitor.Address == "" {
		return nil
	}
	l, err := listener.Open(ctx, config.Listener{Address: p.Config.Monitor.Address, Plain: true})
	if err != nil {
		return err
	}
	p.Log.Info().Str("address", "http://"+l.Addr().String()).Msg("serving health and metrics")
	if p.Config.Monitor.Profiles {
		p.Monitor.Profile()
	}
	p.Monitor.Require(monitor.Check{Name: "start", Ask: p.started})
	p.Life.Run(ctx, "monitor", func(ctx context.Context) error { return p.Monitor.Serve(ctx, l) })
	return nil
}

// started is the check that the installation is initialised and unsealed, and
// the role has begun.
func (p *Process) started(context.Context) error {
	if !p.opened.Load() {
		return errors.New("the store has not answered yet")
	}
	select {
	case <-p.Install.Ready():
	default:
		return errors.New("the installation is not initialised")
	}
	if !p.begun.Load() {
		return errors.New("the role has not started yet")
	}
	return nil
}

// Part is the log of a part.
func (p *Process) Part(name string) zerolog.Logger {
	return p.Log.With().Str("component", name).Logger()
}

// Engines are all that there are.
func (p *Process) Engines() []engine.Engine { return []engine.Engine{p.engine} }

// byType are engines by the name that `secrets enable` takes.
func byType(all []engine.Engine) map[string]engine.Engine {
	out := map[string]engine.Engine{}
	for _, e := range all {
		out[e.Type()] = e
	}
	return out
}

// Janitor deletes what no lease needs any more.
func (p *Process) Janitor() step.Step { return p.engine.Janitor() }

// Await returns when the installation is initialised, and says from then on
// that this process runs.
func (p *Process) Await(ctx context.Context) error {
	if err := p.Install.Await(ctx, p.Clock, p.Log); err != nil {
		return err
	}
	h := heartbeat.New(p.Store, p.Clock, p.Part("heartbeat"), p.Config.Name, string(p.Program), version.Version)
	p.Life.OnStop("heartbeat", func(ctx context.Context) error {
		if err := h.Close(ctx); err != nil { // it is for people: a store that is away is no failure of a stop
			p.Log.Warn().Err(err).Msg("that this process stops was not said")
		}
		return nil
	})
	p.beat = h
	p.Life.Run(ctx, "heartbeat", step.New(p.Clock, p.Part("heartbeat"), step.Config{}, h).Run)
	return nil
}

// Tell gives what this process says of the index to who asks how things stand;
// after [Process.Await].
func (p *Process) Tell(r installation.Revoking) { p.beat.Tell(r) }

// Publish runs a publisher: one of all processes has the lock (D3).
func (p *Process) Publish(ctx context.Context, bus *jetstream.Bus) error {
	p.Life.Run(ctx, "listen", p.Store.Listen)
	wake, release := p.Store.Watch()
	p.Life.OnStop("watch", func(context.Context) error { release(); return nil })
	publisher, err := publish.New(p.Store, bus, wake, p.Clock, p.Part("publisher"), publish.Config{Owner: p.Config.Name + "-" + lease.RandomBase62(8)})
	if err != nil {
		return err
	}
	p.Monitor.Register(monitor.Publisher(publisher.Active))
	runner := step.New(p.Clock, p.Part("publisher"), step.Config{MaxBackoff: 2 * time.Second}, publisher)
	p.Life.Run(ctx, "publisher", func(ctx context.Context) error {
		return errors.Join(runner.Run(ctx), publisher.Close(context.WithoutCancel(ctx)))
	})
	return nil
}
