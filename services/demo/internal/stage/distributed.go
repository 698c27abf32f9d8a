package stage

import (
	"context"
	"fmt"

	"github.com/curfew-project/curfew/services/internal/topology"
)

// openTopology starts the distributed form. Its programs say themselves, at
// addresses of their own, that they can work, and the proxy before them has the
// address that was taken for it: Check finds out whether it leads to them.
func (s *Stage) openTopology(ctx context.Context) error {
	settings := ""
	if s.cfg.Paused {
		settings = "expiry { paused = true }"
	}
	t, err := topology.Open(ctx, topology.Config{
		Programs: s.cfg.Programs, Finder: s.cfg.Finder, Environ: s.cfg.Environ, Clock: s.cfg.Clock, Settings: settings,
	})
	if err != nil {
		return fmt.Errorf("start the distributed form: %w", err)
	}
	s.topology = t
	s.Server = Server{URL: t.URL, Data: t.Dir, Parts: t.Names()}
	if s.Server.Token, err = t.RootToken(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startHangs)
	defer cancel()
	if err := s.Check(ctx); err != nil {
		return err
	}
	return s.untilKey(ctx)
}

// untilKey is keepKey for a ledger that an auditor makes once it is elected.
func (s *Stage) untilKey(ctx context.Context) error {
	for {
		err := s.keepKey(ctx)
		if err == nil {
			return nil
		}
		tick, stop := s.cfg.Clock.Timer(poll)
		select {
		case <-tick:
		case <-ctx.Done():
			stop()
			return fmt.Errorf("%w: %w; logs end:\n%s", ctx.Err(), err, s.LogTail())
		}
	}
}
