package api

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/curfew-project/curfew/issuer/internal/access"
	"github.com/curfew-project/curfew/issuer/internal/fault"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/tokens"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
)

// ops are the operations of a path.
type ops map[engine.Operation]answerer

// route is a path of the server's own. A pattern that ends in "/…" takes at
// least one more element, and what stands between it and tail.
type route struct {
	pattern string
	tail    string
	ops     ops
}

const more = "/…"

// match returns what follows the pattern.
func (t *route) match(path string) (rest string, ok bool) {
	prefix, takes := strings.CutSuffix(t.pattern, more)
	if !takes {
		return "", path == t.pattern
	}
	rest, ok = strings.CutPrefix(path, prefix+"/")
	if ok && t.tail != "" {
		rest, ok = strings.CutSuffix(rest, t.tail)
	}
	return rest, ok && rest != ""
}

// Patterns are the paths that the API serves itself; "/…" stands for at least one
// element more.
func (a *API) Patterns() []string {
	out := make([]string, len(a.routes))
	for i, t := range a.routes {
		out[i] = t.pattern + t.tail
	}
	return out
}

// Serves is the pattern that decides about path, and the operations that it
// takes; empty where none does.
func (a *API) Serves(path string) (pattern string, takes []engine.Operation) {
	for _, t := range a.routes {
		if _, ok := t.match(path); ok {
			return t.pattern + t.tail, slices.Sorted(maps.Keys(t.ops))
		}
	}
	return "", nil
}

// plain adapts a handler of a path without a rest.
func plain(h func(context.Context, *request.Request) (*wire.Answer, error)) answerer {
	return func(ctx context.Context, r *request.Request, _ string) (*wire.Answer, error) { return h(ctx, r) }
}

