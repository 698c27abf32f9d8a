package enginetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

const (
	// term is the TTL of the suite's leases: long enough that none runs out
	// in a test.
	term = time.Hour
	// grace is the suite's own: a slow machine must not run into the fence.
	grace = 10 * time.Minute
	// hang bounds waiting for what must happen; it decides no test.
	hang = time.Minute
	// marginMax is the most that a target's expiry may be behind the lease's.
	marginMax = 10 * time.Minute
)

// issued is a lease on its way and what its plan said.
type issued struct {
	lease  lease.Lease
	plan   *engine.Plan
	made   engine.Created
	secret secret.Value
}

func (i *issued) creation() engine.Creation {
	return engine.Creation{Lease: i.lease, Secret: i.secret}
}

func (i *issued) name() string { return i.lease.Account }

func (i *issued) password(tb testing.TB) string {
	tb.Helper()
	p, ok := i.made.Data["password"].(string)
	if !ok || p == "" {
		tb.Fatalf("created data hold no password")
	}
	return p
}

// plan asks for a credential at path and begins its lease.
func plan(tb testing.TB, h Harness, path string) *issued {
	tb.Helper()
	ctx := tb.Context()
	id := lease.NewID(h.Mount + path)
	p, err := h.Engine.Plan(ctx, request(h, engine.Read, path, id))
	if err != nil || p == nil {
		tb.Fatalf("plan %s: %v, %v", path, p, err)
	}
	l := lease.Lease{
		Kind: lease.Secret, MountID: h.MountID, Mount: h.Mount, Role: p.Role, Engine: h.Engine.Type(),
		Target: p.Target, Account: p.Account, Plan: p.Frozen, TTL: term, Renewable: p.Renewable,
	}
	begin := lease.Change{ID: id, Key: "begin", Do: lease.Begin{Lease: l, Grace: grace, TargetOffset: p.TargetOffset}}
	l, err = begin.Apply(lease.Lease{}, storeNow(tb, h, p))
	if err != nil {
		tb.Fatalf("begin lease: %v", err)
	}
	return &issued{lease: l, plan: p, secret: p.Secret}
}

// storeNow is a store's clock that is off from the target's by what the plan
// says.
func storeNow(tb testing.TB, h Harness, p *engine.Plan) time.Time {
	tb.Helper()
	now, err := h.Target.Now(tb.Context())
	if err != nil {
		tb.Fatalf("read the target's clock: %v", err)
	}
	return now.Add(-p.TargetOffset)
}

// issue makes a credential and makes its lease active.
func issue(tb testing.TB, h Harness) *issued {
	tb.Helper()
	i := plan(tb, h, h.Path)
	create(tb, h, i)
	return i
}

func create(tb testing.TB, h Harness, batch ...*issued) {
	tb.Helper()
	out := h.Engine.Create(tb.Context(), batch[0].lease.Target, creations(batch))
	if len(out) != len(batch) {
		tb.Fatalf("create answered %d of %d leases", len(out), len(batch))
	}
	for n, o := range out {
		if o.Err != nil {
			tb.Fatalf("create %s: %v", batch[n].name(), describe(o.Err))
		}
		activate(tb, h, batch[n], o)
	}
}

func creations(batch []*issued) []engine.Creation {
	out := make([]engine.Creation, 0, len(batch))
	for _, i := range batch {
		out = append(out, i.creation())
	}
	return out
}

func activate(tb testing.TB, h Harness, i *issued, o engine.Created) {
	tb.Helper()
	c := lease.Change{ID: i.lease.ID, Version: i.lease.Version, Key: "activate", Do: lease.Activate{Handle: o.Handle}}
	l, err := c.Apply(i.lease, storeNow(tb, h, i.plan))
	if err != nil {
		tb.Fatalf("activate %s: %v", i.lease.ID, err)
	}
	i.lease, i.made = l, o
}

// revoke puts the lease into revoking.
func revoke(tb testing.TB, h Harness, batch ...*issued) []lease.Lease {
	tb.Helper()
	out := make([]lease.Lease, 0, len(batch))
	for _, i := range batch {
		c := lease.Change{ID: i.lease.ID, Version: lease.AnyVersion, Key: "revoke", Do: lease.Revoke{}}
		l, err := c.Apply(i.lease, storeNow(tb, h, i.plan))
		if err != nil {
			tb.Fatalf("revoke %s: %v", i.lease.ID, err)
		}
		i.lease = l
		out = append(out, l)
	}
	return out
}

// past moves the lease's creation deadline behind the target's clock, as time
// would.
func past(tb testing.TB, h Harness, i *issued) {
	tb.Helper()
	now, err := h.Target.Now(tb.Context())
	if err != nil {
		tb.Fatalf("read the target's clock: %v", err)
	}
	i.lease.CreateDeadline = now.Add(-time.Second)
	i.lease.ConfirmBy = i.lease.CreateDeadline.Add(-i.plan.TargetOffset)
}

