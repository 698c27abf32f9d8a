package access

import (
	"context"
	"slices"
	"strings"

	"github.com/curfew-project/curfew/issuer/internal/policy"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/secret"
)

// CapabilitiesSelf serves POST sys/capabilities-self.
func (d *Desk) CapabilitiesSelf(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	return d.capabilities(ctx, r, r.Caller.Policies)
}

// Capabilities serves POST sys/capabilities, of the token that is named.
func (d *Desk) Capabilities(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	return d.capabilitiesOf(ctx, r, "token", func(text string) ([]string, error) {
		return d.tokens.PoliciesOf(ctx, secret.New(text))
	})
}

// CapabilitiesAccessor serves POST sys/capabilities-accessor.
func (d *Desk) CapabilitiesAccessor(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	return d.capabilitiesOf(ctx, r, "accessor", func(accessor string) ([]string, error) {
		return d.tokens.PoliciesByAccessor(ctx, accessor)
	})
}

func (d *Desk) capabilitiesOf(ctx context.Context, r *request.Request, field string, find func(string) ([]string, error)) (*wire.Answer, error) {
	value, err := r.Fields().String(field)
	if err != nil {
		return nil, err
	}
	if value == "" {
		return nil, wire.Invalid("no %s provided", field)
	}
	names, err := find(value)
	if err != nil {
		return nil, err
	}
	return d.capabilities(ctx, r, names)
}

// mostPaths bounds the paths of one question.
const mostPaths = 1000

func (d *Desk) capabilities(ctx context.Context, r *request.Request, names []string) (*wire.Answer, error) {
	paths, err := r.Fields().Strings("paths")
	if err == nil && len(paths) == 0 {
		paths, err = r.Fields().Strings("path")
	}
	switch {
	case err != nil:
		return nil, err
	case len(paths) == 0:
		return nil, wire.Invalid("at least one path must be supplied")
	case len(paths) > mostPaths:
		return nil, wire.Invalid("%d paths: at most %d", len(paths), mostPaths)
	}
	acl, err := d.ACL(ctx, names)
	if err != nil {
		return nil, err
	}
	data := map[string]any{}
	for _, path := range paths {
		data[path] = acl.Capabilities(path)
	}
	if len(paths) == 1 {
		data["capabilities"] = data[paths[0]]
	}
	return &wire.Answer{Data: data, Doubled: true}, nil
}

// ExplainPath is where a token asks about itself.
const ExplainPath = "sys/explain-self"

// Explain serves POST on [ExplainPath]: whether the caller's token may do
// something, and what it lacks. Every token may ask it about itself.
func (d *Desk) Explain(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	path, err := r.Fields().String("path")
	if err != nil {
		return nil, err
	}
	method, err := r.Fields().String("operation")
	if err != nil {
		return nil, err
	}
	path = strings.Trim(strings.TrimPrefix(strings.TrimPrefix(path, "/"), "v1/"), "/")
	op, ok := operationOf(method)
	if path == "" || !ok {
		return nil, wire.Invalid("path and operation are needed; operation is one of GET, LIST, PUT, POST, DELETE, or read, list, create, update, write, delete")
	}
	about := &request.Request{ID: r.ID, Operation: op, Path: path, Actor: r.Actor, Caller: r.Caller}
	if data, ok := r.Data["data"].(map[string]any); ok {
		about.Data = data
	}
	decision, err := d.decide(ctx, about, r.Caller.Policies)
	if err != nil {
		return nil, err
	}
	text := decision.Explain()
	if !decision.Allowed {
		own, err := d.own(ctx, about)
		if err != nil {
			return nil, err
		}
		if own {
			decision.Allowed, text = true, "allowed: the token created the lease itself"
		}
	}
	policies := r.Caller.Policies
	if slices.Contains(policies, policy.RootName) {
		policies = []string{policy.RootName}
	}
	return wire.OK(map[string]any{
		"allowed": decision.Allowed, "explanation": strings.Split(text, "\n"), "policies": policies,
		"operation": string(op), "path": path,
	}), nil
}

// operationOf is what a person calls an operation.
func operationOf(name string) (engine.Operation, bool) {
	switch strings.ToLower(name) {
	case "get", "read":
		return engine.Read, true
	case "list":
		return engine.List, true
	case "put", "post", "write", "update", "create":
		return engine.Write, true
	case "delete":
		return engine.Delete, true
	}
	return "", false
}
