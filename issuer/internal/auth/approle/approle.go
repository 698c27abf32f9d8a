package approle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer/internal/auth"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/tokens"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	// KeepDead is how long a secret id that has ended is remembered.
	KeepDead = 24 * time.Hour
	// keyPurpose binds the hash's key to its use; a change of it orphans every
	// secret id.
	keyPurpose = "curfew approle secret id v1"
	// attempts at a write that lost against another one.
	attempts = 16
	// page is how many entries one call reads.
	page = 500
	// undoWithin bounds how long a secret id that nobody received is tried to
	// be taken back.
	undoWithin = 5 * time.Second
)

// Store is what the method needs of the store.
type Store interface {
	Entry(ctx context.Context, kind store.Kind, key string) (store.Entry, error)
	EntryByID(ctx context.Context, kind store.Kind, id string) (store.Entry, error)
	List(ctx context.Context, kind store.Kind, prefix, after string, withdrawn bool, limit int) ([]store.Entry, error)
	Write(ctx context.Context, w store.Write) ([]store.Entry, error)
	Now(ctx context.Context) (time.Time, error)
}

// Method is AppRole on all of its mounts.
type Method struct {
	store   Store
	keys    tokens.Keys
	lockout *auth.Lockout
	log     zerolog.Logger
	system  lease.TTLs
}

var _ auth.Method = (*Method)(nil)

// New returns the method; system is the farthest level of a token's limits.
func New(s Store, k tokens.Keys, l *auth.Lockout, log zerolog.Logger, system lease.TTLs) *Method {
	return &Method{store: s, keys: k, lockout: l, log: log, system: system}
}

// Type implements [auth.Method].
func (*Method) Type() string { return "approle" }

// IsLogin implements [auth.Method].
func (*Method) IsLogin(path string) bool { return path == "login" }

// handler serves one path of a role.
type handler func(ctx context.Context, c call) (*wire.Answer, error)

// call is a request for one role of a mount.
type call struct {
	*request.Request
	mount auth.Mount
	name  string // of the role, in lower case
}

// key is that of the role's entry.
func (c *call) key() string { return c.mount.ID + "/" + c.name }

// Exists implements [auth.Method]: only the write of a role is a creation or an
// update.
func (a *Method) Exists(ctx context.Context, m auth.Mount, path string) (exists, known bool, err error) {
	name, ok := strings.CutPrefix(strings.TrimSuffix(path, "/"), "role/")
	if !ok || !isName(name) || len(name) > maxName {
		return false, false, nil
	}
	_, err = a.byName(ctx, &call{mount: m, name: strings.ToLower(name)})
	if errors.Is(err, errNone) {
		return false, true, nil
	}
	return err == nil, err == nil, err
}

// Handle implements [auth.Method].
func (a *Method) Handle(ctx context.Context, m auth.Mount, r *request.Request, path string) (*wire.Answer, error) {
	c := call{Request: r, mount: m}
	switch path {
	case "login":
		return nil, wire.UnsupportedOperation()
	case "role":
		return dispatch(ctx, c, map[engine.Operation]handler{engine.List: a.listRoles})
	case "tidy/secret-id":
		return dispatch(ctx, c, map[engine.Operation]handler{engine.Write: a.tidy})
	}
	rest, ok := strings.CutPrefix(path, "role/")
	if !ok {
		return nil, wire.UnsupportedPath()
	}
	name, sub, _ := strings.Cut(rest, "/")
	if len(name) > maxName {
		return nil, wire.Invalid("role_name is longer than maximum of %d bytes", maxName)
	}
	if !isName(name) {
		return nil, wire.UnsupportedPath()
	}
	c.name = strings.ToLower(name)
	return dispatch(ctx, c, a.operations(sub))
}

func dispatch(ctx context.Context, c call, ops map[engine.Operation]handler) (*wire.Answer, error) {
	if ops == nil {
		return nil, wire.UnsupportedPath()
	}
	h, ok := ops[c.Operation]
	if !ok {
		return nil, wire.UnsupportedOperation()
	}
	return h(ctx, c)
}

// operations are those of a path below a role; nil: there is no such path.
func (a *Method) operations(sub string) map[engine.Operation]handler {
	const read, write, list, del = engine.Read, engine.Write, engine.List, engine.Delete
	switch sub {
	case "":
		return map[engine.Operation]handler{read: a.readRole, write: a.writeRole, del: a.deleteRole}
	case "secret-id":
		return map[engine.Operation]handler{write: a.generate, list: a.listSecretIDs}
	case "custom-secret-id":
		return map[engine.Operation]handler{write: a.custom}
	case "secret-id/lookup":
		return map[engine.Operation]handler{write: a.lookup}
	case "secret-id/destroy":
		return map[engine.Operation]handler{write: a.destroy, del: a.destroy}
	case "secret-id-accessor/lookup":
		return map[engine.Operation]handler{write: a.lookupAccessor}
	case "secret-id-accessor/destroy":
		return map[engine.Operation]handler{write: a.destroyAccessor, del: a.destroyAccessor}
	}
	for _, p := range parts() {
		if p.path == sub {
			return a.partOperations(p)
		}
	}
	return nil
}

// maxName bounds a role's name, which is part of keys.
const maxName = 256

// isName reports whether a path's element can name a role.
func isName(s string) bool {
	inner := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
	}
	for i, c := range s {
		edge := i == 0 || i == len(s)-1
		if !inner(c) && (edge || c != '-' && c != '.') {
			return false
		}
	}
	return s != ""
}

// Tidy implements [auth.Method].
func (a *Method) Tidy(ctx context.Context, m auth.Mount) error {
	now, err := a.store.Now(ctx)
	if err != nil {
		return fmt.Errorf("tidy secret ids: %w", err)
	}
	roles := map[string]bool{} // by incarnation: which are there
	var failed error
	err = auth.Clear(ctx, a.store, store.KindSecretID, m.ID+"/", func(e store.Entry) bool {
		there, err := a.roleExists(ctx, roles, e.Key)
		if err != nil {
			failed = err
			return false
		}
		return !there || ended(e, now)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("tidy secret ids: %w", err)
	}
	// Of deleted roles, whose secret ids are gone now.
	if err := auth.Clear(ctx, a.store, store.KindAppRole, m.ID+"/", func(e store.Entry) bool { return e.Withdrawn }); err != nil {
		return fmt.Errorf("tidy roles: %w", err)
	}
	return a.lockout.Tidy(ctx, m)
}

// Disabled implements [auth.Method]. Role ids go first: without them no login
// finds anything.
func (a *Method) Disabled(ctx context.Context, m auth.Mount) error {
	for _, kind := range []store.Kind{store.KindAppRoleID, store.KindAppRole, store.KindSecretID, store.KindLockout} {
		if err := auth.Clear(ctx, a.store, kind, m.ID+"/", func(store.Entry) bool { return true }); err != nil {
			return err
		}
	}
	return nil
}

// tidy serves tidy/secret-id.
func (a *Method) tidy(ctx context.Context, c call) (*wire.Answer, error) {
	if err := a.Tidy(ctx, c.mount); err != nil {
		return nil, err
	}
	return wire.NoContent(), nil
}
