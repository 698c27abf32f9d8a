package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/mount"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	// finishWithin bounds how long a request to disable revokes and clears by
	// itself; [Table.Finish] goes on with the rest.
	finishWithin = 20 * time.Second
	// withdrawn is the reason of the revocations that a disabling begins.
	withdrawn = "auth mount was disabled"
)

// Enable serves POST sys/auth/<path>.
func (t *Table) Enable(ctx context.Context, r *request.Request, path string) (*wire.Answer, error) {
	s, err := t.wanted(r.Fields())
	if err != nil {
		return nil, err
	}
	key := mount.Key(path)
	free := func(ctx context.Context) error { return t.free(ctx, key) }
	if err := t.shelf.Enable(ctx, key, s, free, events(r, key)); err != nil {
		return nil, err
	}
	return wire.Done(), nil
}

// free refuses a path inside, around or at another mount.
func (t *Table) free(ctx context.Context, key string) error {
	all, err := t.All(ctx, false)
	if err != nil {
		return err
	}
	for _, m := range append(all, *tokenMount()) {
		if strings.HasPrefix(m.Key(), key) || strings.HasPrefix(key, m.Key()) {
			return wire.Invalid("path is already in use at %s", m.Key())
		}
	}
	return nil
}

// wanted are the settings of a mount to be made.
func (t *Table) wanted(f wire.Fields) (s Settings, err error) {
	if s.Type, err = f.String("type"); err != nil {
		return s, err
	}
	switch {
	case s.Type == "":
		return s, wire.Invalid("backend type must be specified as a string")
	case s.Type == "token":
		return s, wire.Invalid("token credential backend cannot be instantiated")
	case t.methods[s.Type] == nil:
		return s, wire.Invalid("plugin not found in the catalog: %s", s.Type)
	}
	config, err := s.Read(f)
	if err != nil {
		return s, err
	}
	s.Accessor = mount.NewAccessor("auth_" + s.Type)
	return s, s.tune(config)
}

// tune sets what f names.
func (s *Settings) tune(f wire.Fields) error {
	if err := s.Limit(f); err != nil {
		return err
	}
	if err := s.choose(f); err != nil {
		return err
	}
	lockout, err := f.Object("user_lockout_config")
	if err != nil {
		return err
	}
	return s.Lockout.set(lockout)
}

// choose sets what is one of a few words.
func (s *Settings) choose(f wire.Fields) error {
	kind, err := f.String("token_type")
	if err != nil {
		return err
	}
	switch kind {
	case "":
	case "service", "default-service":
		s.TokenType = kind
	default:
		return wire.Invalid("token_type %q is not supported: use service", kind)
	}
	if !f.Has("listing_visibility") {
		return nil
	}
	visibility, err := f.String("listing_visibility")
	if err != nil {
		return err
	}
	switch visibility {
	case "", "hidden", "unauth":
		s.Visibility = visibility
		return nil
	}
	return wire.Invalid("invalid listing_visibility %q: use hidden or unauth", visibility)
}

// Tune serves POST sys/auth/<path>/tune. Tokens keep the limits that they
// began with (A2).
func (t *Table) Tune(ctx context.Context, r *request.Request, path string) (*wire.Answer, error) {
	key := mount.Key(path)
	if key == tokenKey {
		return nil, wire.Invalid("token/ has no limits of its own: they are in the server's configuration")
	}
	err := t.shelf.Edit(ctx, func(ctx context.Context) (e store.Entry, settings any, err error) {
		m, err := t.at(ctx, path)
		if err == nil {
			err = m.tune(r.Fields())
		}
		if err == nil {
			err = m.Describe(r.Fields())
		}
		return store.Entry{Kind: store.KindAuth, Key: key, ID: m.ID, Revision: m.Revision}, m.Settings, err
	}, events(r, key))
	if err != nil {
		return nil, err
	}
	return wire.Done(), nil
}

// Disable serves DELETE sys/auth/<path>. No mount there is as good as
// disabled.
func (t *Table) Disable(ctx context.Context, r *request.Request, path string) (*wire.Answer, error) {
	key := mount.Key(path)
	if key == tokenKey {
		return nil, wire.Invalid("token credential backend cannot be disabled")
	}
	e, err := t.shelf.Withdraw(ctx, key, nil, events(r, key))
	if errors.Is(err, store.ErrNotFound) {
		return wire.NoContent(), nil
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishWithin)
	defer cancel()
	m, err := decode(e)
	if err == nil {
		err = t.finish(ctx, m, r.Actor)
	}
	if err != nil {
		t.log.Warn().Err(err).Str("request_id", r.ID).Str("mount_id", e.ID).Msg("what a disabled auth mount had is left to the sweep")
	}
	return wire.Done(), nil
}

// finish revokes what the mount issued and removes what was kept for it. The
// withdrawal is committed: the listing that starts here sees every token that
// began before it, and no later one can begin (A3). The entry goes last, so
// that until then a sweep finds it.
func (t *Table) finish(ctx context.Context, m Mount, by lease.Actor) error {
	// By its id, not its path: that may have a new mount already.
	if _, err := t.revoker.RevokeAll(ctx, store.Query{MountID: m.ID, Kind: lease.Token}, by, withdrawn); err != nil {
		return fmt.Errorf("revoke tokens: %w", err)
	}
	if method, ok := t.methods[m.Type]; ok {
		if err := method.Disabled(ctx, m); err != nil {
			return fmt.Errorf("clear the method: %w", err)
		}
	}
	if _, err := t.shelf.Store.Write(ctx, store.Write{Deletes: []store.Ref{m.Ref()}}); err != nil {
		return fmt.Errorf("delete auth mount: %w", err)
	}
	return nil
}

// Finish completes every disabling that was begun and not completed, as where a
// process ended in between (A3). It goes on after a failure and returns all.
func (t *Table) Finish(ctx context.Context) error {
	disabling, errs := t.All(ctx, true)
	for _, m := range disabling {
		if err := t.finish(ctx, m, lease.System(lease.ActorMount)); err != nil {
			errs = errors.Join(errs, fmt.Errorf("finish disabling %s: %w", m.Path, err))
		}
	}
	return errs
}

// Tidy has each method remove what nobody can use any more. It goes on after a
// failure and returns all.
func (t *Table) Tidy(ctx context.Context) error {
	live, errs := t.All(ctx, false)
	for _, m := range live {
		if method, ok := t.methods[m.Type]; ok {
			if err := method.Tidy(ctx, m); err != nil {
				errs = errors.Join(errs, fmt.Errorf("tidy %s: %w", m.Path, err))
			}
		}
	}
	return errs
}

func events(r *request.Request, key string) func() []event.Event {
	return mount.Events(r, Root+key, "sys/auth/"+key)
}
