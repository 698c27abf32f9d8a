package auth

import (
	"context"
	"errors"

	"github.com/curfew-project/curfew/issuer/internal/mount"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/store"
)

// Read serves GET sys/auth.
func (t *Table) Read(ctx context.Context, _ *request.Request) (*wire.Answer, error) {
	data, err := t.each(ctx, configured)
	if err != nil {
		return nil, err
	}
	answer := wire.OK(data)
	answer.Doubled = true
	return answer, nil
}

// Shown is the auth part of sys/internal/ui/mounts: every mount with the
// limits that count there.
func (t *Table) Shown(ctx context.Context) (map[string]any, error) { return t.each(ctx, t.effective) }

func (t *Table) each(ctx context.Context, config func(*Mount) map[string]any) (map[string]any, error) {
	all, err := t.All(ctx, false)
	if err != nil {
		return nil, err
	}
	data := map[string]any{}
	for _, m := range append(all, *tokenMount()) {
		data[m.Key()] = t.shape(&m, config(&m))
	}
	return data, nil
}

// ReadOne serves GET sys/auth/<path>.
func (t *Table) ReadOne(ctx context.Context, _ *request.Request, path string) (*wire.Answer, error) {
	m, err := t.at(ctx, path)
	if err != nil {
		return nil, err
	}
	answer := wire.OK(t.shape(&m, configured(&m)))
	answer.Doubled = true
	return answer, nil
}

// ReadTune serves GET sys/auth/<path>/tune.
func (t *Table) ReadTune(ctx context.Context, _ *request.Request, path string) (*wire.Answer, error) {
	m, err := t.at(ctx, path)
	if err != nil {
		return nil, err
	}
	return m.Tuned(t.effective(&m)), nil
}

// at is the mount of exactly that path below auth/.
func (t *Table) at(ctx context.Context, path string) (Mount, error) {
	key := mount.Key(path)
	if key == tokenKey {
		return *tokenMount(), nil
	}
	e, err := t.shelf.Store.Entry(ctx, store.KindAuth, key)
	if errors.Is(err, store.ErrNotFound) {
		return Mount{}, wire.Invalid("No auth engine at %s", key)
	}
	if err != nil {
		return Mount{}, err
	}
	return decode(e)
}
