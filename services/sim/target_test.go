package sim_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/lease"
)

// engineOf is the engine in one process: what reaches a target is a call.
type engineOf struct {
	*enginetest.Fake // Handle, Plan, Disabled and Type reach none
	p                *process
	w                *world
}

func touched[A any](ctx context.Context, e engineOf, method, target, about string, change bool, effect func(ctx context.Context) (A, error)) (A, error) {
	detached := context.WithoutCancel(ctx)
	got, err := ask(ctx, e.p, call{method: "target." + method, about: about, target: target, change: change}, func() (A, error) { return effect(detached) })
	if errors.Is(err, errAway) || errors.Is(err, errLost) || errors.Is(err, errDead) {
		err = &engine.Error{Kind: engine.Unreachable, Message: "the target does not answer", Err: err}
	}
	return got, err
}

// batched is touched for a batch: whatever breaks the call is every answer.
func batched[A any](ctx context.Context, e engineOf, method, target, about string, n int, failed func(error) A, effect func(ctx context.Context) []A) []A {
	out, err := touched(ctx, e, method, target, about, true, func(ctx context.Context) ([]A, error) { return effect(ctx), nil })
	if err != nil {
		out = make([]A, n)
		for i := range out {
			out[i] = failed(err)
		}
	}
	return out
}

func (e engineOf) Create(ctx context.Context, target string, batch []engine.Creation) []engine.Created {
	about := ""
	for i := range batch {
		about += " " + batch[i].Lease.Account
	}
	return batched(ctx, e, "Create", target, about, len(batch),
		func(err error) engine.Created { return engine.Created{Err: err} },
		func(ctx context.Context) []engine.Created { return e.w.create(ctx, target, batch) })
}

func (e engineOf) Renew(ctx context.Context, target string, batch []engine.Renewal) []engine.Renewed {
	about := ""
	for i := range batch {
		about += fmt.Sprintf(" %s %s", batch[i].Lease.Account, batch[i].Remaining.Round(time.Second))
	}
	return batched(ctx, e, "Renew", target, about, len(batch),
		func(err error) engine.Renewed { return engine.Renewed{Err: err} },
		func(ctx context.Context) []engine.Renewed { return e.w.renew(ctx, target, batch) })
}

func accounts(batch []lease.Lease) (about string) {
	for i := range batch {
		about += " " + batch[i].Account
	}
	return about
}

func (e engineOf) Disable(ctx context.Context, target string, batch []lease.Lease) []engine.Outcome {
	return batched(ctx, e, "Disable", target, accounts(batch), len(batch),
		func(err error) engine.Outcome { return engine.Outcome{Err: err} },
		func(ctx context.Context) []engine.Outcome { return e.Fake.Disable(ctx, target, batch) })
}

func (e engineOf) Remove(ctx context.Context, target string, batch []lease.Lease) []engine.Outcome {
	return batched(ctx, e, "Remove", target, accounts(batch), len(batch),
		func(err error) engine.Outcome { return engine.Outcome{Err: err} },
		func(ctx context.Context) []engine.Outcome { return e.w.remove(ctx, target, batch) })
}

func (e engineOf) Accounts(ctx context.Context, target, after string, limit int) ([]engine.Account, error) {
	return touched(ctx, e, "Accounts", target, "", false, func(ctx context.Context) ([]engine.Account, error) {
		return e.w.accounts(ctx, target, after, limit)
	})
}

func (e engineOf) StrayPlan(ctx context.Context, target string, a engine.Account) (plan, handle []byte, err error) {
	got, err := touched(ctx, e, "StrayPlan", target, a.Name, false, func(ctx context.Context) ([2][]byte, error) {
		plan, handle, err := e.Fake.StrayPlan(ctx, target, a)
		return [2][]byte{plan, handle}, err
	})
	return got[0], got[1], err
}

func (e engineOf) Mark(ctx context.Context, target string) (string, error) {
	return touched(ctx, e, "Mark", target, "", false, func(ctx context.Context) (string, error) { return e.Fake.Mark(ctx, target) })
}

func (e engineOf) SetMark(ctx context.Context, target, was, now string) error {
	_, err := touched(ctx, e, "SetMark", target, now, true, func(ctx context.Context) (nothing, error) { return nothing{}, e.Fake.SetMark(ctx, target, was, now) })
	return err
}

var (
	_ engine.Engine  = engineOf{}
	_ engine.Sweeper = engineOf{}
	_ engine.Marker  = engineOf{}
)
