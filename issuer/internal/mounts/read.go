package mounts

import (
	"context"
	"errors"
	"slices"

	"github.com/curfew-project/curfew/issuer/internal/mount"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/store"
)

// Read serves GET sys/mounts.
func (t *Table) Read(ctx context.Context, _ *request.Request) (*wire.Answer, error) {
	all, err := t.All(ctx, false)
	if err != nil {
		return nil, err
	}
	data := map[string]any{}
	for _, m := range append(all, *system()) {
		data[m.Path] = t.shape(&m, m.Configured())
	}
	answer := wire.OK(data)
	answer.Doubled = true
	return answer, nil
}

// List serves LIST sys/mounts: the paths.
func (t *Table) List(ctx context.Context, _ *request.Request) (*wire.Answer, error) {
	all, err := t.All(ctx, false)
	if err != nil {
		return nil, err
	}
	keys := []string{system().Path}
	for _, m := range all {
		keys = append(keys, m.Path)
	}
	slices.Sort(keys)
	return wire.OK(map[string]any{"keys": keys}), nil
}

// ReadOne serves GET sys/mounts/<path>.
func (t *Table) ReadOne(ctx context.Context, _ *request.Request, path string) (*wire.Answer, error) {
	m, err := t.at(ctx, path)
	if err != nil {
		return nil, err
	}
	answer := wire.OK(t.shape(&m, m.Configured()))
	answer.Doubled = true
	return answer, nil
}

// ReadTune serves GET sys/mounts/<path>/tune.
func (t *Table) ReadTune(ctx context.Context, _ *request.Request, path string) (*wire.Answer, error) {
	m, err := t.at(ctx, path)
	if err != nil {
		return nil, err
	}
	return m.Tuned(m.Effective(t.cfg.System)), nil
}

// UI serves GET sys/internal/ui/mounts: what the caller reaches, beside the auth
// methods that are given.
func (t *Table) UI(ctx context.Context, methods map[string]any, reaches func(path string) (bool, error)) (*wire.Answer, error) {
	all, err := t.All(ctx, false)
	if err != nil {
		return nil, err
	}
	secrets := map[string]any{}
	for _, m := range all {
		reached, err := reaches(m.Path)
		if err != nil {
			return nil, err
		}
		if reached {
			secrets[m.Path] = t.shape(&m, m.Effective(t.cfg.System))
		}
	}
	return wire.OK(map[string]any{"secret": secrets, "auth": methods}), nil
}

// UIOne serves GET sys/internal/ui/mounts/<path>, where path may go on below
// the mount. Clients ask before they read.
func (t *Table) UIOne(ctx context.Context, path string, reaches func(mount string) (bool, error)) (*wire.Answer, error) {
	m, _, err := t.Resolve(ctx, path)
	reached := false
	if err == nil {
		reached, err = reaches(m.Path)
	}
	if w, ok := errors.AsType[*wire.Error](err); ok && w.Status == 404 || err == nil && !reached {
		// As stock: this path is open to every token and must not tell what is
		// mounted.
		return nil, &wire.Error{Status: 403, Messages: []string{
			"preflight capability check returned 403, please ensure client's policies grant access to path \"" + path + "/\"",
		}}
	}
	if err != nil {
		return nil, err
	}
	data := t.shape(&m, m.Effective(t.cfg.System))
	data["path"] = m.Path
	return wire.OK(data), nil
}

// at is the mount of exactly that path.
func (t *Table) at(ctx context.Context, path string) (Mount, error) {
	key := mount.Key(path)
	if key == system().Path {
		return *system(), nil
	}
	e, err := t.shelf.Store.Entry(ctx, store.KindMount, key)
	if errors.Is(err, store.ErrNotFound) {
		return Mount{}, wire.Invalid("No secret engine mount at %s", key)
	}
	if err != nil {
		return Mount{}, err
	}
	return decode(e)
}
