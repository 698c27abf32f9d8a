package database

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/engine/database/internal/sqltext"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// role is the value of an entry of [store.KindRole].
type role struct {
	Name   string `json:"name"`
	DBName string `json:"db_name"`

	// Statements as they were written: a read gives them back unchanged.
	Creation   []string `json:"creation_statements"`
	Revocation []string `json:"revocation_statements,omitempty"`
	Renewal    []string `json:"renew_statements,omitempty"`
	Rollback   []string `json:"rollback_statements,omitempty"`

	DefaultTTL time.Duration `json:"default_ttl,omitempty"`
	MaxTTL     time.Duration `json:"max_ttl,omitempty"`

	// What a role may set over its connection.
	Authentication postgres.PasswordAuthentication `json:"password_authentication,omitempty"`
	Iterations     int                             `json:"scram_iterations,omitempty"`
	OwnedObjects   postgres.OwnedObjects           `json:"owned_objects,omitempty"`
	ReassignTo     string                          `json:"reassign_owned_to,omitempty"`
	Databases      []string                        `json:"databases,omitempty"`
	Policy         string                          `json:"password_policy,omitempty"` // name

	// Shared: what the statements grant on objects is a group role's.
	Shared bool `json:"shared_grants,omitempty"`
	// Refresh is between grants of it all to the group role; 0: only when the
	// role is written, nil: [refreshEvery].
	Refresh *time.Duration `json:"shared_grants_refresh,omitempty"`
}

// roleByName returns a role and its entry, or nil.
func (e *Engine) roleByName(ctx context.Context, mountID, name string) (*role, store.Entry, error) {
	entry, err := e.store.Entry(ctx, store.KindRole, mountID+"/"+name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, entry, nil
	}
	if err != nil {
		return nil, entry, storeError("read role", err)
	}
	r := &role{}
	if err := json.Unmarshal(entry.Value, r); err != nil {
		return nil, entry, &engine.Error{Kind: engine.Internal, Message: "a stored role cannot be read", Err: err}
	}
	return r, entry, nil
}

// scripts are the role's statements, read by the lexer (B4).
func (r *role) scripts() (postgres.Scripts, error) {
	p := postgres.Plan{Creation: r.Creation, Renewal: r.Renewal, Revocation: r.Revocation, Rollback: r.Rollback}
	s, err := p.Compile()
	if err == nil && len(r.Creation) == 0 {
		_, err = sqltext.Parse(sqltext.Creation)
	}
	if err != nil {
		return s, invalid(err.Error())
	}
	return s, nil
}

// plan is what a lease of the role freezes (A2). The zero connection stands
// for its defaults.
func (r *role) plan(entry store.Entry, c *connection, connectionID string) (postgres.Plan, error) {
	s, err := r.scripts()
	if err != nil {
		return postgres.Plan{}, err
	}
	p := postgres.Plan{
		Generation: entry.ID + "." + strconv.FormatInt(entry.Revision, 10), Connection: connectionID,
		Creation: s.Creation.Sources(), Renewal: s.Renewal.Sources(),
		Revocation: s.Revocation.Sources(), Rollback: s.Rollback.Sources(),
		Authentication: cmp.Or(r.Authentication, c.authentication()),
		Iterations:     cmp.Or(r.Iterations, c.Iterations),
		Databases:      r.Databases,
		OwnedObjects:   cmp.Or(r.OwnedObjects, c.OwnedObjects),
		ReassignTo:     cmp.Or(r.ReassignTo, c.ReassignTo),
	}
	if p.Databases == nil {
		p.Databases = c.Databases
	}
	if r.Shared {
		own, _, err := s.Creation.Share()
		if err != nil {
			return postgres.Plan{}, invalid(err.Error())
		}
		p.Creation, p.Numbers = own.Sources(), own.Numbers()
	}
	if err := p.Check(); err != nil {
		return postgres.Plan{}, invalid(err.Error())
	}
	return p, nil
}

func (e *Engine) writeRole(ctx context.Context, req *engine.Request, name string) (*engine.Response, error) {
	r, entry, err := e.roleByName(ctx, req.MountID, name)
	if err != nil {
		return nil, err
	}
	if r == nil {
		r, entry = &role{Name: name}, store.Entry{Kind: store.KindRole, Key: req.MountID + "/" + name}
	}
	warnings, err := r.update(req.Data)
	if err != nil {
		return nil, err
	}
	found, err := e.connectionByName(ctx, req.MountID, r.DBName)
	if err != nil {
		return nil, err
	}
	var c connection // a role may be written before its connection
	if found != nil {
		c = found.connection
	}
	if _, err := r.plan(entry, &c, ""); err != nil {
		return nil, err
	}
	if entry.Value, err = json.Marshal(r); err != nil {
		return nil, fmt.Errorf("encode role: %w", err)
	}
	w := store.Write{Puts: []store.Entry{entry}}
	w.Events = append(w.Events, changed(req.Actor, req.Mount, req.Path, req.Operation, "", req.Data))
	written, err := e.store.Write(ctx, w)
	if err != nil {
		return nil, storeError("store role", err)
	}
	warnings = append(warnings, r.lint()...)
	if r.Shared && found != nil {
		warnings = append(warnings, e.writeGroup(ctx, req, r, written[0], found)...)
	}
	return warned(warnings), nil
}

