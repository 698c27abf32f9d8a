package database

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// frozen is Lease.Plan: what package postgres needs, and the system on which
// the account is to be made. A lease that was never confirmed has no handle,
// and its absence must not be proved elsewhere either (C6).
type frozen struct {
	postgres.Plan
	Identity postgres.Identity `json:"identity,omitzero"`
	// GroupID is the entry of the group role that Plan.Group names.
	GroupID string `json:"group_id,omitempty"`
}

// Plan implements [engine.Configurer] for creds/<role>.
func (e *Engine) Plan(ctx context.Context, r *engine.Request) (*engine.Plan, error) {
	name, ok := strings.CutPrefix(r.Path, "creds/")
	if !ok || !validName(name) {
		return nil, nil
	}
	if r.Operation != engine.Read {
		return nil, unsupportedOperation()
	}
	ro, entry, err := e.roleByName(ctx, r.MountID, name)
	if err != nil {
		return nil, err
	}
	if ro == nil {
		return nil, invalid("unknown role: " + name)
	}
	c, err := e.mustConnection(ctx, r.MountID, ro.DBName)
	if err != nil {
		return nil, err
	}
	if !c.allows(name) {
		return nil, invalid(multi(fmt.Sprintf("%q is not an allowed role", name)))
	}
	return e.plan(ctx, r, ro, entry, c)
}

func (e *Engine) plan(ctx context.Context, r *engine.Request, ro *role, entry store.Entry, c *stored) (*engine.Plan, error) {
	p, err := ro.plan(entry, &c.connection, c.entry.ID)
	if err != nil {
		return nil, err
	}
	account, err := e.account(ctx, &c.connection, r.Actor.DisplayName, ro.Name, r.LeaseID)
	if err != nil {
		return nil, err
	}
	password, err := e.password(ctx, cmp.Or(ro.Policy, c.Policy), &p)
	if err != nil {
		return nil, err
	}
	out := &engine.Plan{
		Role: ro.Name, Target: c.entry.ID,
		Account:   account,
		Limits:    lease.TTLs{Default: ro.DefaultTTL, Max: ro.MaxTTL},
		Renewable: true, Grace: e.cfg.Grace,
		Guard:  []store.Ref{{Kind: store.KindRole, ID: entry.ID}, {Kind: store.KindConnection, ID: c.entry.ID}},
		Secret: password,
	}
	freeze := frozen{Plan: p}
	err = e.useStored(ctx, c, func(o *opened, s *stored) (err error) {
		freeze.Identity = s.Identity
		if ro.Shared {
			// It is the role's, and stays where this request comes to nothing.
			g, err := e.standingGroup(ctx, o, s, ro, entry, r.Actor)
			if err != nil {
				return err
			}
			freeze.Group, freeze.GroupID = g.Name, g.entry.ID
			out.Guard = append(out.Guard, store.Ref{Kind: store.KindGroupRole, ID: g.entry.ID})
		}
		out.TargetOffset, err = e.clockOffset(ctx, o)
		return err
	})
	if err != nil {
		return nil, listed(err)
	}
	if out.Frozen, err = json.Marshal(freeze); err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	return out, nil
}

// listed puts what a target said into the shape in which Vault's clients know
// the failures of a database.
func listed(err error) error {
	e := *engine.AsError(err)
	if e.Message != "" && !strings.HasPrefix(e.Message, "1 error occurred:") {
		e.Message = multi(e.Message)
	}
	return &e
}
