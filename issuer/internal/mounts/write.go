package mounts

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	// tableKey is the entry of KindSystem that every enabling edits.
	tableKey = "mount-table"
	// attempts at a write that lost against another one.
	attempts = 8
	// revokeWithin bounds how long a request to disable revokes leases by
	// itself; a sweep of the revoker goes on with the rest.
	revokeWithin = 20 * time.Second
)

// Enable serves POST sys/mounts/<path>.
func (t *Table) Enable(ctx context.Context, r *request.Request, path string) (*wire.Answer, error) {
	s, err := t.wanted(r.Fields())
	if err != nil {
		return nil, err
	}
	key := strings.Trim(path, "/") + "/"
	if strings.Count(key, "/") > maxDepth {
		return nil, wire.Invalid("path %q has more than %d elements", key, maxDepth)
	}
	value, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode mount: %w", err)
	}
	for range attempts {
		// The table is read before its mounts: whoever enables in between makes
		// this write lose.
		guard, err := t.table(ctx)
		if err != nil {
			return nil, err
		}
		if err := t.free(ctx, key); err != nil {
			return nil, err
		}
		_, err = t.store.Write(ctx, store.Write{
			Puts:   []store.Entry{guard, {Kind: store.KindMount, Key: key, Value: value}},
			Events: t.events(r, key),
		})
		if err == nil {
			return recorded(), nil
		}
		if !errors.Is(err, store.ErrRevision) && !errors.Is(err, store.ErrExists) {
			return nil, fmt.Errorf("enable mount: %w", err)
		}
	}
	return nil, wire.Unavailable(nil, "mounts are being changed by others: try again")
}

// table is the entry that orders enablings, ready to be put.
func (t *Table) table(ctx context.Context) (store.Entry, error) {
	e, err := t.store.Entry(ctx, store.KindSystem, tableKey)
	if errors.Is(err, store.ErrNotFound) {
		return store.Entry{Kind: store.KindSystem, Key: tableKey, Value: []byte("{}")}, nil
	}
	if err != nil {
		return e, fmt.Errorf("read the table of mounts: %w", err)
	}
	return e, nil
}

// free refuses a path inside, around or at another mount.
func (t *Table) free(ctx context.Context, key string) error {
	if reserved(key) {
		first, _, _ := strings.Cut(key, "/")
		return wire.Invalid("path is already in use at %s/", first)
	}
	all, err := t.All(ctx, false)
	if err != nil {
		return err
	}
	for _, m := range all {
		if strings.HasPrefix(m.Path, key) || strings.HasPrefix(key, m.Path) {
			return wire.Invalid("path is already in use at %s", m.Path)
		}
	}
	return nil
}

// wanted are the settings of a mount to be made.
func (t *Table) wanted(f wire.Fields) (s Settings, err error) {
	if s.Type, err = f.String("type"); err != nil {
		return s, err
	}
	if s.Type == "" {
		return s, wire.Invalid("backend type must be specified as a string")
	}
	if !t.cfg.Types[s.Type] {
		return s, wire.Invalid("plugin not found in the catalog: %s", s.Type)
	}
	if s.Description, err = f.String("description"); err != nil {
		return s, err
	}
	if s.Options, err = f.StringMap("options"); err != nil {
		return s, err
	}
	if s.Local, err = f.Bool("local", false); err != nil {
		return s, err
	}
	if s.SealWrap, err = f.Bool("seal_wrap", false); err != nil {
		return s, err
	}
	config, err := f.Object("config")
	if err != nil {
		return s, err
	}
	var id [4]byte
	rand.Read(id[:]) // never fails: it ends the process
	s.Accessor = s.Type + "_" + hex.EncodeToString(id[:])
	return s, s.limit(config)
}

