package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// devStop bounds the revocation of all leases when dev mode stops.
const devStop = 10 * time.Second

// revokeAll takes every credential away before dev mode forgets them; what is
// left at the deadline is named.
func (s *Server) revokeAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, devStop)
	defer cancel()
	mounts, err := s.mounts(ctx)
	if err != nil {
		return err
	}
	for _, m := range mounts {
		// The barriers sweep lists what is under it.
		_, err := s.store.Raise(ctx, store.Barrier{
			Operation: lease.RandomBase62(20), Prefix: m, By: lease.System("system:stop"), Reason: "the dev server stops",
		})
		if err != nil {
			return fmt.Errorf("revoke leases of %s: %w", m, err)
		}
	}
	for {
		left, err := s.left(ctx, mounts)
		if err == nil && len(left) == 0 {
			return s.leave(ctx)
		}
		tick, stop := s.clock.Timer(50 * time.Millisecond)
		select {
		case <-tick:
		case <-ctx.Done():
			stop()
			return s.nameTheRest(context.WithoutCancel(ctx), mounts)
		}
	}
}

func (s *Server) mounts(ctx context.Context) ([]string, error) {
	var out []string
	for _, withdrawn := range []bool{false, true} {
		entries, err := s.store.List(ctx, store.KindMount, "", "", withdrawn, 10_000)
		if err != nil {
			return nil, fmt.Errorf("list mounts: %w", err)
		}
		for _, e := range entries {
			out = append(out, e.Key)
		}
	}
	return out, nil
}

// leave takes what the engine keeps in targets (B3): nobody will come back for
// it.
func (s *Server) leave(ctx context.Context) error {
	var errs error
	for _, withdrawn := range []bool{false, true} {
		entries, err := s.store.List(ctx, store.KindMount, "", "", withdrawn, 10_000)
		errs = errors.Join(errs, err)
		for _, e := range entries {
			errs = errors.Join(errs, s.engine.Disabled(ctx, e.ID))
		}
	}
	if errs != nil {
		return fmt.Errorf("leave the targets: %w", errs)
	}
	return nil
}

func (s *Server) left(ctx context.Context, mounts []string) ([]lease.Lease, error) {
	var out []lease.Lease
	for _, m := range mounts {
		found, err := s.store.Find(ctx, store.Query{
			Prefix: m, States: []lease.State{lease.Intent, lease.Active, lease.Revoking}, Limit: 100,
		})
		if err != nil {
			return nil, fmt.Errorf("look for leases of %s: %w", m, err)
		}
		out = append(out, found...)
	}
	return out, nil
}

func (s *Server) nameTheRest(ctx context.Context, mounts []string) error {
	left, err := s.left(ctx, mounts)
	if err != nil {
		return err
	}
	for _, l := range left {
		s.log.Error().Str("lease", string(l.ID)).Str("account", l.Account).Str("target", l.Target).
			Str("state", string(l.State)).Str("error", l.Revocation.LastError).Msg("account is left behind")
	}
	if len(left) == 0 {
		return nil
	}
	return errors.New("accounts are left behind in their targets; they are named above")
}
