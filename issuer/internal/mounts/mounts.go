package mounts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer/internal/mount"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Config of a [Table]; all of it is needed.
type Config struct {
	System  lease.TTLs      // the farthest level of limits
	Types   map[string]bool // engines that can be mounted
	Version string          // of the program, shown as that of its engines
}

// Store is what a [Table] needs of the store.
type Store interface {
	mount.Store
	Now(ctx context.Context) (time.Time, error)
}

// Revoker begins the revocation of what a mount issued, and keeps how far it has
// come.
type Revoker interface {
	mount.Revoker
	// Listed marks an operation: all its leases, so many, are in revoking.
	Listed(ctx context.Context, operation string, total int) error
}

// Table is all mounts.
type Table struct {
	store   Store
	shelf   mount.Shelf
	revoker Revoker
	log     zerolog.Logger
	cfg     Config
}

// New returns the table.
func New(s Store, r Revoker, log zerolog.Logger, cfg Config) *Table {
	return &Table{store: s, shelf: mount.Shelf{Store: s, Kind: store.KindMount, Table: "mount-table", Noun: "mount"}, revoker: r, log: log, cfg: cfg}
}

// Mount is one mount.
type Mount struct {
	Path     string // with trailing slash
	ID       string // incarnation
	Revision int64
	mount.Settings
}

// Ref names the incarnation for a guard.
func (m *Mount) Ref() store.Ref { return store.Ref{Kind: store.KindMount, ID: m.ID} }

func decode(e store.Entry) (Mount, error) {
	m := Mount{Path: e.Key, ID: e.ID, Revision: e.Revision}
	if err := json.Unmarshal(e.Value, &m.Settings); err != nil {
		return m, fmt.Errorf("decode mount %s: %w", e.Key, err)
	}
	return m, nil
}

// Resolve finds the mount that serves path, and what remains of path below it.
func (t *Table) Resolve(ctx context.Context, path string) (Mount, string, error) {
	e, rest, err := t.shelf.Find(ctx, path, reserved)
	if errors.Is(err, store.ErrNotFound) {
		return Mount{}, "", wire.NoRoute(path)
	}
	if err != nil {
		return Mount{}, "", err
	}
	m, err := decode(e)
	return m, rest, err
}

// Serves reports whether a mount serves path.
func (t *Table) Serves(ctx context.Context, path string) (bool, error) {
	_, _, err := t.Resolve(ctx, path+"/")
	if w, ok := errors.AsType[*wire.Error](err); ok && w.Status == http.StatusNotFound {
		return false, nil
	}
	return err == nil, err
}

// reserved are the first elements of paths that no engine can have.
func reserved(key string) bool {
	switch first, _, _ := strings.Cut(key, "/"); first {
	case "sys", "auth", "audit", "cubbyhole", "identity":
		return true
	}
	return false
}

// All returns every mount, ordered by path; those that are being disabled only
// where asked for, and then only those.
func (t *Table) All(ctx context.Context, disabling bool) ([]Mount, error) {
	return mount.All(ctx, &t.shelf, disabling, decode)
}

// shape is the mount as look-ups show it; the two times are in seconds.
func (t *Table) shape(m *Mount, config map[string]any) map[string]any {
	return m.Shape(m.ID, t.cfg.Version, config)
}

// system is the mount of the server's own paths, which no entry stands for.
func system() *Mount {
	return &Mount{
		Path: "sys/", ID: "73797300-0000-4000-8000-000000000000",
		Settings: mount.Settings{
			Type: "system", Accessor: "system_73797300", SealWrap: true,
			Description: "system endpoints used for control, policy and debugging",
		},
	}
}
