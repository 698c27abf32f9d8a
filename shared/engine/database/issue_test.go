//go:build integration || fault

package database

import (
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

func (s *site) stored(name string) *stored {
	s.tb.Helper()
	c, err := s.connectionByName(s.tb.Context(), mountID, name)
	if err != nil || c == nil {
		s.tb.Fatalf("connection %s: %v", name, err)
	}
	return c
}

// id is the connection's.
func (s *site) id() string { return s.stored("db").entry.ID }

// issued is a lease with its password.
type issued struct {
	lease.Lease
	password secret.Value
}

// issue makes a credential as the issuer does.
func (s *site) issue(role string) issued {
	s.tb.Helper()
	i, err := s.tryIssue(role)
	if err != nil {
		s.tb.Fatalf("issue %s: %v", role, err)
	}
	return i
}

func (s *site) tryIssue(role string) (issued, error) {
	s.tb.Helper()
	i, err := s.intend(role)
	if err != nil {
		return i, err
	}
	out := s.Create(s.tb.Context(), i.Target, []engine.Creation{{Lease: i.Lease, Secret: i.password}})
	if out[0].Err != nil {
		return i, out[0].Err
	}
	i.Lease = apply(s.tb, s.bench, lease.Change{ID: i.ID, Version: i.Version, Key: "a", Do: lease.Activate{Handle: out[0].Handle}})
	return i, nil
}

// intend commits the intent of a lease.
func (s *site) intend(role string) (issued, error) {
	s.tb.Helper()
	id := lease.NewID(mount + "creds/" + role)
	p, err := s.plan(role, id)
	if err != nil {
		return issued{}, err
	}
	return issued{password: p.Secret, Lease: apply(s.tb, s.bench, lease.Change{ID: id, Key: "b", Do: lease.Begin{
		Lease: lease.Lease{
			Kind: lease.Secret, MountID: mountID, Mount: mount, Role: p.Role, Engine: Type, Target: p.Target,
			Account: p.Account, Plan: p.Frozen, TTL: p.Limits.Default, Renewable: p.Renewable,
		},
		Grace: p.Grace, TargetOffset: p.TargetOffset,
	}})}, nil
}

func (s *site) remove(l lease.Lease) {
	s.tb.Helper()
	l = apply(s.tb, s.bench, lease.Change{ID: l.ID, Version: lease.AnyVersion, Key: "r", Do: lease.Revoke{}})
	out := s.Remove(s.tb.Context(), l.Target, []lease.Lease{l})
	if out[0].Err != nil || !out[0].Gone {
		s.tb.Errorf("remove %s: %+v", l.Account, out[0])
	}
	if there, err := s.Exists(s.tb.Context(), l.Account); err != nil || there {
		s.tb.Errorf("%s exists: %t, %v", l.Account, there, err)
	}
	apply(s.tb, s.bench, lease.Change{ID: l.ID, Version: lease.AnyVersion, Key: "f", Do: lease.Finish{To: lease.Revoked}})
}
