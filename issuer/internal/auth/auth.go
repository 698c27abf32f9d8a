package auth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer/internal/mount"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/tokens"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Root begins the path of every auth mount.
const Root = "auth/"

// Method is one way to log in. A path is what follows the mount's; it has no
// slash at its ends. Every method may be called from any goroutine.
type Method interface {
	// Type is what clients name when they enable it.
	Type() string
	// IsLogin reports whether a write to path is a login: it needs no token.
	IsLogin(path string) bool
	// Login checks who asks and says which token they get. It makes none, but
	// what it takes for it (a use of a secret) is gone also if making it fails.
	// Its guards are what the method itself read; [Table.Login] adds the mount.
	Login(ctx context.Context, m Mount, r *request.Request) (tokens.Login, error)
	// Exists says whether what a write to path names is there already; known is
	// false where that makes no difference to the permission it takes.
	Exists(ctx context.Context, m Mount, path string) (exists, known bool, err error)
	// Handle serves every other path.
	Handle(ctx context.Context, m Mount, r *request.Request, path string) (*wire.Answer, error)
	// Tidy removes what nobody can use any more.
	Tidy(ctx context.Context, m Mount) error
	// Disabled removes all that the method keeps for a mount that was
	// withdrawn. It may be called again.
	Disabled(ctx context.Context, m Mount) error
}

// Config of a [Table]; all of it is needed.
type Config struct {
	System  lease.TTLs // the farthest level of limits
	Version string     // of the program, shown as that of its methods
}

// Table is all auth mounts.
type Table struct {
	shelf   mount.Shelf
	revoker mount.Revoker
	methods map[string]Method
	log     zerolog.Logger
	cfg     Config
}

// New returns the table; methods are what can be enabled.
func New(s mount.Store, r mount.Revoker, methods []Method, log zerolog.Logger, cfg Config) *Table {
	shelf := mount.Shelf{Store: s, Kind: store.KindAuth, Table: "auth-table", Noun: "auth mount"}
	t := &Table{shelf: shelf, revoker: r, methods: map[string]Method{}, log: log, cfg: cfg}
	for _, m := range methods {
		t.methods[m.Type()] = m
	}
	return t
}

// Mount is one auth mount.
type Mount struct {
	Path     string // from auth/ on, with trailing slash
	ID       string // incarnation
	Revision int64
	Settings
}

// Settings are what the store keeps of an auth mount.
type Settings struct {
	mount.Settings
	TokenType  string        `json:"token_type,omitempty"`
	Visibility string        `json:"listing_visibility,omitempty"`
	Lockout    LockoutConfig `json:"lockout,omitzero"` // what differs from the server's
}

// Ref names the incarnation for a guard.
func (m *Mount) Ref() store.Ref { return store.Ref{Kind: store.KindAuth, ID: m.ID} }

// Key is the mount's path below auth/, as listings show it.
func (m *Mount) Key() string { return strings.TrimPrefix(m.Path, Root) }

// DisplayName is the path as it becomes part of names.
func (m *Mount) DisplayName() string {
	return strings.ReplaceAll(strings.TrimSuffix(m.Key(), "/"), "/", "-")
}

func decode(e store.Entry) (Mount, error) {
	m := Mount{Path: Root + e.Key, ID: e.ID, Revision: e.Revision}
	if err := json.Unmarshal(e.Value, &m.Settings); err != nil {
		return m, fmt.Errorf("decode auth mount %s: %w", e.Key, err)
	}
	return m, nil
}

// Resolve finds the mount that serves path, which begins with auth/, and what
// remains of path below it. token/ is not served from here.
func (t *Table) Resolve(ctx context.Context, path string) (Mount, string, error) {
	e, rest, err := t.shelf.Find(ctx, strings.TrimPrefix(path, Root), func(key string) bool { return key == tokenKey })
	if errors.Is(err, store.ErrNotFound) {
		return Mount{}, "", wire.NoRoute(path)
	}
	if err != nil {
		return Mount{}, "", err
	}
	m, err := decode(e)
	return m, rest, err
}