// table is every path of sys/ and auth/. Of two that match, the first counts.
func (a *API) table() []route {
	const read, write, list, del = engine.Read, engine.Write, engine.List, engine.Delete
	t, m, l, c, q := a.Tokens, a.Mounts, a.Leases, a.access, a.Quotas
	return []route{
		{"auth/token/create", "", ops{write: a.warned(t.Create)}},
		{"auth/token/create-orphan", "", ops{write: a.warned(t.CreateOrphan)}},
		{"auth/token/lookup-self", "", ops{read: plain(t.LookupSelf), write: plain(t.LookupSelf)}},
		{"auth/token/lookup", "", ops{read: plain(t.LookupSelf), write: plain(t.Lookup)}},
		{"auth/token/lookup-accessor", "", ops{write: plain(t.LookupAccessor)}},
		{"auth/token/renew-self", "", ops{write: plain(t.RenewSelf)}},
		{"auth/token/renew", "", ops{write: plain(t.Renew)}},
		{"auth/token/revoke-self", "", ops{write: plain(t.RevokeSelf)}},
		{"auth/token/revoke", "", ops{write: plain(t.Revoke)}},
		{"auth/token/revoke-accessor", "", ops{write: plain(t.RevokeAccessor)}},

		{"auth/token/tidy", "", ops{write: plain(t.Tidy)}},
		{"auth/token/renew-accessor", "", ops{write: plain(t.RenewAccessor)}},
		{"auth/token/revoke-orphan", "", ops{write: plain(t.RevokeOrphan)}},
		{"auth/token/accessors", "", ops{list: plain(t.Accessors)}},
		{"auth/…", "", ops{read: a.method, write: a.method, list: a.method, del: a.method}},
		{"sys/auth", "", ops{read: plain(a.Auth.Read)}},
		{"sys/auth/…", "/tune", ops{read: a.Auth.ReadTune, write: a.Auth.Tune}},
		{"sys/auth/…", "", ops{read: a.Auth.ReadOne, write: a.Auth.Enable, del: a.Auth.Disable}},

		{"sys/mounts", "", ops{read: plain(m.Read), list: plain(m.List)}},
		// The names that clients use for those of auth methods.
		{"sys/mounts/auth/…", "/tune", ops{read: a.Auth.ReadTune, write: a.Auth.Tune}},
		{"sys/mounts/auth/…", "", ops{read: a.Auth.ReadOne, write: a.noEngine, del: a.noEngine}},
		{"sys/mounts/…", "/tune", ops{read: m.ReadTune, write: m.Tune}},
		{"sys/mounts/…", "", ops{read: m.ReadOne, write: m.Enable, del: m.Disable}},
		{"sys/internal/ui/mounts", "", ops{read: plain(a.shownMounts)}},
		{"sys/internal/ui/mounts/…", "", ops{read: a.shownMount}},
		{"sys/internal/ui/resultant-acl", "", ops{read: plain(c.ResultantACL)}},
		{"sys/remount", "", ops{write: plain(m.Remount)}},
		{"sys/remount/status/…", "", ops{read: m.RemountStatus}},

		{"sys/policies/acl", "", ops{list: plain(c.ListPolicies)}},
		{"sys/policies/acl/…", "", ops{read: c.ReadPolicy, write: c.WritePolicy, del: c.DeletePolicy}},
		{"sys/policies/password", "", ops{list: plain(a.Passwords.List)}},
		{"sys/policies/password/…", "/generate", ops{read: a.Passwords.Generate}},
		{"sys/policies/password/…", "", ops{read: a.Passwords.Read, write: a.Passwords.Write, del: a.Passwords.Delete}},
		{"sys/policy", "", ops{read: plain(c.ListOld), list: plain(c.ListOld)}},
		{"sys/policy/…", "", ops{read: c.ReadOld, write: c.WritePolicy, del: c.DeletePolicy}},
		{"sys/capabilities", "", ops{write: plain(c.Capabilities)}},
		{"sys/capabilities-self", "", ops{write: plain(c.CapabilitiesSelf)}},
		{"sys/capabilities-accessor", "", ops{write: plain(c.CapabilitiesAccessor)}},
		{access.ExplainPath, "", ops{write: plain(c.Explain)}},

		{wrappingPath + "wrap", "", ops{write: plain(a.Wrapping.Echo)}},
		{wrappingPath + "lookup", "", ops{read: plain(a.Wrapping.Lookup), write: plain(a.Wrapping.Lookup)}},
		{wrappingPath + "unwrap", "", ops{write: plain(a.Wrapping.Unwrap)}},
		{wrappingPath + "rewrap", "", ops{write: plain(a.Wrapping.Rewrap)}},

		{"sys/audit", "", ops{read: plain(a.Audit.Read)}},
		{"sys/audit/…", "", ops{read: a.Audit.ReadOne, write: a.Audit.Enable, del: a.Audit.Disable}},
		{"sys/audit-hash/…", "", ops{write: a.Audit.Hash}},

		{"sys/quotas/config", "", ops{read: plain(q.ReadConfig), write: plain(q.WriteConfig)}},
		{"sys/quotas/rate-limit", "", ops{list: plain(q.ListRate)}},
		{"sys/quotas/rate-limit/…", "", ops{read: q.ReadRate, write: q.WriteRate, del: q.DeleteRate}},
		{"sys/quotas/lease-count", "", ops{list: plain(q.ListCount)}},
		{"sys/quotas/lease-count/…", "", ops{read: q.ReadCount, write: q.WriteCount, del: q.DeleteCount}},

		{"sys/seal", "", ops{write: plain(a.Status.Seal)}},
		{"sys/installation", "", ops{read: plain(a.Operator.Read)}},
		{"sys/installation/confirm", "", ops{write: plain(a.Operator.Confirm)}},
		{"sys/fsck", "", ops{read: plain(a.Inspect.Standing)}},
		{"sys/fsck/leases", "", ops{read: plain(a.Inspect.Leases)}},
		{"sys/fsck/accounts/…", "", ops{read: a.Inspect.Accounts}},

		{"sys/leases", "", ops{read: a.listParked}},
		{"sys/leases/count", "", ops{read: a.countParked}},
		{"sys/leases/tidy", "", ops{write: plain(l.Tidy)}},
		{"sys/leases/lookup", "", ops{write: plain(l.Lookup), list: l.List}},
		{"sys/leases/lookup/…", "", ops{list: l.List}},
		{"sys/leases/renew", "", ops{write: l.Renew}},
		{"sys/leases/renew/…", "", ops{write: l.Renew}},
		{"sys/leases/revoke", "", ops{write: l.Revoke}},
		{"sys/leases/revoke/…", "", ops{write: l.Revoke}},
		{"sys/leases/revoke-prefix/…", "", ops{write: l.RevokePrefix}},
		{"sys/leases/revoke-force/…", "", ops{write: l.RevokeForce}},
		{"sys/leases/recount", "", ops{read: plain(l.ReadRecount), write: plain(l.AskRecount)}},
		{"sys/leases/retry", "", ops{write: l.Retry}},
		{"sys/leases/retry/…", "", ops{write: l.Retry}},
		{"sys/leases/retry-prefix/…", "", ops{write: l.RetryPrefix}},
		{"sys/leases/retry-connection/…", "", ops{write: l.RetryConnection}},
		{"sys/leases/abandon/…", "", ops{write: l.Abandon}},
		{"sys/leases/preview/…", "", ops{read: l.Preview}},
		{"sys/leases/operations", "", ops{list: plain(l.ListOperations)}},
		{"sys/leases/operations/…", "", ops{read: l.ReadOperation}},
		// The older names, which libraries still send.
		{"sys/renew", "", ops{write: l.Renew}},
		{"sys/renew/…", "", ops{write: l.Renew}},
		{"sys/revoke", "", ops{write: l.Revoke}},
		{"sys/revoke/…", "", ops{write: l.Revoke}},
		{"sys/revoke-prefix/…", "", ops{write: l.RevokePrefix}},
		{"sys/revoke-force/…", "", ops{write: l.RevokeForce}},
	}
}

