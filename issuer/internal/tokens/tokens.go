package tokens

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer/internal/request"
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

	prefix      = "hvs."
	textLen     = 24 // base62: 143 bits
	accessorLen = 24
	rootPolicy  = "root"

	// keyPurpose binds the hash's key to its use; a change of it orphans every token.
	keyPurpose = "curfew token hash v1"
)

// Store is what tokens need of the store.
type Store interface {
	Apply(ctx context.Context, items ...store.Transition) []store.Outcome
	Get(ctx context.Context, id lease.ID) (lease.Lease, error)
	Find(ctx context.Context, q store.Query) ([]lease.Lease, error)
	Now(ctx context.Context) (time.Time, error)
}

// Keys derives keys from the seal.
type Keys interface {
	// Derive returns the 32 byte key of a purpose, from the current master key.
	// It fails while the seal is closed.
	Derive(purpose string) ([]byte, error)
}

// EachKey is the optional ability of [Keys] to derive from former master keys
// too: without it a change of the master key ends every token.
type EachKey interface {
	// DeriveEach returns the key from each master key, the current one first.
	DeriveEach(purpose string) ([][]byte, error)
}

// Registry is all tokens of the installation.
type Registry struct {
	store  Store
	keys   Keys
	log    zerolog.Logger
	system lease.TTLs

	mu      sync.Mutex
	derived [][]byte // once derived; the current one first
}

// New returns the registry; system bounds the life of tokens.
func New(s Store, k Keys, log zerolog.Logger, system lease.TTLs) *Registry {
	return &Registry{store: s, keys: k, log: log, system: system}
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

// Authenticate finds who bears text. A missing or invalid token is 403.
func (g *Registry) Authenticate(ctx context.Context, text secret.Value, address, requestID string) (request.Caller, lease.Actor, error) {
	actor := lease.Actor{Name: "unauthenticated", Address: address, RequestID: requestID}
	l, err := g.find(ctx, text)
	if errors.Is(err, errUnknown) {
		return request.Caller{}, actor, wire.Denied()
	}
	if err != nil {
		return request.Caller{}, actor, fmt.Errorf("authenticate: %w", err)
	}
	a, err := attributesOf(&l)
	if err != nil {
		return request.Caller{}, actor, err
	}
	actor.Name, actor.DisplayName = l.Account, a.DisplayName
	return request.Caller{Lease: l, Text: text, Policies: a.Policies}, actor, nil
}

// find returns the valid token with that text, or errUnknown.
func (g *Registry) find(ctx context.Context, text secret.Value) (lease.Lease, error) {
	if text.Empty() {
		return lease.Lease{}, errUnknown
	}
	hashes, err := g.hashes(text)
	if err != nil {
		return lease.Lease{}, err
	}
	for _, hash := range hashes {
		for _, path := range []string{createPath, rootPath} {
			l, err := g.store.Get(ctx, id(path, hash))
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return lease.Lease{}, fmt.Errorf("look up token: %w", err)
			}
			return l, g.valid(ctx, &l)
		}
	}
	return lease.Lease{}, errUnknown
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

func id(path, hash string) lease.ID { return lease.ID(path + "/h" + hash) }

// hashes are the keyed hashes of a token, under the current key first.
// Comparing texts is left to the store's look-up of a hash: without the key
// nobody can choose what is compared.
func (g *Registry) hashes(text secret.Value) ([]string, error) {
	keys, err := g.hashKeys()
	if err != nil {
		return nil, fmt.Errorf("derive the key of token hashes: %w", err)
	}
	out := make([]string, len(keys))
	for i, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(text.Reveal()))
		out[i] = hex.EncodeToString(mac.Sum(nil))
	}
	return out, nil
}

// hashKeys derives the keys once: master keys change with a restart.
func (g *Registry) hashKeys() ([][]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.derived != nil {
		return g.derived, nil
	}
	if each, ok := g.keys.(EachKey); ok {
		keys, err := each.DeriveEach(keyPurpose)
		if err == nil && len(keys) == 0 {
			err = errors.New("there is no master key")
		}
		if err != nil {
			return nil, err
		}
		g.derived = keys
		return keys, nil
	}
	key, err := g.keys.Derive(keyPurpose)
	if err != nil {
		return nil, err
	}
	g.derived = [][]byte{key}
	return g.derived, nil
}