// IsLogin reports whether a write to path needs no token. It reads the store
// for every path below auth/ that is not of token/.
func (t *Table) IsLogin(ctx context.Context, path string) (bool, error) {
	if !strings.HasPrefix(path, Root) || strings.HasPrefix(path, tokens.Mount) {
		return false, nil
	}
	m, rest, err := t.Resolve(ctx, path)
	if w, ok := errors.AsType[*wire.Error](err); ok && w.Status == http.StatusNotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	method, ok := t.methods[m.Type]
	return ok && method.IsLogin(rest), nil
}

// Login checks a login to r.Path and says which token it earns. The token's
// beginning is guarded by the mount.
func (t *Table) Login(ctx context.Context, r *request.Request) (tokens.Login, error) {
	m, rest, method, err := t.method(ctx, r)
	if err != nil {
		return tokens.Login{}, err
	}
	if !method.IsLogin(rest) {
		return tokens.Login{}, wire.UnsupportedPath()
	}
	l, err := method.Login(ctx, m, r)
	if err != nil {
		return tokens.Login{}, err
	}
	l.Guard = append([]store.Ref{m.Ref()}, l.Guard...)
	return l, nil
}

// Exists implements the access desk's Existing below auth/.
func (t *Table) Exists(ctx context.Context, path string) (exists, known bool, err error) {
	if strings.HasPrefix(path, tokens.Mount) {
		return false, false, nil
	}
	m, rest, err := t.Resolve(ctx, path)
	if w, ok := errors.AsType[*wire.Error](err); ok && w.Status == http.StatusNotFound {
		return false, false, nil // who may write there is told that nothing is
	}
	if err != nil {
		return false, false, err
	}
	method, ok := t.methods[m.Type]
	if !ok {
		return false, false, nil
	}
	return method.Exists(ctx, m, rest)
}

// Handle serves every path of auth/ that is neither a login nor of token/.
func (t *Table) Handle(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	m, rest, method, err := t.method(ctx, r)
	if err != nil {
		return nil, err
	}
	return method.Handle(ctx, m, r, rest)
}

// method finds who serves r, and notes the mount for its record.
func (t *Table) method(ctx context.Context, r *request.Request) (Mount, string, Method, error) {
	m, rest, err := t.Resolve(ctx, r.Path)
	if err != nil {
		return m, "", nil, err
	}
	r.Mount, r.MountType = m.Path, m.Type
	method, ok := t.methods[m.Type]
	if !ok {
		return m, "", nil, fmt.Errorf("auth mount %s has the unknown type %q", m.Path, m.Type)
	}
	return m, rest, method, nil
}

// All returns every auth mount but token/, ordered by path; those that are
// being disabled only where asked for, and then only those.
func (t *Table) All(ctx context.Context, disabling bool) ([]Mount, error) {
	return mount.All(ctx, &t.shelf, disabling, decode)
}

// tokenKey is the mount of the token store, which no entry stands for.
const tokenKey = "token/"

func tokenMount() *Mount {
	return &Mount{
		Path: Root + tokenKey, ID: "746f6b65-6e00-4000-8000-000000000000",
		Settings: Settings{Settings: mount.Settings{
			Type: "token", Accessor: "auth_token_746f6b65", Description: "token based credentials",
		}},
	}
}

// shape is the mount as look-ups show it.
func (t *Table) shape(m *Mount, config map[string]any) map[string]any {
	shape := m.Shape(m.ID, t.cfg.Version, config)
	if m.Type != "token" {
		shape["deprecation_status"] = "supported" // stock servers say so of methods that can be enabled
	}
	return shape
}

// configured shows what was set at the mount itself; 0: nothing.
func configured(m *Mount) map[string]any { return m.show(m.Configured()) }

// effective shows the limits that count for a role without any of its own.
func (t *Table) effective(m *Mount) map[string]any { return m.show(m.Effective(t.cfg.System)) }

// show adds what only auth mounts have.
func (s *Settings) show(config map[string]any) map[string]any {
	config["token_type"] = cmp.Or(s.TokenType, "default-service")
	if s.Visibility != "" {
		config["listing_visibility"] = s.Visibility
	}
	if s.Lockout != (LockoutConfig{}) {
		config["user_lockout_config"] = s.Lockout.shape()
	}
	return config
}
