package access

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/curfew-project/curfew/issuer/internal/policy"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/store"
)

// ListPolicies serves LIST sys/policies/acl.
func (d *Desk) ListPolicies(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	names, err := d.names(ctx)
	if err != nil {
		return nil, err
	}
	i, found := slices.BinarySearch(names, r.After)
	if found {
		i++
	}
	names = names[i:]
	if r.Limit > 0 {
		names = names[:min(r.Limit, len(names))]
	}
	if len(names) == 0 {
		return nil, wire.Nothing()
	}
	return wire.OK(map[string]any{"keys": names}), nil
}

// ListOld serves the older name of it, GET and LIST sys/policy.
func (d *Desk) ListOld(ctx context.Context, _ *request.Request) (*wire.Answer, error) {
	names, err := d.names(ctx)
	if err != nil {
		return nil, err
	}
	return &wire.Answer{Data: map[string]any{"keys": names, "policies": names}, Doubled: true}, nil
}

func (d *Desk) names(ctx context.Context) ([]string, error) {
	names := []string{policy.DefaultName, policy.RootName}
	for after := ""; ; {
		page, err := d.store.List(ctx, store.KindPolicy, "", after, false, 0)
		if err != nil {
			return nil, fmt.Errorf("list policies: %w", err)
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			names, after = append(names, e.Key), e.Key
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// ReadPolicy serves GET sys/policies/acl/<name>.
func (d *Desk) ReadPolicy(ctx context.Context, _ *request.Request, name string) (*wire.Answer, error) {
	name = strings.ToLower(name)
	r, e, err := d.shown(ctx, name)
	if err != nil {
		return nil, err
	}
	data := map[string]any{
		"name": name, "policy": r.Text, "version": max(e.Revision, 1), "cas_required": false,
		"allow_slashes_in_identity_templates": false, "allow_wildcards_in_identity_templates": false,
	}
	if !e.ChangedAt.IsZero() {
		data["modified"] = wire.Stamp(e.ChangedAt)
	}
	return wire.OK(data), nil
}

// ReadOld serves the older name of it, GET sys/policy/<name>.
func (d *Desk) ReadOld(ctx context.Context, _ *request.Request, name string) (*wire.Answer, error) {
	name = strings.ToLower(name)
	r, _, err := d.shown(ctx, name)
	if err != nil {
		return nil, err
	}
	return &wire.Answer{Data: map[string]any{"name": name, "rules": r.Text, "policy": r.Text}, Doubled: true}, nil
}

func (d *Desk) shown(ctx context.Context, name string) (r record, e store.Entry, err error) {
	if name == policy.RootName {
		return r, e, nil
	}
	r, e, err = d.read(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		err = wire.Nothing()
	}
	return r, e, err
}

// WritePolicy serves PUT and POST of both.
func (d *Desk) WritePolicy(ctx context.Context, r *request.Request, name string) (*wire.Answer, error) {
	text, err := r.Fields().String("policy")
	if err == nil && text == "" {
		text, err = r.Fields().String("rules")
	}
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, wire.Invalid("'policy' parameter not supplied or empty")
	}
	p, err := policy.Parse(name, text)
	if err != nil {
		return nil, wire.Invalid("%v", err)
	}
	err = d.put(ctx, p.Name, text, r.Changed("sys/policies/acl/"+p.Name), r.Event(http.StatusNoContent))
	if err != nil {
		return nil, err
	}
	return wire.Done(), nil
}

// DeletePolicy serves DELETE of both. Tokens keep the name: it allows nothing,
// until a policy of that name is written again.
func (d *Desk) DeletePolicy(ctx context.Context, r *request.Request, name string) (*wire.Answer, error) {
	name = strings.ToLower(name)
	if name == policy.RootName || name == policy.DefaultName {
		return nil, wire.Invalid("cannot delete %q policy", name)
	}
	err := d.remove(ctx, name, r.Changed("sys/policies/acl/"+name), r.Event(http.StatusNoContent))
	if err != nil {
		return nil, err
	}
	return wire.Done(), nil
}
