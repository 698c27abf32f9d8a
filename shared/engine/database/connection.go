package database

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

// plugin is the only kind of database there is.
const plugin = "postgresql-database-plugin"

// connection is the value of an entry of [store.KindConnection]. Secrets in it
// are sealed, each for its own place.
type connection struct {
	Name  string `json:"name"`
	Mount string `json:"mount"` // path, as of the last write
	// MountID with Name is the entry's key.
	MountID string `json:"mount_id"`

	URL            string   `json:"connection_url"` // without credentials
	Username       string   `json:"username"`
	AllowedRoles   []string `json:"allowed_roles,omitempty"`
	Template       string   `json:"username_template,omitempty"`
	Policy         string   `json:"password_policy,omitempty"` // name
	Verify         bool     `json:"verify_connection"`
	TLSCA          string   `json:"tls_ca,omitempty"`
	TLSCertificate string   `json:"tls_certificate,omitempty"`

	Authentication postgres.PasswordAuthentication `json:"password_authentication,omitempty"`
	Iterations     int                             `json:"scram_iterations,omitempty"`
	OwnedObjects   postgres.OwnedObjects           `json:"owned_objects,omitempty"`
	ReassignTo     string                          `json:"reassign_owned_to,omitempty"`
	Databases      []string                        `json:"databases,omitempty"`
	Replicas       []string                        `json:"replicas,omitempty"`
	Margin         time.Duration                   `json:"margin,omitempty"`

	StatementTimeout time.Duration `json:"statement_timeout,omitempty"` // 0: postgres.DefaultCall
	LockTimeout      time.Duration `json:"lock_timeout,omitempty"`      // 0: postgres.DefaultLock

	MaxOpen     int    `json:"max_open_connections,omitempty"`
	MaxIdle     int    `json:"max_idle_connections,omitempty"`
	MaxLifetime string `json:"max_connection_lifetime,omitempty"`

	// Resets counts the requests for new sessions: every process opens new ones
	// for a number that it does not know yet.
	Resets int64 `json:"resets,omitempty"`

	// Identity is the system that the last verification, or the first use,
	// found behind URL (C6).
	Identity postgres.Identity `json:"identity,omitzero"`

	// Marked: the target may bear the connection's mark (B3). KeptUntil is how
	// long the deleted connection waits for it to be taken away; zero: not yet.
	Marked    bool      `json:"marked,omitempty"`
	KeptUntil time.Time `json:"kept_until,omitzero"`

	// ID is the incarnation of the entry; it is part of what secrets are bound
	// to, so that a ciphertext of one connection is none of another's.
	ID string `json:"id"`

	// Sealed.
	Current   []byte `json:"sealed_current,omitempty"`    // password
	Pending   []byte `json:"sealed_pending,omitempty"`    // password of a rotation under way (B11)
	ClientPEM []byte `json:"sealed_client_pem,omitempty"` // private key
}

// The names of the sealed fields, part of what binds a ciphertext to its place.
const (
	fieldPassword   = "password"
	fieldPrivateKey = "private_key"
)

func connectionKey(mountID, name string) string { return mountID + "/" + name }

// seal and open bind a secret to the connection and the field. Current and
// pending password share a field: the one becomes the other as it is.
func (c *connection) seal(s Sealer, field string, v secret.Value) ([]byte, error) {
	if v.Empty() {
		return nil, nil
	}
	b, err := s.Seal([]byte(v.Reveal()), c.context(field))
	if err != nil {
		return nil, &engine.Error{Kind: engine.Internal, Message: "the credential could not be sealed", Err: err}
	}
	return b, nil
}

func (c *connection) open(s Sealer, field string, sealed []byte) (secret.Value, error) {
	if len(sealed) == 0 {
		return secret.Value{}, nil
	}
	b, err := s.Open(sealed, c.context(field))
	if err != nil {
		return secret.Value{}, &engine.Error{
			Kind: engine.Internal, Message: "the credential of connection " + c.Name + " could not be unsealed", Err: err,
		}
	}
	return secret.New(string(b)), nil
}

func (c *connection) context(field string) string {
	return "database connection " + c.ID + " " + field
}

// allows reports whether a role may use the connection: by its exact name or a
// pattern in which each * stands for any text, none at all too. An empty list
// allows nobody.
func (c *connection) allows(role string) bool {
	return slices.ContainsFunc(c.AllowedRoles, func(pattern string) bool { return matches(pattern, role) })
}

func matches(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	first, rest := parts[0], parts[1:]
	if len(rest) == 0 {
		return name == first
	}
	name, ok := strings.CutPrefix(name, first)
	if !ok {
		return false
	}
	last := len(rest) - 1
	for _, part := range rest[:last] { // the leftmost place leaves most to those that follow
		if _, name, ok = strings.Cut(name, part); !ok {
			return false
		}
	}
	return strings.HasSuffix(name, rest[last])
}

