package tokens

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer/internal/address"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/tokencache"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	// Mount is the path of the token store.
	Mount = "auth/token/"
	// createPath issues tokens that expire, rootPath those that never do.
	createPath = "auth/token/create"
	rootPath   = "sys/token/root"
	// Hidden begins the ids of tokens without expiry: no listing shows it.
	Hidden = "sys/"

	// The lengths are in base62. Texts are as long as those of stock servers,
	// which scanners for leaked secrets know; the length says where to look.
	prefix      = "hvs."
	textLen     = 92
	loginLen    = 96
	accessorLen = 24
	keyLen      = 24

	rootPolicy    = "root"
	defaultPolicy = "default"
)

// Store is what tokens need of the store.
type Store interface {
	Apply(ctx context.Context, items ...store.Transition) []store.Outcome
	Get(ctx context.Context, id lease.ID) (lease.Lease, error)
	Find(ctx context.Context, q store.Query) ([]lease.Lease, error)
	Now(ctx context.Context) (time.Time, error)
	EntryByID(ctx context.Context, kind store.Kind, id string) (store.Entry, error)
}

// Registry is all tokens of the installation.
type Registry struct {
	store  Store
	keys   Keys
	log    zerolog.Logger
	system lease.TTLs
	cache  *Cache

	mu      sync.Mutex
	derived []*hasher // once derived; that of the current key first
}

// Cache keeps who bears tokens (D7).
type Cache = tokencache.Cache[*Known]

// Known is what was read of a token. It is shared and never changed.
type Known struct {
	lease lease.Lease
	attributes
}

// New returns the registry; system bounds the life of tokens. The store has to
// have the cache forget each token that it changes.
func New(s Store, k Keys, c *Cache, log zerolog.Logger, system lease.TTLs) *Registry {
	return &Registry{store: s, keys: k, cache: c, log: log, system: system}
}

// attributes are what a token is beyond its lease. They are its lease's plan.
type attributes struct {
	Path           string            `json:"path"` // shown by look-ups
	Policies       []string          `json:"policies"`
	DisplayName    string            `json:"display_name"`
	Meta           map[string]string `json:"meta,omitempty"`
	Period         time.Duration     `json:"period,omitempty"`
	ExplicitMaxTTL time.Duration     `json:"explicit_max_ttl,omitempty"`
	Orphan         bool              `json:"orphan,omitempty"`
	BoundCIDRs     []string          `json:"bound_cidrs,omitempty"`
}

func attributesOf(l *lease.Lease) (attributes, error) {
	var a attributes
	if err := json.Unmarshal(l.Plan, &a); err != nil {
		return a, fmt.Errorf("decode token %s: %w", l.Account, err)
	}
	return a, nil
}

// errUnknown says that there is no valid token.
var errUnknown = errors.New("no valid token")

// Authenticate finds who bears text. A missing or invalid token is 403, and so
// is one that is not valid at the address. A token of limited uses is used once
// by it, whatever becomes of the request.
func (g *Registry) Authenticate(ctx context.Context, text secret.Value, from, requestID string) (request.Caller, lease.Actor, error) {
	actor := lease.Actor{Name: "unauthenticated", Address: from, RequestID: requestID}
	k, cached, err := g.bearer(ctx, text)
	if errors.Is(err, errUnknown) {
		return request.Caller{}, actor, wire.Denied()
	}
	if err != nil {
		return request.Caller{}, actor, fmt.Errorf("authenticate: %w", err)
	}
	actor.Name, actor.DisplayName = k.lease.Account, k.DisplayName
	if len(k.BoundCIDRs) > 0 && !address.Within(from, k.BoundCIDRs) {
		return request.Caller{}, actor, wire.Denied()
	}
	caller := request.Caller{Lease: k.lease, Text: text, Policies: k.Policies, Cached: cached}
	if k.lease.Uses > 0 {
		if caller.Lease, err = g.use(ctx, k.lease.ID, actor); err != nil {
			return request.Caller{}, actor, err
		}
	}
	return caller, actor, nil
}

