package database

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
)

// Create implements [engine.Creator].
func (e *Engine) Create(ctx context.Context, target string, batch []engine.Creation) []engine.Created {
	fail := func(err error) engine.Created { return engine.Created{Err: err} }
	out := dispatch(ctx, e, target, batch, func(c *engine.Creation) *lease.Lease { return &c.Lease }, fail,
		func(o *opened, batch []engine.Creation) []engine.Created { return o.Create(ctx, batch) })
	e.regroup(ctx, target, batch, out)
	for n := range out {
		if out[n].Err != nil {
			out[n].Err = listed(out[n].Err) // a client reads it
		}
	}
	return out
}

// Renew implements [engine.Creator].
func (e *Engine) Renew(ctx context.Context, target string, batch []engine.Renewal) []engine.Renewed {
	return dispatch(ctx, e, target, batch, func(r *engine.Renewal) *lease.Lease { return &r.Lease },
		func(err error) engine.Renewed { return engine.Renewed{Err: err} },
		func(o *opened, batch []engine.Renewal) []engine.Renewed { return o.Renew(ctx, batch) })
}

// Disable implements [engine.Revoker].
func (e *Engine) Disable(ctx context.Context, target string, batch []lease.Lease) []engine.Outcome {
	return dispatch(ctx, e, target, batch, func(l *lease.Lease) *lease.Lease { return l }, failed,
		func(o *opened, batch []lease.Lease) []engine.Outcome { return o.Disable(ctx, batch) })
}

// Remove implements [engine.Revoker].
func (e *Engine) Remove(ctx context.Context, target string, batch []lease.Lease) []engine.Outcome {
	return dispatch(ctx, e, target, batch, func(l *lease.Lease) *lease.Lease { return l }, failed,
		func(o *opened, batch []lease.Lease) []engine.Outcome { return o.Remove(ctx, batch) })
}

func failed(err error) engine.Outcome { return engine.Outcome{Err: err} }

// dispatch hands the leases of a batch that belong to the system which the
// connection names now to its target, and answers the others itself.
func dispatch[In, Out any](
	ctx context.Context, e *Engine, target string, batch []In,
	of func(*In) *lease.Lease, fail func(error) Out, do func(*opened, []In) []Out,
) []Out {
	out := make([]Out, len(batch))
	err := e.use(ctx, target, func(o *opened, s *stored) error {
		here, places := []In{}, []int{}
		for n := range batch {
			if err := s.moved(of(&batch[n])); err != nil {
				out[n] = fail(err)
				continue
			}
			here, places = append(here, batch[n]), append(places, n)
		}
		if len(here) == 0 {
			return nil
		}
		for n, got := range do(o, here) {
			out[places[n]] = got
		}
		return nil
	})
	if err != nil {
		for n := range out {
			out[n] = fail(engine.AsError(err))
		}
	}
	return out
}

// moved reports, as an error, that a lease belongs to another system than the
// one which its connection reaches now (C6).
func (s *stored) moved(l *lease.Lease) error {
	var f struct {
		Identity struct {
			SystemID string `json:"system_id"`
		} `json:"identity"`
	}
	if err := json.Unmarshal(l.Plan, &f); err != nil {
		return &engine.Error{Kind: engine.Internal, Message: "the plan of the lease cannot be read", Err: err}
	}
	was := f.Identity.SystemID
	if was == "" || was == s.Identity.SystemID {
		return nil
	}
	return &engine.Error{Kind: engine.Refused, Message: fmt.Sprintf(
		"target moved: the account is on the system %s, and connection %s now reaches %s; "+
			"point the connection back, or revoke the lease by force if that system is gone", was, s.Name, s.Identity.SystemID)}
}
