package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/auditor"
	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/revoker"
	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/services/internal/heartbeat"
	"github.com/curfew-project/curfew/services/internal/lifecycle"
	"github.com/curfew-project/curfew/services/internal/listener"
	"github.com/curfew-project/curfew/services/internal/monitor"
	"github.com/curfew-project/curfew/services/internal/program"
	"github.com/curfew-project/curfew/services/internal/unseal"
	"github.com/curfew-project/curfew/services/internal/version"
	"github.com/curfew-project/curfew/shared/bus/jetstream"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database"
	"github.com/curfew-project/curfew/shared/expiry/memory"
	"github.com/curfew-project/curfew/shared/fsck"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store/sqlite"
)

// process names this process where the embedded form has only one.
const process = "server"

// Server is all roles in one process.
type Server struct {
	cfg   config.Config
	clock clock.Clock
	log   zerolog.Logger
	life  *lifecycle.Lifecycle
	// hangups tells of SIGHUP.
	hangups *step.Watchers

	monitor *monitor.Monitor
	store   *together
	engine  *database.Engine
	install *unseal.Installation
	issuer  *issuer.Issuer
	audit   atomic.Pointer[auditor.Auditor]
	running atomic.Bool // all roles
	// Stream is the URL for subscribers; set when the roles run.
	stream atomic.Pointer[stream]
}

// New opens the store and wires the API; nothing runs yet. hangups tells of
// SIGHUP.
func New(ctx context.Context, cfg config.Config, c clock.Clock, log zerolog.Logger, hangups *step.Watchers) (*Server, error) {
	s := &Server{cfg: cfg, clock: c, log: log, life: lifecycle.New(c, log), hangups: hangups}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	disk, err := sqlite.Open(ctx, filepath.Join(cfg.DataDir, "store"), c, sqlite.Config{Recorded: true})
	if err != nil {
		return nil, err
	}
	s.store = &together{Store: disk, told: func(l *lease.Lease) { s.issuer.Tell(l) }}
	s.life.OnStop("store", func(context.Context) error { return s.store.Close() }) //nolint:contextcheck // closing waits for what is under way
	s.install = unseal.New(s.store, unseal.Config{
		KeyFile: cfg.KeyFile, Key: cfg.MasterKey, Manual: !cfg.AutoUnseal, Auto: cfg.AutoInit, StorageType: "sqlite",
	})
	if s.engine, err = database.New(database.Deps{Store: s.store, Sealer: s.install, Clock: c, Log: log}, database.Config{Program: process}); err != nil {
		return nil, errors.Join(err, s.life.Stop(ctx))
	}
	s.life.OnStop("targets", s.engine.Close)
	s.monitor = monitor.New(string(config.Server), version.Version)
	watch := monitor.Issuer(cfg.Limits.Backlog, func() bool { return len(s.install.Guard()) > 0 })
	s.monitor.Register(monitor.Store(s.store, c), watch)
	s.require()
	s.issuer, err = issuer.New(issuer.Deps{
		Store: s.store, Engines: s.engines(), Seal: s.install, Keys: s.install, Sealer: s.install, Clock: c, Log: log,
	}, issuer.Config{
		Version: version.Version, DefaultTTL: cfg.TTL.Default, MaxTTL: cfg.TTL.Max,
		MaxBacklog: cfg.Limits.Backlog, MaxLag: cfg.Limits.Lag, MaxInFlight: int(cfg.Limits.InFlight),
		CachedTokens: cfg.Limits.CachedTokens(),
		Observer:     watch,
		MaxBody:      cfg.Listener.MaxRequestSize, Within: cfg.Listener.MaxRequestDuration,
		Mounted: map[string]http.Handler{"/v1/audit/": http.HandlerFunc(s.serveAudit)}, Tail: s.tail,
	})
	if err != nil {
		return nil, errors.Join(err, s.life.Stop(ctx))
	}
	s.monitor.Register(monitor.TokenCache(s.issuer.TokenCache))
	s.install.Roots(func(ctx context.Context, text secret.Value) error {
		_, err := s.issuer.RootToken(ctx, text, lease.System("system:init"))
		return err
	})
	return s, nil
}

func (s *Server) engines() []engine.Engine { return []engine.Engine{s.engine} }

// reopen opens files anew that others rotate.
func (s *Server) reopen() {
	if a := s.audit.Load(); a != nil {
		a.Reopen()
	}
}

// serveAudit hands over to the auditor once it runs.
func (s *Server) serveAudit(w http.ResponseWriter, r *http.Request) {
	if a := s.audit.Load(); a != nil {
		a.Handler().ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(`{"errors":["the auditor has not started yet"]}` + "\n"))
}

// Run serves until ctx ends or a part fails, then stops everything in order.
func (s *Server) Run(ctx context.Context, announce func(Announcement)) error {
	err := s.run(ctx, announce)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil // asked to stop while it started: that is no failure
	}
	return errors.Join(err, s.life.Stop(ctx))
}