// bearer finds the valid token with that text, or errUnknown; cached says that
// it was so a moment ago (D7).
func (g *Registry) bearer(ctx context.Context, text secret.Value) (k *Known, cached bool, err error) {
	if text.Empty() {
		return nil, false, errUnknown
	}
	marks, err := g.marks(text)
	if err != nil {
		return nil, false, err
	}
	tickets := make([]tokencache.Ticket, len(marks))
	for i, m := range marks {
		if k, tickets[i], cached = g.cache.Get(m.key); cached {
			return k, true, nil
		}
	}
	l, i, err := g.among(ctx, marks, isLogin(text))
	if err != nil {
		return nil, false, err
	}
	k = &Known{lease: l}
	if k.attributes, err = attributesOf(&l); err != nil {
		return nil, false, err
	}
	if l.Uses == 0 {
		g.cache.Keep(tickets[i], k, l.ExpiresAt)
	}
	return k, false, nil
}

// use takes one use of a token. Whoever is not told that it was taken is not
// served: a use may be lost, and is never served twice.
func (g *Registry) use(ctx context.Context, id lease.ID, by lease.Actor) (lease.Lease, error) {
	outs := g.store.Apply(ctx, store.Transition{Change: lease.Change{
		ID: id, Version: lease.AnyVersion, Key: lease.RandomBase62(keyLen), By: by, Do: lease.Use{},
	}})
	if len(outs) != 1 {
		return lease.Lease{}, fmt.Errorf("use token: %d outcomes for one transition", len(outs))
	}
	err := outs[0].Err
	if errors.Is(err, lease.ErrOver) || errors.Is(err, store.ErrNotFound) {
		return lease.Lease{}, wire.Denied()
	}
	if err != nil {
		return lease.Lease{}, fmt.Errorf("use token: %w", err)
	}
	return outs[0].Lease, nil
}

// find returns the valid token with that text, or errUnknown.
func (g *Registry) find(ctx context.Context, text secret.Value) (lease.Lease, error) {
	if text.Empty() {
		return lease.Lease{}, errUnknown
	}
	marks, err := g.marks(text)
	if err != nil {
		return lease.Lease{}, err
	}
	l, _, err := g.among(ctx, marks, isLogin(text))
	return l, err
}

// isLogin reports whether a text is as long as those of logins.
func isLogin(text secret.Value) bool { return len(text.Reveal()) == len(prefix)+loginLen }

// among returns the valid token that has one of the marks, and which, or
// errUnknown.
func (g *Registry) among(ctx context.Context, marks []mark, login bool) (lease.Lease, int, error) {
	for i, m := range marks {
		l, err := g.marked(ctx, m, login)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return lease.Lease{}, i, fmt.Errorf("look up token: %w", err)
		}
		return l, i, g.valid(ctx, &l)
	}
	return lease.Lease{}, 0, errUnknown
}

// marked returns the lease of a token in any state, or store.ErrNotFound. That
// of a login has a path that its text does not tell: its accessor leads to it.
func (g *Registry) marked(ctx context.Context, m mark, login bool) (lease.Lease, error) {
	if login {
		found, err := g.store.Find(ctx, store.Query{Account: m.accessor(), Kind: lease.Token, Limit: 1})
		if err != nil {
			return lease.Lease{}, err
		}
		if len(found) == 1 && found[0].ID == m.id(found[0].ID.Path()) {
			return found[0], nil
		}
	}
	for _, path := range []string{createPath, rootPath} {
		l, err := g.store.Get(ctx, m.id(path))
		if !errors.Is(err, store.ErrNotFound) {
			return l, err
		}
	}
	return lease.Lease{}, store.ErrNotFound
}

func (g *Registry) valid(ctx context.Context, l *lease.Lease) error {
	if l.Kind != lease.Token || l.State != lease.Active {
		return errUnknown
	}
	if l.ExpiresAt.IsZero() {
		return nil
	}
	now, err := g.store.Now(ctx)
	if err != nil {
		return fmt.Errorf("look up token: %w", err)
	}
	if !l.Usable(now) {
		return errUnknown
	}
	return nil
}

// byAccessor returns the valid token with that accessor, or errUnknown.
func (g *Registry) byAccessor(ctx context.Context, accessor string) (lease.Lease, error) {
	if accessor == "" {
		return lease.Lease{}, errUnknown
	}
	found, err := g.store.Find(ctx, store.Query{
		Account: accessor, Kind: lease.Token, States: []lease.State{lease.Active}, Limit: 1,
	})
	if err != nil {
		return lease.Lease{}, fmt.Errorf("look up accessor: %w", err)
	}
	if len(found) == 0 {
		return lease.Lease{}, errUnknown
	}
	return found[0], g.valid(ctx, &found[0])
}
