package mounts

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
	"github.com/curfew-project/curfew/shared/store"
)

// revokeWithin bounds how long a request to disable revokes leases by itself; a
// sweep of the revoker goes on with the rest.
const revokeWithin = 20 * time.Second

// Enable serves POST sys/mounts/<path>.
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
	if reserved(key) {
		first, _, _ := strings.Cut(key, "/")
		return wire.Invalid("path is already in use at %s/", first)
	}
	all, err := t.All(ctx, false)
	if err != nil {
		return err
	}
	for _, m := range all {
		if strings.HasPrefix(m.Path, key) || strings.HasPrefix(key, m.Path) {
			return wire.Invalid("path is already in use at %s", m.Path)
		}
	}
	return nil
}

// wanted are the settings of a mount to be made.
func (t *Table) wanted(f wire.Fields) (s mount.Settings, err error) {
	if s.Type, err = f.String("type"); err != nil {
		return s, err
	}
	if s.Type == "" {
		return s, wire.Invalid("backend type must be specified as a string")
	}
	if !t.cfg.Types[s.Type] {
		return s, wire.Invalid("plugin not found in the catalog: %s", s.Type)
	}
	config, err := s.Read(f)
	if err != nil {
		return s, err
	}
	s.Accessor = mount.NewAccessor(s.Type)
	return s, s.Limit(config)
}

// Tune serves POST sys/mounts/<path>/tune. Live leases keep the limits that
// they began with (A2).
func (t *Table) Tune(ctx context.Context, r *request.Request, path string) (*wire.Answer, error) {
	key := mount.Key(path)
	if key == system().Path {
		return nil, wire.Invalid("sys/ has no limits of its own: they are in the server's configuration")
	}
	err := t.shelf.Edit(ctx, func(ctx context.Context) (e store.Entry, settings any, err error) {
		m, err := t.at(ctx, path)
		if err == nil {
			err = m.Limit(r.Fields())
		}
		if err == nil {
			err = m.Describe(r.Fields())
		}
		return store.Entry{Kind: store.KindMount, Key: key, ID: m.ID, Revision: m.Revision}, m.Settings, err
	}, events(r, key))
	if err != nil {
		return nil, err
	}
	return wire.Done(), nil
}

// unmoved says what to do instead of moving a mount. The path of a mount is in
// the ids of its leases and in what their revocation froze (A2): moved, what was
// issued under the old path could not be found by it.
func unmoved() *wire.Error {
	return wire.Invalid("mounts cannot be moved: enable a new mount at the new path, configure it, let clients read there, " +
		"then disable the old mount, which revokes what it issued")
}

// Remount serves POST sys/remount: it refuses.
func (*Table) Remount(context.Context, *request.Request) (*wire.Answer, error) { return nil, unmoved() }

// RemountStatus serves GET sys/remount/status/<id>: there is no such move.
func (*Table) RemountStatus(context.Context, *request.Request, string) (*wire.Answer, error) {
	return nil, unmoved()
}

// Disable serves DELETE sys/mounts/<path>. No mount there is as good as
// disabled. How far it has come can be read as an operation, which shares the
// commit of the withdrawal (A2).
func (t *Table) Disable(ctx context.Context, r *request.Request, path string) (*wire.Answer, error) {
	key := mount.Key(path)
	if reserved(key) {
		return nil, wire.Invalid("cannot unmount %q: it is the server's own", key)
	}
	now, err := t.store.Now(ctx)
	if err != nil {
		return nil, fmt.Errorf("disable mount: %w", err)
	}
	operation := func(e store.Entry) ([]store.Entry, error) {
		value, err := store.Barrier{
			Operation: r.ID, Prefix: key, MountID: e.ID, By: r.Actor, Reason: disabledReason, RaisedAt: now,
		}.Encode()
		return []store.Entry{{Kind: store.KindDisabling, Key: r.ID, Value: value}}, err
	}
	e, err := t.shelf.Withdraw(ctx, key, operation, events(r, key))
	if errors.Is(err, store.ErrNotFound) {
		return wire.NoContent(), nil
	}
	if err != nil {
		return nil, err
	}
	t.revoke(ctx, e.ID, r)
	answer := wire.Done()
	answer.Location = r.Tracked()
	return answer, nil
}

const disabledReason = "mount was disabled"

// revoke begins to revoke what the mount issued. The withdrawal is committed:
// the listing that starts here sees every intent that began before it (A3).
func (t *Table) revoke(ctx context.Context, id string, r *request.Request) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeWithin)
	defer cancel()
	taken, err := t.revoker.RevokeAll(ctx, store.Query{MountID: id}, r.Actor, disabledReason)
	if err == nil {
		err = t.revoker.Listed(ctx, r.ID, taken)
	}
	if err != nil {
		t.log.Warn().Err(err).Str("request_id", r.ID).Str("mount_id", id).Msg("leases of a disabled mount are left to the sweep")
	}
}

func events(r *request.Request, key string) func() []event.Event {
	return mount.Events(r, key, "sys/mounts/"+key)
}