// disable calls Disable until it is done: an outcome that asks for a retry is
// allowed, one that parks is not.
func disable(tb testing.TB, h Harness, leases []lease.Lease) {
	tb.Helper()
	if _, err := persist(tb, leases, h.Engine.Disable, disabled); err != nil {
		tb.Fatalf("disable: %v", err)
	}
}

func remove(tb testing.TB, h Harness, leases []lease.Lease) []engine.Outcome {
	tb.Helper()
	out, err := persist(tb, leases, h.Engine.Remove, gone)
	if err != nil {
		tb.Fatalf("remove: %v", err)
	}
	return out
}

type stage func(ctx context.Context, target string, batch []lease.Lease) []engine.Outcome

func disabled(o engine.Outcome) bool { return o.Err == nil && o.Disabled && o.SessionsEnded }
func gone(o engine.Outcome) bool     { return o.Err == nil && o.Gone }

// persist is a revoker in small: it repeats what may be repeated. It may run
// beside the test's own goroutine.
func persist(tb testing.TB, leases []lease.Lease, do stage, done func(engine.Outcome) bool) ([]engine.Outcome, error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), hang)
	defer cancel()
	for {
		out := do(ctx, leases[0].Target, leases)
		if len(out) != len(leases) {
			return nil, fmt.Errorf("answered %d of %d leases", len(out), len(leases))
		}
		open := 0
		for n, o := range out {
			if done(o) {
				continue
			}
			open++
			e := checkError(tb, o.Err)
			if e == nil {
				return nil, fmt.Errorf("%s: neither done nor an error: %+v", leases[n].Account, o)
			}
			if e.Parks() || e.Kind == engine.NotYet || ctx.Err() != nil {
				return nil, fmt.Errorf("%s: %s", leases[n].Account, describe(e))
			}
		}
		if open == 0 {
			return out, nil
		}
	}
}

// checkError holds what every error must keep: it is an *engine.Error with a
// known kind and a message.
func checkError(tb testing.TB, err error) *engine.Error {
	tb.Helper()
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*engine.Error](err)
	if !ok {
		tb.Errorf("%v is no *engine.Error", err)
		return &engine.Error{Kind: engine.Internal, Message: err.Error(), Err: err}
	}
	switch e.Kind {
	case engine.Invalid, engine.NotFound, engine.UnsupportedPath, engine.UnsupportedOperation, engine.Refused,
		engine.Conflict, engine.Unreachable, engine.Busy, engine.NotYet, engine.Internal:
	default:
		tb.Errorf("error kind %q is not one of the contract", e.Kind)
	}
	if strings.TrimSpace(e.Message) == "" {
		tb.Errorf("error of kind %q says nothing", e.Kind)
	}
	return e
}

// wantKind checks an error's kind and that it holds none of the secrets.
func wantKind(tb testing.TB, err error, secrets []string, kinds ...engine.Kind) {
	tb.Helper()
	e := checkError(tb, err)
	if e == nil {
		tb.Errorf("no error, want one of kind %q", kinds)
		return
	}
	for _, s := range secrets {
		if s != "" && (strings.Contains(e.Message, s) || e.Err != nil && strings.Contains(e.Err.Error(), s)) {
			tb.Errorf("error of kind %q tells a secret", e.Kind)
		}
	}
	if !slices.Contains(kinds, e.Kind) {
		tb.Errorf("error %v, want one of kind %q", describe(err), kinds)
	}
}

func describe(err error) string {
	if e, ok := errors.AsType[*engine.Error](err); ok {
		cause := ""
		if e.Err != nil {
			cause = ": " + e.Err.Error()
		}
		return string(e.Kind) + ": " + e.Message + cause
	}
	return err.Error()
}

func request(h Harness, op engine.Operation, path string, id lease.ID) *engine.Request {
	return &engine.Request{
		Operation: op, MountID: h.MountID, Mount: h.Mount, Path: path, LeaseID: id,
		Actor: lease.Actor{Name: "suite", DisplayName: "suite", RequestID: "enginetest"},
	}
}

func wantExists(tb testing.TB, h Harness, name string, want bool) {
	tb.Helper()
	got, err := h.Target.Exists(tb.Context(), name)
	if err != nil {
		tb.Fatalf("look for %s: %v", name, err)
	}
	if got != want {
		tb.Errorf("account %s: exists %t, want %t", name, got, want)
	}
}

func wantLogin(tb testing.TB, h Harness, name, password string, want bool) {
	tb.Helper()
	err := h.Target.Login(tb.Context(), name, password)
	if want && err != nil {
		tb.Errorf("login of %s: %v", name, err)
	}
	if !want && err == nil {
		tb.Errorf("%s can log in", name)
	}
}