func (s *Server) run(ctx context.Context, announce func(Announcement)) error {
	known, err := s.install.Load(ctx)
	if err != nil {
		return err
	}
	if !known && s.cfg.AutoInit {
		if err := s.firstStart(ctx); err != nil {
			return err
		}
	}
	s.life.Run(ctx, "hangup", func(ctx context.Context) error { return s.hangups.Each(ctx, s.reopen) })
	s.life.Run(ctx, "issuer", s.issuer.Run)
	s.life.Run(ctx, "seal", step.New(s.clock, s.part("seal"), step.Config{}, s.install).Run)
	if err := s.serveMonitor(ctx); err != nil {
		return err
	}
	l, err := listener.Open(ctx, s.cfg.Listener)
	if err != nil {
		return err
	}
	select {
	case <-s.install.Ready():
		if err := s.startRoles(ctx); err != nil {
			return errors.Join(err, l.Close())
		}
		s.serve(ctx, l)
		if err := s.awaitSubscribers(ctx); err != nil {
			return err
		}
		announce(s.announcement(ctx, l.Addr()))
	default: // sys/init over the API starts the roles
		s.serve(ctx, l)
		announce(s.announcement(ctx, l.Addr()))
		select {
		case <-s.install.Ready():
			if err := s.startRoles(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
		case err := <-s.life.Failed():
			return err
		case <-s.store.Fatal():
			return errDisk
		}
	}
	select {
	case <-ctx.Done():
	case err := <-s.life.Failed():
		return err
	case <-s.store.Fatal():
		return errDisk
	}
	return nil
}

var errDisk = fmt.Errorf("store: %w: the disk refused a commit", step.ErrFatal)

func (s *Server) firstStart(ctx context.Context) error {
	if s.cfg.Dev {
		return s.install.Initialise(ctx, s.cfg.DevToken)
	}
	return s.install.AutoInit(ctx, s.clock, s.tokenFile())
}

func (s *Server) tokenFile() string { return filepath.Join(s.cfg.DataDir, "root-token") }

// startRoles starts what works behind the API, each after what it needs.
func (s *Server) startRoles(ctx context.Context) error {
	bus, err := s.openStream(ctx)
	if err != nil {
		return err
	}
	if !bus.known() { // where it ends has to be asked, before anything is decided (A7)
		if err := bus.wait(ctx); err != nil {
			return err
		}
	}
	auditDir := filepath.Join(s.cfg.DataDir, "audit")
	if err := os.MkdirAll(auditDir, 0o700); err != nil {
		return fmt.Errorf("make the directory of the record: %w", err)
	}
	devices, err := s.cfg.Devices()
	if err != nil {
		return err
	}
	audit, err := auditor.New(ctx, auditor.Deps{Stream: atLeast{bus}, Store: s.store, Seal: s.install, Clock: s.clock, Log: s.part("auditor")},
		auditor.Config{Dir: auditDir, Installation: s.install.ID(), DeviceDirs: devices.Below, NoDevice: devices.Except})
	if err != nil {
		return err
	}
	s.audit.Store(audit)
	s.monitor.Register(monitor.Auditor(audit))
	beat := heartbeat.New(s.store, s.clock, s.part("heartbeat"), cmp.Or(s.cfg.Name, process), string(config.Server), version.Version)
	s.life.OnStop("heartbeat", beat.Close)
	s.life.Run(ctx, "heartbeat", step.New(s.clock, s.part("heartbeat"), step.Config{}, beat).Run)
	// Whatever decides from the store starts after it (A7).
	audit.Settle(ctx)
	s.life.Run(ctx, "auditor", audit.Run)
	if err := s.checkHome(ctx); err != nil {
		return err
	}

	wake, release := s.store.Watch()
	s.life.OnStop("watch", func(context.Context) error { release(); return nil })
	publisher, err := publish.New(s.store, bus, wake, s.clock, s.part("publisher"), publish.Config{Owner: process})
	if err != nil {
		return err
	}
	s.monitor.Register(monitor.Publisher(publisher.Active), monitor.Stream(bus.Disconnected))
	publishing := step.New(s.clock, s.part("publisher"), step.Config{MaxBackoff: 2 * time.Second}, publisher)
	s.life.Run(ctx, "publisher", func(ctx context.Context) error {
		return errors.Join(publishing.Run(ctx), publisher.Close(context.WithoutCancel(ctx)))
	})

	watch := monitor.Revoker(s.store)
	s.monitor.Register(watch)
	revoke, err := revoker.New(revoker.Deps{
		Store: s.store, Stream: bus, Index: memory.New(), Engines: s.engines(), Clock: s.clock, Log: s.part("revoker"),
	}, revoker.Config{
		Name: process, StrayEvery: s.cfg.Expiry.StraySweep, Lanes: int(s.cfg.Expiry.Lanes), Paused: s.cfg.Expiry.Paused,
		Observer: heartbeat.Index{Observer: watch, Tell: beat.Tell, Strays: s.cfg.Expiry.StraySweep},
	})
	if err != nil {
		return err
	}
	s.store.revoker.Store(revoke)
	s.life.Run(ctx, "janitor", step.New(s.clock, s.part("janitor"), step.Config{}, s.engine.Janitor()).Run)
	s.life.Run(ctx, "revoker", revoke.Run)
	s.running.Store(true)
	if s.cfg.Dev {
		s.life.OnStop("leases of dev mode", s.revokeAll)
	}
	return nil
}

// openStream begins to start the stream.
func (s *Server) openStream(ctx context.Context) (*stream, error) {
	cfg := jetstream.EmbedConfig{
		Config: jetstream.Config{Source: "/curfew/" + s.install.ID()},
		Dir:    filepath.Join(s.cfg.DataDir, "nats"), Listen: s.cfg.NATS.Listen,
	}
	if cfg.Listen != "" {
		password, err := s.subscriberPassword()
		if err != nil {
			return nil, err
		}
		cfg.Subscriber = password
	}
	bus := newStream(cfg)
	s.stream.Store(bus)
	s.life.Run(ctx, "stream", bus.run)
	return bus, nil
}

// tail is where the event stream ends, for fsck.
func (s *Server) tail(ctx context.Context) *fsck.Tail {
	bus := s.stream.Load()
	if bus == nil {
		return &fsck.Tail{Error: "the stream has not started yet"}
	}
	return program.Tail(bus)(ctx)
}

func (s *Server) part(name string) zerolog.Logger {
	return s.log.With().Str("component", name).Logger()
}
