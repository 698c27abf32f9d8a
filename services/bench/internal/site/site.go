package site

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/curfew-project/curfew/services/internal/child"
	"github.com/curfew-project/curfew/services/internal/topology"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/testkit/find"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// Config says what to start.
type Config struct {
	Programs    string // folder of the built programs
	Distributed bool
	Issuers     int // of the distributed form; 2
	Revokers    int // 2
	Lanes       int // of each revoker, over all targets; 0: no bound
	Connections int // that the target takes; 400
	Finder      find.Finder
	Environ     []string // the caller's
	Clock       clock.Clock
}

// Site is what is measured.
type Site struct {
	URL    string // of the API
	Token  secret.Value
	Target Target

	cfg      Config
	dir      string
	environ  []string
	postgres *server.Postgres // the target, where we started it
	process  *child.Child     // `curfew server`
	ports    []*server.Port
	topology *topology.Topology
	monitors []string // URLs of monitors that serve profiles
}

// Given is a site that runs elsewhere.
func Given(url string, token secret.Value, target Target) *Site {
	return &Site{URL: url, Token: token, Target: target}
}

// Open starts a target and a server.
func Open(ctx context.Context, cfg Config) (_ *Site, err error) {
	s := &Site{cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(context.WithoutCancel(ctx)))
		}
	}()
	if s.dir, err = os.MkdirTemp("", "curfew-bench-"); err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	home := filepath.Join(s.dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, fmt.Errorf("make a home folder: %w", err)
	}
	s.environ = topology.Environ(cfg.Environ, home)
	if err := s.openTarget(ctx); err != nil {
		return nil, err
	}
	open := s.openServer
	if cfg.Distributed {
		open = s.openTopology
	}
	return s, open(ctx)
}

// Beside is another site of programs and a target as those of this one, which has
// so many revokers with so many lanes each. Close it.
func (s *Site) Beside(ctx context.Context, revokers, lanes int) (*Site, error) {
	cfg := s.cfg
	cfg.Distributed, cfg.Issuers, cfg.Revokers, cfg.Lanes, cfg.Connections = true, 1, revokers, lanes, 2000
	return Open(ctx, cfg)
}

func (s *Site) openTarget(ctx context.Context) error {
	programs, err := s.cfg.Finder.Postgres(ctx)
	if err != nil {
		return err
	}
	s.postgres, err = server.NewPostgres(server.PostgresConfig{
		Programs: programs, Environ: s.cfg.Environ, Password: rand.Text(), Durable: true,
		Settings: map[string]string{"max_connections": strconv.Itoa(cmp.Or(s.cfg.Connections, 400))}, // many targets in one server
	})
	if err != nil {
		return err
	}
	if err := s.postgres.Init(ctx); err != nil {
		return err
	}
	if err := s.postgres.Start(ctx); err != nil {
		return err
	}
	s.Target = Target{
		Host: "127.0.0.1", Port: s.postgres.Port(), Database: "postgres",
		User: server.Superuser, Password: secret.New(s.postgres.Password()), Options: "sslmode=disable",
	}
	return nil
}

func (s *Site) openTopology(ctx context.Context) error {
	var err error
	s.topology, err = topology.Open(ctx, topology.Config{
		Programs: s.cfg.Programs, Finder: s.cfg.Finder, Environ: s.cfg.Environ, Clock: s.cfg.Clock,
		Issuers: s.cfg.Issuers, Revokers: s.cfg.Revokers, Auditors: 1, Streams: 1, Profiles: true,
		Settings: fmt.Sprintf("expiry { lanes = %d }", s.cfg.Lanes),
	})
	if err != nil {
		return err
	}
	s.URL, s.monitors = s.topology.URL, s.topology.Monitors()
	s.Token, err = s.topology.RootToken()
	return err
}

// Form names what is measured, for the report.
func (s *Site) Form() string {
	switch {
	case s.topology != nil:
		return "distributed: " + strings.Join(s.topology.Names(), ", ")
	case s.process != nil:
		return "one machine: curfew server"
	}
	return "given: " + s.URL
}

// Own reports whether the server was started here, so that it can be killed and
// its processes be looked at.
func (s *Site) Own() bool { return s.process != nil || s.topology != nil }

// Close ends what was started and removes every file.
func (s *Site) Close(ctx context.Context) error {
	var err error
	if s.process != nil {
		err = s.process.Stop(ctx, stopHangs)
	}
	if s.topology != nil {
		err = s.topology.Close(ctx)
	}
	for _, p := range s.ports {
		err = errors.Join(err, p.Close())
	}
	s.ports = nil
	if s.postgres != nil {
		err = errors.Join(err, s.postgres.Close(ctx))
	}
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}