// limit sets the limits that f names: "" leaves one as it is, "system" unsets it.
func (s *Settings) limit(f wire.Fields) error {
	for name, to := range map[string]*time.Duration{"default_lease_ttl": &s.DefaultTTL, "max_lease_ttl": &s.MaxTTL} {
		text, err := f.String(name)
		switch {
		case err != nil:
			return err
		case text == "":
		case text == "system":
			*to = 0
		default:
			if *to, err = f.Duration(name); err != nil {
				return err
			}
		}
	}
	if s.MaxTTL > 0 && s.DefaultTTL > s.MaxTTL {
		return wire.Invalid("lease TTL too large: default_lease_ttl %s is above max_lease_ttl %s",
			lease.Short(s.DefaultTTL), lease.Short(s.MaxTTL))
	}
	return nil
}

// Tune serves POST sys/mounts/<path>/tune. Live leases keep the limits that
// they began with (A2).
func (t *Table) Tune(ctx context.Context, r *request.Request, path string) (*wire.Answer, error) {
	if strings.Trim(path, "/")+"/" == system().Path {
		return nil, wire.Invalid("sys/ has no limits of its own: they are in the server's configuration")
	}
	for range attempts {
		m, err := t.at(ctx, path)
		if err != nil {
			return nil, err
		}
		if err := m.limit(r.Fields()); err != nil {
			return nil, err
		}
		if r.Fields().Has("description") {
			if m.Description, err = r.Fields().String("description"); err != nil {
				return nil, err
			}
		}
		value, err := json.Marshal(m.Settings)
		if err != nil {
			return nil, fmt.Errorf("encode mount: %w", err)
		}
		_, err = t.store.Write(ctx, store.Write{
			Puts:   []store.Entry{{Kind: store.KindMount, Key: m.Path, ID: m.ID, Revision: m.Revision, Value: value}},
			Events: t.events(r, m.Path),
		})
		if err == nil {
			return recorded(), nil
		}
		// Deleted and made anew in between, or edited: look again.
		if !errors.Is(err, store.ErrRevision) && !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("tune mount: %w", err)
		}
	}
	return nil, wire.Unavailable(nil, "the mount is being changed by others: try again")
}

// Disable serves DELETE sys/mounts/<path>. No mount there is as good as
// disabled.
func (t *Table) Disable(ctx context.Context, r *request.Request, path string) (*wire.Answer, error) {
	key := strings.Trim(path, "/") + "/"
	if reserved(key) {
		return nil, wire.Invalid("cannot unmount %q: it is the server's own", key)
	}
	e, err := t.store.Entry(ctx, store.KindMount, key)
	if errors.Is(err, store.ErrNotFound) {
		return wire.NoContent(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("disable mount: %w", err)
	}
	ref := store.Ref{Kind: store.KindMount, ID: e.ID}
	_, err = t.store.Write(ctx, store.Write{Withdrawals: []store.Ref{ref}, Events: t.events(r, key)})
	if errors.Is(err, store.ErrNotFound) {
		return wire.NoContent(), nil // another request was faster
	}
	if err != nil {
		return nil, fmt.Errorf("disable mount: %w", err)
	}
	t.revoke(ctx, e.ID, r)
	return recorded(), nil
}

// revoke begins to revoke what the mount issued. The withdrawal is committed:
// the listing that starts here sees every intent that began before it (A3).
func (t *Table) revoke(ctx context.Context, id string, r *request.Request) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeWithin)
	defer cancel()
	if _, err := t.revoker.RevokeAll(ctx, store.Query{MountID: id}, r.Actor, "mount was disabled"); err != nil {
		t.log.Warn().Err(err).Str("request_id", r.ID).Str("mount_id", id).Msg("leases of a disabled mount are left to the sweep")
	}
}

// events are what a change commits with itself: the change and the request.
func (t *Table) events(r *request.Request, key string) []event.Event {
	r.Mount = key
	return []event.Event{r.Changed("sys/mounts/" + key), r.Event(http.StatusNoContent)}
}

func recorded() *wire.Answer {
	answer := wire.NoContent()
	answer.Recorded = true
	return answer
}
