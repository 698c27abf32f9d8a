package postgres

import (
	"sync"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/sqltext"
)

// maxPlans bounds what is remembered of plans. Forgetting is safe: statements
// run alone once more.
const maxPlans = 2048

// plans remembers compiled plans. Leases of one revision of a role have the
// same bytes as their plan, which are the key.
type plans struct {
	mu  sync.Mutex
	all map[string]*compiled
}

func newPlans() *plans { return &plans{all: map[string]*compiled{}} }

// compiled is a plan with its statements ready to be rendered. A script that
// this version refuses is empty and its error kept: a revocation goes on with
// the safe default (C5).
type compiled struct {
	Plan
	scripts [4]sqltext.Script
	errs    [4]error
	trials  [4]trial
}

func index(k sqltext.Kind) int { return int(k - sqltext.Creation) }

func (c *compiled) script(k sqltext.Kind) (sqltext.Script, error) {
	return c.scripts[index(k)], c.errs[index(k)]
}

// get returns the compiled plan of a lease.
func (p *plans) get(frozen []byte) (*compiled, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.all[string(frozen)]; c != nil {
		return c, nil
	}
	plan, err := DecodePlan(frozen)
	if err != nil {
		return nil, &engine.Error{Kind: engine.Internal, Message: "the plan of the lease cannot be read", Err: err}
	}
	c := &compiled{Plan: plan}
	for kind, texts := range map[sqltext.Kind][]string{
		sqltext.Creation: plan.Creation, sqltext.Renew: plan.Renewal,
		sqltext.Revocation: plan.Revocation, sqltext.Rollback: plan.Rollback,
	} {
		if len(texts) > 0 {
			c.scripts[index(kind)], c.errs[index(kind)] = sqltext.Parse(kind, texts...)
		}
	}
	if len(p.all) >= maxPlans {
		clear(p.all)
	}
	p.all[string(frozen)] = c
	return c, nil
}

// trial says whether statements have run alone without error (B5).
type trial struct {
	mu    sync.Mutex
	state trialState
}

type trialState int

const (
	untried trialState = iota
	proven
	failed
)

func (t *trial) get() trialState {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state
}

// set notes the outcome of a run alone; once proven, always proven.
func (t *trial) set(ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case ok:
		t.state = proven
	case t.state == untried:
		t.state = failed
	}
}