// update takes what the body names; the rest stays.
func (r *role) update(data map[string]any) (warnings []string, err error) {
	f := newFields(data)
	f.text("db_name", &r.DBName)
	f.statements("creation_statements", &r.Creation)
	f.statements("revocation_statements", &r.Revocation)
	f.statements("renew_statements", &r.Renewal)
	f.statements("rollback_statements", &r.Rollback)
	f.duration("default_ttl", &r.DefaultTTL)
	f.duration("max_ttl", &r.MaxTTL)
	f.text("password_authentication", (*string)(&r.Authentication))
	f.number("scram_iterations", &r.Iterations)
	f.text("owned_objects", (*string)(&r.OwnedObjects))
	f.text("reassign_owned_to", &r.ReassignTo)
	f.list("databases", &r.Databases)
	f.flag("shared_grants", &r.Shared)
	refresh := r.refresh()
	if f.duration("shared_grants_refresh", &refresh) {
		r.Refresh = &refresh
	}
	kind := "password"
	f.text("credential_type", &kind)
	var config map[string]any
	f.object("credential_config", &config)
	switch {
	case f.err != nil:
		return nil, f.err
	case kind != "password":
		return nil, invalid(fmt.Sprintf("credential_type is %q, only \"password\" is possible", kind))
	case r.DBName == "":
		return nil, invalid("db_name is missing: name the connection that the role uses")
	case refresh != 0 && refresh < minRefresh:
		return nil, invalid("shared_grants_refresh is a minute at least, or 0: only when the role is written")
	case r.MaxTTL > 0 && r.DefaultTTL > r.MaxTTL:
		return nil, invalid(fmt.Sprintf("lease TTL too large: default_ttl of %s is above max_ttl of %s",
			lease.Short(r.DefaultTTL), lease.Short(r.MaxTTL)))
	}
	c := newFields(config)
	c.text("password_policy", &r.Policy)
	if c.err != nil {
		return nil, invalid("credential_config validation failed: " + c.err.Error())
	}
	return append(f.ignored(), c.ignored()...), nil
}

func (e *Engine) readRole(ctx context.Context, req *engine.Request, name string) (*engine.Response, error) {
	r, entry, err := e.roleByName(ctx, req.MountID, name)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, nothing()
	}
	d := map[string]any{
		"db_name":               r.DBName,
		"creation_statements":   texts(r.Creation),
		"revocation_statements": texts(r.Revocation),
		"renew_statements":      texts(r.Renewal),
		"rollback_statements":   texts(r.Rollback),
		"default_ttl":           int64(r.DefaultTTL / time.Second),
		"max_ttl":               int64(r.MaxTTL / time.Second),
		"credential_type":       "password",
	}
	for name, v := range map[string]string{
		"password_authentication": string(r.Authentication), "owned_objects": string(r.OwnedObjects), "reassign_owned_to": r.ReassignTo,
	} {
		if v != "" {
			d[name] = v
		}
	}
	if r.Policy != "" {
		d["credential_config"] = map[string]any{"password_policy": r.Policy}
	}
	if r.Iterations != 0 {
		d["scram_iterations"] = r.Iterations
	}
	if len(r.Databases) > 0 {
		d["databases"] = r.Databases
	}
	if r.Shared {
		if err := e.showGroup(ctx, r, entry, d); err != nil {
			return nil, err
		}
	}
	return &engine.Response{Data: d}, nil
}

// texts is a list that encodes as [] where it is empty.
func texts(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// deleteRole withdraws the role: no new leases, live ones go on with what they
// froze (A2).
func (e *Engine) deleteRole(ctx context.Context, req *engine.Request, name string) error {
	r, entry, err := e.roleByName(ctx, req.MountID, name)
	if err != nil || r == nil {
		return err
	}
	// Nothing refers to a role by its id but guards, which a missing entry
	// fails as well as a withdrawn one: it need not be kept.
	w := store.Write{Deletes: []store.Ref{{Kind: store.KindRole, ID: entry.ID}}}
	w.Events = append(w.Events, changed(req.Actor, req.Mount, req.Path, req.Operation, "", nil))
	if _, err := e.store.Write(ctx, w); err != nil {
		return storeError("delete role", err)
	}
	return nil
}
