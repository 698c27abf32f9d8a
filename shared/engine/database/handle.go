package database

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// multi is the shape in which Vault lists what went wrong; clients print it.
func multi(message string) string { return "1 error occurred:\n\t* " + message + "\n\n" }

func unsupportedPath() error {
	return &engine.Error{Kind: engine.UnsupportedPath, Message: multi("unsupported path")}
}

func unsupportedOperation() error {
	return &engine.Error{Kind: engine.UnsupportedOperation, Message: multi("unsupported operation")}
}

// nothing is the answer where there is nothing to read or list: 404 with an
// empty list of errors.
func nothing() error { return &engine.Error{Kind: engine.NotFound} }

// warned is a response that says only what a person should know, or nothing.
func warned(warnings []string) *engine.Response {
	if len(warnings) == 0 {
		return nil
	}
	return &engine.Response{Warnings: warnings}
}

// Handle implements [engine.Configurer].
func (e *Engine) Handle(ctx context.Context, r *engine.Request) (*engine.Response, error) {
	kind, name, below := strings.Cut(strings.TrimSuffix(r.Path, "/"), "/")
	if !below {
		return e.handleList(ctx, r, kind)
	}
	if role, ok := strings.CutSuffix(name, "/check"); ok && kind == "roles" && validName(role) {
		return e.handleCheck(ctx, r, role)
	}
	if !validName(name) {
		return nil, unsupportedPath()
	}
	switch kind {
	case "config":
		return e.handleConfig(ctx, r, name)
	case "roles":
		return e.handleRole(ctx, r, name)
	case "static-roles":
		return e.handleStatic(ctx, r, name)
	case "static-creds":
		return only(engine.Read, r, func() (*engine.Response, error) { return e.staticCreds(ctx, r, name) })
	case "rotate-role":
		return only(engine.Write, r, func() (*engine.Response, error) { return e.rotateRole(ctx, r, name) })
	case "rotate-root":
		return only(engine.Write, r, func() (*engine.Response, error) { return e.rotateRoot(ctx, r, name) })
	case "reset":
		return only(engine.Write, r, func() (*engine.Response, error) { return nil, e.reset(ctx, r, name) })
	case "creds":
		// Plan serves it where it can be served.
		return nil, unsupportedOperation()
	}
	return nil, unsupportedPath()
}

// only serves a path that takes one operation.
func only(op engine.Operation, r *engine.Request, do func() (*engine.Response, error)) (*engine.Response, error) {
	if r.Operation != op {
		return nil, unsupportedOperation()
	}
	return do()
}

func (e *Engine) handleConfig(ctx context.Context, r *engine.Request, name string) (*engine.Response, error) {
	switch r.Operation {
	case engine.Read:
		return e.readConnection(ctx, r, name)
	case engine.Write:
		return e.writeConnection(ctx, r, name)
	case engine.Delete:
		return e.deleteConnection(ctx, r, name)
	case engine.List:
	}
	return nil, unsupportedOperation()
}

func (e *Engine) handleRole(ctx context.Context, r *engine.Request, name string) (*engine.Response, error) {
	switch r.Operation {
	case engine.Read:
		return e.readRole(ctx, r, name)
	case engine.Write:
		return e.writeRole(ctx, r, name)
	case engine.Delete:
		return nil, e.deleteRole(ctx, r, name)
	case engine.List:
	}
	return nil, unsupportedOperation()
}

func (e *Engine) handleList(ctx context.Context, r *engine.Request, kind string) (*engine.Response, error) {
	var of store.Kind
	switch kind {
	case "config":
		of = store.KindConnection
	case "roles":
		of = store.KindRole
	case "static-roles":
		of = store.KindStaticRole
	default:
		return nil, unsupportedPath()
	}
	if r.Operation != engine.List {
		return nil, unsupportedOperation()
	}
	return e.list(ctx, r, of)
}

func (e *Engine) list(ctx context.Context, r *engine.Request, kind store.Kind) (*engine.Response, error) {
	prefix := r.MountID + "/"
	after, names := "", []string{}
	if r.After != "" {
		after = prefix + r.After
	}
	for {
		limit := pageSize
		if r.Limit > 0 {
			limit = min(limit, r.Limit-len(names))
		}
		page, err := e.store.List(ctx, kind, prefix, after, false, limit)
		if err != nil {
			return nil, storeError("list entries", err)
		}
		for _, entry := range page {
			names = append(names, strings.TrimPrefix(entry.Key, prefix))
			after = entry.Key
		}
		if len(page) < limit || r.Limit > 0 && len(names) >= r.Limit {
			break
		}
	}
	if len(names) == 0 {
		return nil, nothing()
	}
	return &engine.Response{Data: map[string]any{"keys": names}}, nil
}

// validName is what Vault allows in a name: letters, digits and underscores,
// inside also hyphens and dots.
func validName(name string) bool {
	const maxName = 512
	if name == "" || len(name) > maxName {
		return false
	}
	for i, r := range name {
		word := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_'
		inner := i > 0 && i < len(name)-1
		if !word && (!inner || r != '-' && r != '.') {
			return false
		}
	}
	return true
}

// changed is the event of a change of configuration; of the values it tells
// nothing (A10).
func changed(
	by lease.Actor, mount, path string, op engine.Operation, reason string, data map[string]any,
) event.Event {
	return event.Event{
		Type: event.ConfigChanged, Subject: mount + path,
		Data: event.Data{
			Mount: mount, Actor: by, Reason: reason, Operation: string(op), Path: mount + path,
			Fields: slices.Sorted(maps.Keys(data)),
		},
	}
}

// Exists implements [engine.Finder].
func (e *Engine) Exists(ctx context.Context, r *engine.Request) (exists, known bool, err error) {
	kind, name, _ := strings.Cut(strings.TrimSuffix(r.Path, "/"), "/")
	if !validName(name) {
		return false, false, nil
	}
	switch kind {
	case "config":
		_, err = e.store.Entry(ctx, store.KindConnection, connectionKey(r.MountID, name))
	case "roles":
		_, err = e.store.Entry(ctx, store.KindRole, r.MountID+"/"+name)
	case "static-roles":
		_, err = e.store.Entry(ctx, store.KindStaticRole, r.MountID+"/"+name)
	default:
		return false, false, nil
	}
	if errors.Is(err, store.ErrNotFound) {
		return false, true, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("look for %s %q: %w", kind, name, err)
	}
	return true, true, nil
}

var _ engine.Finder = (*Engine)(nil)
