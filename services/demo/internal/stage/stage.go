package stage

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/curfew-project/curfew/services/internal/child"
	"github.com/curfew-project/curfew/services/internal/topology"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/testkit/find"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// Config describes a stage.
type Config struct {
	Curfew string // path of the program
	// Programs, if set, is the folder of the programs of the distributed form,
	// which then runs in place of `curfew server`.
	Programs string
	Finder   find.Finder
	Environ  []string // the caller's
	Clock    clock.Clock
	// Paused switches the revoker off; the demo must then fail.
	Paused bool
	// CommandTime bounds one command of the client; 30 s.
	CommandTime time.Duration
}

// Stage is what runs.
type Stage struct {
	Dir      string        // everything temporary
	Programs find.Programs // of Postgres
	Target   Target
	Server   Server

	cfg      Config
	environ  []string
	postgres *server.Postgres
	process  *child.Child       // `curfew server`, or nil
	port     *server.Port       // its
	topology *topology.Topology // in its place, or nil
}

// Open starts Postgres and Curfew.
func Open(ctx context.Context, cfg Config) (_ *Stage, err error) {
	cfg.CommandTime = cmp.Or(cfg.CommandTime, 30*time.Second)
	if _, err := os.Stat(cfg.Curfew); err != nil {
		return nil, fmt.Errorf("look for the program (make build): %w", err)
	}
	s := &Stage{cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(context.WithoutCancel(ctx)))
		}
	}()
	if s.Programs, err = cfg.Finder.Postgres(ctx); err != nil {
		return nil, err
	}
	if s.Dir, err = os.MkdirTemp("", "curfew-demo-"); err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	home := filepath.Join(s.Dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, fmt.Errorf("make a home folder: %w", err)
	}
	s.environ = topology.Environ(cfg.Environ, home)
	if err := s.openTarget(ctx); err != nil {
		return nil, err
	}
	open := s.openServer
	if cfg.Programs != "" {
		open = s.openTopology
	}
	if err := open(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Stage) openTarget(ctx context.Context) error {
	var err error
	s.postgres, err = server.NewPostgres(server.PostgresConfig{
		Programs: s.Programs, Environ: s.cfg.Environ, Password: rand.Text(),
		Durable: true, // as a target should be: Curfew would warn
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
	s.Target = Target{port: s.postgres.Port(), superuser: secret.New(s.postgres.Password()), admin: secret.New(rand.Text())}
	// The client reads it with password=@admin-password, as one would at work.
	file := filepath.Join(s.Dir, AdminPasswordFile)
	if err := os.WriteFile(file, []byte(s.Target.admin.Reveal()), 0o600); err != nil {
		return fmt.Errorf("write the admin's password: %w", err)
	}
	return s.Target.prepare(ctx)
}

// Close ends what runs and removes every file.
func (s *Stage) Close(ctx context.Context) error {
	var err error
	if s.process != nil {
		err = s.process.Stop(ctx, stopHangs)
	}
	if s.topology != nil {
		err = s.topology.Close(ctx)
	}
	if s.port != nil {
		err = errors.Join(err, s.port.Close())
		s.port = nil
	}
	if s.postgres != nil {
		err = errors.Join(err, s.postgres.Close(ctx))
	}
	if s.Dir != "" {
		err = errors.Join(err, os.RemoveAll(s.Dir))
	}
	return err
}