func (a *API) countParked(ctx context.Context, r *request.Request, _ string) (*wire.Answer, error) {
	return a.Leases.CountParked(ctx, r, a.Mounts)
}

func (a *API) listParked(ctx context.Context, r *request.Request, _ string) (*wire.Answer, error) {
	return a.Leases.ListParked(ctx, r, a.Mounts)
}

// warned tells who makes a token of policies that are not there.
func (a *API) warned(create func(context.Context, *request.Request) (*wire.Answer, error)) answerer {
	return func(ctx context.Context, r *request.Request, _ string) (*wire.Answer, error) {
		answer, err := create(ctx, r)
		if err != nil || answer.Auth == nil {
			return answer, err
		}
		missing, err := a.Policies.Missing(ctx, answer.Auth.Policies)
		if err != nil {
			a.Log.Warn().Err(err).Str("request_id", r.ID).Msg("whether the policies of a new token are there was not found out")
		}
		for _, name := range missing {
			answer.Warnings = append(answer.Warnings, fmt.Sprintf("Policy %q does not exist", name))
		}
		return answer, nil
	}
}

// method hands r to the auth method of its mount.
func (a *API) method(ctx context.Context, r *request.Request, _ string) (*wire.Answer, error) {
	if strings.HasPrefix(r.Path+"/", tokens.Mount) {
		return nil, wire.UnsupportedPath() // what there is stands in the table
	}
	return a.Auth.Handle(ctx, r)
}

// noEngine refuses to mount a secret engine where auth methods are.
func (a *API) noEngine(ctx context.Context, r *request.Request, rest string) (*wire.Answer, error) {
	if r.Operation == engine.Delete {
		return a.Mounts.Disable(ctx, r, "auth/"+rest)
	}
	return a.Mounts.Enable(ctx, r, "auth/"+rest)
}

// logIn lets an auth method recognise who asks, and makes a token for them.
func (a *API) logIn(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	in, err := a.Auth.Login(ctx, r)
	if err != nil {
		return nil, err
	}
	return a.Tokens.Login(ctx, r, in)
}

