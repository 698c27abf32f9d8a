package mounts

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Store is what mounts need of the store.
type Store interface {
	Entry(ctx context.Context, kind store.Kind, key string) (store.Entry, error)
	List(ctx context.Context, kind store.Kind, prefix, after string, withdrawn bool, limit int) ([]store.Entry, error)
	Write(ctx context.Context, w store.Write) ([]store.Entry, error)
}

// Revoker begins the revocation of every lease that a query selects.
type Revoker interface {
	RevokeAll(ctx context.Context, q store.Query, by lease.Actor, reason string) (int, error)
}

// Config of a [Table]; all of it is needed.
type Config struct {
	System  lease.TTLs      // the farthest level of limits
	Types   map[string]bool // engines that can be mounted
	Version string          // of the program, shown as that of its engines
}

// Table is all mounts.
type Table struct {
	store   Store
	revoker Revoker
	log     zerolog.Logger
	cfg     Config
}

// New returns the table.
func New(s Store, r Revoker, log zerolog.Logger, cfg Config) *Table {
	return &Table{store: s, revoker: r, log: log, cfg: cfg}
}

// Mount is one mount.
type Mount struct {
	Path     string // with trailing slash
	ID       string // incarnation
	Revision int64
	Settings
}

// Settings are what the store keeps of a mount.
type Settings struct {
	Type        string            `json:"type"`
	Accessor    string            `json:"accessor"`
	Description string            `json:"description,omitempty"`
	DefaultTTL  time.Duration     `json:"default_lease_ttl,omitempty"`
	MaxTTL      time.Duration     `json:"max_lease_ttl,omitempty"`
	Options     map[string]string `json:"options,omitempty"`
	Local       bool              `json:"local,omitempty"`
	SealWrap    bool              `json:"seal_wrap,omitempty"`
}

// TTLs is the mount's level of limits.
func (m *Mount) TTLs() lease.TTLs { return lease.TTLs{Default: m.DefaultTTL, Max: m.MaxTTL} }

// Ref names the incarnation for a guard.
func (m *Mount) Ref() store.Ref { return store.Ref{Kind: store.KindMount, ID: m.ID} }

func decode(e store.Entry) (Mount, error) {
	m := Mount{Path: e.Key, ID: e.ID, Revision: e.Revision}
	if err := json.Unmarshal(e.Value, &m.Settings); err != nil {
		return m, fmt.Errorf("decode mount %s: %w", e.Key, err)
	}
	return m, nil
}

// maxDepth bounds the elements of a mount's path, and with it the look-ups of
// a request.
const maxDepth = 8

// Resolve finds the mount that serves path, and what remains of path below it.
func (t *Table) Resolve(ctx context.Context, path string) (Mount, string, error) {
	key := ""
	for depth, rest := 0, path; depth < maxDepth; depth++ {
		element, after, inner := strings.Cut(rest, "/")
		key, rest = key+element+"/", after
		if element == "" || reserved(key) {
			break
		}
		e, err := t.store.Entry(ctx, store.KindMount, key)
		if err == nil {
			m, err := decode(e)
			return m, rest, err
		}
		if !errors.Is(err, store.ErrNotFound) {
			return Mount{}, "", fmt.Errorf("find mount: %w", err)
		}
		if !inner {
			break
		}
	}
	return Mount{}, "", wire.NoRoute(path)
}

// reserved are the first elements of paths that no engine can have.
func reserved(key string) bool {
	switch first, _, _ := strings.Cut(key, "/"); first {
	case "sys", "auth", "audit", "cubbyhole", "identity":
		return true
	}
	return false
}

// page is how many entries one call reads.
const page = 500

// All returns every mount, ordered by path; those that are being disabled only
// where asked for, and then only those.
func (t *Table) All(ctx context.Context, disabling bool) ([]Mount, error) {
	var all []Mount
	for after := ""; ; {
		entries, err := t.store.List(ctx, store.KindMount, "", after, disabling, page)
		if err != nil {
			return nil, fmt.Errorf("list mounts: %w", err)
		}
		for _, e := range entries {
			m, err := decode(e)
			if err != nil {
				return nil, err
			}
			all = append(all, m)
		}
		if len(entries) < page {
			return all, nil
		}
		after = entries[len(entries)-1].Key
	}
}

// shape is the mount as look-ups show it; the two times are in seconds.
func (t *Table) shape(m *Mount, config map[string]any) map[string]any {
	var options any
	if m.Options != nil {
		options = m.Options
	}
	return map[string]any{
		"accessor": m.Accessor, "config": config, "description": m.Description, "external_entropy_access": false,
		"local": m.Local, "options": options, "plugin_version": "",
		"running_plugin_version": "v" + cmp.Or(t.cfg.Version, "0.0.0") + "+builtin.curfew", "running_sha256": "",
		"seal_wrap": m.SealWrap, "type": m.Type, "uuid": m.ID,
	}
}

// configured shows the limits that were set at the mount itself; 0: none.
func configured(m *Mount) map[string]any {
	return map[string]any{
		"default_lease_ttl": wire.Seconds(m.DefaultTTL), "max_lease_ttl": wire.Seconds(m.MaxTTL), "force_no_cache": false,
	}
}

// effective shows the limits that count for a role without any of its own.
func (t *Table) effective(m *Mount) map[string]any {
	grant := lease.Limits{Mount: m.TTLs(), System: t.cfg.System}.Issue(0)
	return map[string]any{
		"default_lease_ttl": wire.Seconds(grant.TTL), "max_lease_ttl": wire.Seconds(grant.Max), "force_no_cache": false,
	}
}

// system is the mount of the server's own paths, which no entry stands for.
func system() *Mount {
	return &Mount{
		Path: "sys/", ID: "73797300-0000-4000-8000-000000000000",
		Settings: Settings{
			Type: "system", Accessor: "system_73797300", SealWrap: true,
			Description: "system endpoints used for control, policy and debugging",
		},
	}
}