// settings is what the target needs to know.
func (c *connection) settings(program string, key secret.Value) postgres.Settings {
	return postgres.Settings{
		URL: c.URL, Username: c.Username,
		TLS:     postgres.TLS{CA: c.TLSCA, Certificate: c.TLSCertificate, Key: key},
		Program: program, Replicas: c.Replicas, Identity: c.Identity,
		MaxOpen: c.MaxOpen, MaxIdle: c.MaxIdle, MaxLifetime: c.lifetime(),
		OwnedObjects: c.OwnedObjects, ReassignTo: c.ReassignTo,
		Limits: postgres.Limits{Margin: c.Margin, Call: c.StatementTimeout, Lock: c.LockTimeout},
	}
}

// lifetime is MaxLifetime as it was checked when it was written; what cannot be
// read is no bound.
func (c *connection) lifetime() time.Duration {
	d, err := parseDuration(c.MaxLifetime)
	if err != nil {
		return 0
	}
	return max(d, 0)
}

// details is what a read shows: everything but secrets, and of the optional
// settings those that were set.
func (c *connection) details() map[string]any {
	d := map[string]any{"connection_url": c.URL, "username": c.Username}
	for name, v := range map[string]string{
		"tls_ca": c.TLSCA, "tls_certificate": c.TLSCertificate,
		"password_authentication": string(c.Authentication), "owned_objects": string(c.OwnedObjects),
		"reassign_owned_to": c.ReassignTo, "max_connection_lifetime": c.MaxLifetime, "username_template": c.Template,
	} {
		if v != "" {
			d[name] = v
		}
	}
	for name, v := range map[string]int{
		"scram_iterations": c.Iterations, "max_open_connections": c.MaxOpen, "max_idle_connections": c.MaxIdle,
		"margin": int(c.Margin / time.Second),
	} {
		if v != 0 {
			d[name] = v
		}
	}
	for name, v := range map[string]time.Duration{"statement_timeout": c.StatementTimeout, "lock_timeout": c.LockTimeout} {
		if v != 0 {
			d[name] = v.String()
		}
	}
	if len(c.Databases) > 0 {
		d["databases"] = c.Databases
	}
	if len(c.Replicas) > 0 {
		d["replicas"] = c.Replicas
	}
	return d
}

// stored is a connection with the entry that holds it.
type stored struct {
	connection
	entry store.Entry
}

func decodeConnection(e store.Entry) (*stored, error) {
	s := &stored{entry: e}
	if err := json.Unmarshal(e.Value, &s.connection); err != nil {
		return nil, &engine.Error{Kind: engine.Internal, Message: "a stored connection cannot be read", Err: err}
	}
	return s, nil
}

// connectionByName returns a connection that is not deleted, or nil.
func (e *Engine) connectionByName(ctx context.Context, mountID, name string) (*stored, error) {
	entry, err := e.store.Entry(ctx, store.KindConnection, connectionKey(mountID, name))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, storeError("read connection", err)
	}
	return decodeConnection(entry)
}

// connectionByID returns an incarnation, deleted or not.
func (e *Engine) connectionByID(ctx context.Context, id string) (*stored, error) {
	entry, err := e.store.EntryByID(ctx, store.KindConnection, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, &engine.Error{Kind: engine.NotFound, Message: fmt.Sprintf("the connection with id %q does not exist", id)}
	}
	if err != nil {
		return nil, storeError("read connection", err)
	}
	return decodeConnection(entry)
}

// mustConnection is connectionByName for requests that name one.
func (e *Engine) mustConnection(ctx context.Context, mountID, name string) (*stored, error) {
	c, err := e.connectionByName(ctx, mountID, name)
	if c == nil && err == nil {
		err = invalid(multi(fmt.Sprintf("failed to find entry for connection with name: %q", name)))
	}
	return c, err
}

// put writes the connection back if nobody did since it was read, with the
// event of the change.
func (e *Engine) put(ctx context.Context, s *stored, ev event.Event) error {
	value, err := json.Marshal(&s.connection)
	if err != nil {
		return fmt.Errorf("encode connection: %w", err)
	}
	// Whoever waits for this connection to be mended is told by the event (C8).
	ev.Data.Target = s.ID
	entry := s.entry
	entry.Kind, entry.Key, entry.ID, entry.Value = store.KindConnection, connectionKey(s.MountID, s.Name), s.ID, value
	out, err := e.store.Write(ctx, store.Write{Puts: []store.Entry{entry}, Events: []event.Event{ev}})
	if err != nil {
		return err
	}
	s.entry = out[0]
	return nil
}

// edit changes a connection by its id, deleted or not, as often as another
// change comes between. change reports whether there is anything to write.
func (e *Engine) edit(ctx context.Context, id string, by lease.Actor, reason string, change func(*stored) (bool, error)) error {
	for n := 0; ; n++ {
		s, err := e.connectionByID(ctx, id)
		if err != nil {
			return err
		}
		needed, err := change(s)
		if err != nil || !needed {
			return err
		}
		err = e.put(ctx, s, changed(by, s.Mount, "config/"+s.Name, engine.Write, reason, nil))
		if errors.Is(err, store.ErrRevision) && n < tries {
			continue
		}
		if err != nil {
			return storeError("store connection", err)
		}
		return nil
	}
}

// authentication is the connection's way of giving passwords to the server.
func (c *connection) authentication() postgres.PasswordAuthentication {
	return cmp.Or(c.Authentication, postgres.SCRAM)
}
