package server

import (
	"context"
	"errors"

	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/services/internal/listener"
	"github.com/curfew-project/curfew/services/internal/monitor"
)

// require says what the server needs to be ready.
func (s *Server) require() {
	s.monitor.Require(monitor.Check{Name: "store", Ask: func(ctx context.Context) error {
		_, err := s.store.Now(ctx)
		return err
	}})
	s.monitor.Require(monitor.Check{Name: "start", Ask: func(context.Context) error {
		if !s.running.Load() {
			return errors.New("not all roles have started yet")
		}
		return nil
	}})
}

// serveMonitor serves health and metrics where the configuration says where.
func (s *Server) serveMonitor(ctx context.Context) error {
	if s.cfg.Monitor.Address == "" {
		return nil
	}
	l, err := listener.Open(ctx, config.Listener{Address: s.cfg.Monitor.Address, Plain: true})
	if err != nil {
		return err
	}
	s.log.Info().Str("address", "http://"+l.Addr().String()).Msg("serving health and metrics")
	if s.cfg.Monitor.Profiles {
		s.monitor.Profile()
	}
	s.life.Run(ctx, "monitor", func(ctx context.Context) error { return s.monitor.Serve(ctx, l) })
	return nil
}