// shownMounts serves GET sys/internal/ui/mounts: what the caller reaches.
func (a *API) shownMounts(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	methods, err := a.Auth.Shown(ctx)
	if err != nil {
		return nil, err
	}
	for path := range methods {
		reached, err := a.access.Reaches(ctx, r, "auth/"+path)
		if err != nil {
			return nil, err
		}
		if !reached {
			delete(methods, path)
		}
	}
	return a.Mounts.UI(ctx, methods, func(path string) (bool, error) { return a.access.Reaches(ctx, r, path) })
}

// shownMount serves GET sys/internal/ui/mounts/<path>.
func (a *API) shownMount(ctx context.Context, r *request.Request, path string) (*wire.Answer, error) {
	return a.Mounts.UIOne(ctx, path, func(mount string) (bool, error) {
		return a.access.Reaches(ctx, r, path, path+"/", mount)
	})
}

// handle finds who answers r.
func (a *API) handle(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	if r.Operation == request.Help {
		return a.explain(ctx, r)
	}
	switch first, _, _ := strings.Cut(r.Path, "/"); first {
	case "sys", "auth":
		return a.own(ctx, r)
	}
	return a.engine(ctx, r)
}

func (a *API) own(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	for i := range a.routes {
		rest, ok := a.routes[i].match(r.Path)
		if !ok {
			continue
		}
		h, ok := a.routes[i].ops[r.Operation]
		if !ok {
			return nil, wire.UnsupportedOperation()
		}
		return h(ctx, r, rest)
	}
	return nil, wire.UnsupportedPath()
}

// engine hands r to the engine of its mount.
func (a *API) engine(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	path := r.Path
	if r.Operation == engine.List {
		path += "/" // as clients know it from the text of the error
	}
	m, rest, err := a.Mounts.Resolve(ctx, path)
	if err != nil {
		return nil, err
	}
	r.Mount, r.MountType = m.Path, m.Type
	e, ok := a.Engines[m.Type]
	if !ok {
		return nil, fmt.Errorf("mount %s has the unknown type %q", m.Path, m.Type)
	}
	q := &engine.Request{
		Operation: r.Operation, MountID: m.ID, Mount: m.Path, Path: strings.TrimSuffix(rest, "/"),
		Data: r.Data, Actor: r.Actor, After: r.After, Limit: r.Limit,
	}
	if r.Operation == engine.Read || r.Operation == engine.Write {
		q.LeaseID = lease.NewID(r.Path)
		plan, err := e.Plan(ctx, q)
		if err != nil {
			return nil, err
		}
		if plan != nil {
			return a.Issuing.Issue(ctx, e, m, r, q.LeaseID, plan)
		}
	}
	said, err := e.Handle(ctx, q)
	switch {
	case err != nil:
		return nil, err
	case said == nil:
		return wire.NoContent(), nil
	case r.Operation == engine.List && nothing(said.Data):
		return nil, wire.Nothing()
	}
	return &wire.Answer{Data: said.Data, Warnings: said.Warnings}, nil
}

// exists implements [access.Existing]: engines and auth methods know what is below
// their mounts.
func (a *API) exists(ctx context.Context, r *request.Request) (exists, known bool, err error) {
	switch first, _, _ := strings.Cut(r.Path, "/"); first {
	case "sys", "audit":
		return false, false, nil
	case "auth":
		return a.Auth.Exists(ctx, r.Path)
	}
	m, rest, err := a.Mounts.Resolve(ctx, r.Path)
	if err != nil {
		if fault.Of(err, r.ID).Status == http.StatusNotFound {
			err = nil // who may write there is told that nothing is
		}
		return false, false, err
	}
	f, ok := a.Engines[m.Type].(engine.Finder)
	if !ok {
		return false, false, nil
	}
	return f.Exists(ctx, &engine.Request{Operation: r.Operation, MountID: m.ID, Mount: m.Path, Path: rest, Data: r.Data, Actor: r.Actor})
}

// nothing reports whether a list has no keys.
func nothing(data map[string]any) bool {
	switch keys := data["keys"].(type) {
	case nil:
		return true
	case []string:
		return len(keys) == 0
	case []any:
		return len(keys) == 0
	}
	return false
}
