package database

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

func (e *Engine) writeConnection(ctx context.Context, r *engine.Request, name string) (*engine.Response, error) {
	s, err := e.connectionByName(ctx, r.MountID, name)
	if err != nil {
		return nil, err
	}
	if s == nil {
		s = &stored{connection: connection{
			ID: store.NewIncarnation(), Name: name, MountID: r.MountID, Verify: true,
		}}
	}
	before := s.connection
	f := newFields(r.Data)
	if err := e.update(s, f, r); err != nil {
		return nil, err
	}
	warnings := f.ignored()
	switch {
	case before.sameServer(&s.connection) && !asksToVerify(r.Data):
		// Who may use the connection can be changed while the server is away.
	case s.Verify:
		more, err := e.verify(ctx, s)
		if err != nil {
			return nil, err
		}
		warnings = append(warnings, more...)
	default:
		if before.URL != s.URL {
			s.Identity = postgres.Identity{} // found out at the first use
		}
		if err := e.trialError(ctx, s); err != nil {
			return nil, err
		}
	}
	if err := e.put(ctx, s, changed(r.Actor, r.Mount, r.Path, r.Operation, "", r.Data)); err != nil {
		return nil, storeError("store connection", err)
	}
	return warned(warnings), nil
}

func asksToVerify(data map[string]any) bool {
	var on bool
	f := newFields(data)
	return f.flag("verify_connection", &on) && on
}

// sameServer reports whether nothing of the way to the server differs.
func (c *connection) sameServer(d *connection) bool {
	a, b := *c, *d
	a.AllowedRoles, b.AllowedRoles = nil, nil
	a.Template, b.Template = "", ""
	a.Policy, b.Policy = "", ""
	a.Mount, b.Mount = "", ""
	a.Verify, b.Verify = false, false
	return reflect.DeepEqual(a, b)
}

// update takes what the body names into the connection; the rest stays.
func (e *Engine) update(s *stored, f *fields, r *engine.Request) error {
	s.Mount = r.Mount
	if err := f.plugin(); err != nil {
		return err
	}
	f.list("allowed_roles", &s.AllowedRoles)
	f.text("username_template", &s.Template)
	f.text("password_policy", &s.Policy)
	f.flag("verify_connection", &s.Verify)
	f.text("tls_ca", &s.TLSCA)
	f.text("tls_certificate", &s.TLSCertificate)
	f.text("password_authentication", (*string)(&s.Authentication))
	f.number("scram_iterations", &s.Iterations)
	f.text("owned_objects", (*string)(&s.OwnedObjects))
	f.text("reassign_owned_to", &s.ReassignTo)
	f.list("databases", &s.Databases)
	f.duration("margin", &s.Margin)
	f.duration("statement_timeout", &s.StatementTimeout)
	f.duration("lock_timeout", &s.LockTimeout)
	f.number("max_open_connections", &s.MaxOpen)
	f.number("max_idle_connections", &s.MaxIdle)
	f.text("max_connection_lifetime", &s.MaxLifetime)
	if err := f.replicas(&s.Replicas); err != nil {
		return err
	}
	if err := e.takeCredentials(s, f); err != nil {
		return err
	}
	if f.err != nil {
		return f.err
	}
	return s.check()
}

// plugin checks the fields that exist only to be what they are.
func (f *fields) plugin() error {
	name := plugin
	f.text("plugin_name", &name)
	var version string
	var rotation []string
	f.statements("root_rotation_statements", &rotation)
	f.text("plugin_version", &version)
	switch {
	case f.err != nil:
		return f.err
	case name != plugin:
		return invalid(fmt.Sprintf("plugin_name %q is not supported; supported is %q", name, plugin))
	case version != "":
		return invalid("plugin_version cannot be chosen: the engine is part of the server")
	case len(rotation) > 0:
		return invalid("root_rotation_statements are refused: rotate-root changes the password of the connection's own user with ALTER ROLE and a SCRAM verifier, which every server takes (leave them out)")
	}
	return nil
}

func (f *fields) replicas(to *[]string) error {
	if !f.list("replicas", to) {
		return nil
	}
	for n, raw := range *to {
		a, err := parseAddress(raw)
		if err != nil {
			return invalid(fmt.Sprintf("replicas: number %d: %s", n+1, err))
		}
		if a.username != "" || !a.password.Empty() {
			return invalid(fmt.Sprintf("replicas: number %d holds credentials: a standby has those of its primary; write {{username}} and {{password}}", n+1))
		}
		(*to)[n] = a.text
	}
	return nil
}

// takeCredentials takes URL, user name, password and key. What a URL spells
// out is taken out of it, so that nothing that is read back holds a password.
func (e *Engine) takeCredentials(s *stored, f *fields) error {
	var raw, username, password, key string
	hasURL := f.text("connection_url", &raw)
	hasUser := f.text("username", &username)
	hasPassword := f.text("password", &password)
	hasKey := f.text("private_key", &key)
	if f.err != nil {
		return f.err
	}
	if hasURL {
		a, err := parseAddress(raw)
		switch {
		case err != nil:
			return invalid(err.Error())
		case a.username != "" && hasUser && username != a.username:
			return invalid("connection_url and username name different users")
		case !a.password.Empty() && hasPassword && !a.password.Equal(secret.New(password)):
			return invalid("connection_url and password give different passwords")
		}
		s.URL = a.text
		if a.username != "" {
			username, hasUser = a.username, true
		}
		if !a.password.Empty() {
			password, hasPassword = a.password.Reveal(), true
		}
	}
	if hasUser {
		s.Username = username
	}
	var err error
	if hasPassword {
		if s.Current, err = s.seal(e.sealer, fieldPassword, secret.New(password)); err != nil {
			return err
		}
		// A pending password stays: a rotation that is under way may still give
		// it to the target, and it is tried only where the current one fails.
	}
	if hasKey {
		s.ClientPEM, err = s.seal(e.sealer, fieldPrivateKey, secret.New(key))
	}
	return err
}

// outside reports whether d is given, and not from least to most.
func outside(d, least, most time.Duration) bool { return d != 0 && (d < least || d > most) }

// check refuses what cannot work on any server.
func (c *connection) check() error {
	plan := postgres.Plan{Authentication: c.Authentication, Iterations: c.Iterations, OwnedObjects: c.OwnedObjects}
	switch {
	case c.URL == "":
		return invalid("connection_url is missing")
	case c.Username == "":
		return invalid("username is missing: give it as a field or in connection_url")
	case c.Margin < 0 || c.Margin > 24*time.Hour:
		return invalid("margin is out of range: at most 24h")
	case outside(c.StatementTimeout, time.Second, time.Hour):
		return invalid("statement_timeout is out of range: 1s to 1h")
	case outside(c.LockTimeout, 100*time.Millisecond, time.Minute):
		return invalid("lock_timeout is out of range: 100ms to 1m")
	}
	if err := plan.Check(); err != nil {
		return invalid(err.Error())
	}
	if _, err := c.template(); err != nil {
		return err
	}
	switch d, err := parseDuration(c.MaxLifetime); {
	case err != nil:
		return invalid("invalid max_connection_lifetime: " + err.Error())
	case d < 0:
		return invalid("invalid max_connection_lifetime: a duration cannot be negative")
	}
	return nil
}

func (e *Engine) readConnection(ctx context.Context, r *engine.Request, name string) (*engine.Response, error) {
	s, err := e.connectionByName(ctx, r.MountID, name)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, nothing()
	}
	return &engine.Response{Data: map[string]any{
		"plugin_name":                        plugin,
		"plugin_version":                     "",
		"allowed_roles":                      texts(s.AllowedRoles),
		"connection_details":                 s.details(),
		"password_policy":                    s.Policy,
		"root_credentials_rotate_statements": []string{},
	}}, nil
}

// deleteConnection hides the connection at once; what its leases need stays
// until the last of them has ended (A2).
func (e *Engine) deleteConnection(ctx context.Context, r *engine.Request, name string) (*engine.Response, error) {
	s, err := e.connectionByName(ctx, r.MountID, name)
	if err != nil || s == nil {
		return nil, err
	}
	stopped, err := e.stopped(ctx, s)
	if err != nil {
		return nil, err
	}
	w := store.Write{Withdrawals: []store.Ref{{Kind: store.KindConnection, ID: s.entry.ID}}}
	w.Events = append(w.Events, changed(r.Actor, r.Mount, r.Path, r.Operation, "", nil))
	if _, err := e.store.Write(ctx, w); err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, storeError("delete connection", err)
	}
	// The janitor would do it too; a failure here is none of the client's.
	if _, err := e.forget(ctx, s.entry.ID); err != nil {
		e.kept(err, s.entry.ID)
	}
	return warned(stopped), nil
}

// fingerprint tells settings apart: two connections with the same one are
// served by the same target.
func (c *connection) fingerprint() (string, error) {
	d := *c
	d.AllowedRoles, d.Current, d.Pending = nil, nil, nil // passwords are read at each login
	d.Mount, d.Verify, d.Template, d.Policy = "", false, "", ""
	d.Marked, d.KeptUntil = false, time.Time{}
	b, err := json.Marshal(d)
	if err != nil {
		return "", fmt.Errorf("encode connection: %w", err)
	}
	return string(b), nil
}
