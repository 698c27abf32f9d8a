package auth

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
	tableKey = "auth-table"
	// attempts at a write that lost against another one.
	attempts = 8
	// finishWithin bounds how long a request to disable revokes and clears by
	// itself; the sweep goes on with the rest.
	finishWithin = 20 * time.Second
	// withdrawn is the reason of the revocations that a disabling begins.
	withdrawn = "auth mount was disabled"
)

// Enable serves POST sys/auth/<path>.
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
		return nil, fmt.Errorf("encode auth mount: %w", err)
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
			Puts:   []store.Entry{guard, {Kind: store.KindAuth, Key: key, Value: value}},
			Events: events(r, key),
		})
		if err == nil {
			return recorded(), nil
		}
		if !errors.Is(err, store.ErrRevision) && !errors.Is(err, store.ErrExists) {
			return nil, fmt.Errorf("enable auth mount: %w", err)
		}
	}
	return nil, wire.Unavailable(nil, "auth mounts are being changed by others: try again")
}

// table is the entry that orders enablings, ready to be put.
func (t *Table) table(ctx context.Context) (store.Entry, error) {
	e, err := t.store.Entry(ctx, store.KindSystem, tableKey)
	if errors.Is(err, store.ErrNotFound) {
		return store.Entry{Kind: store.KindSystem, Key: tableKey, Value: []byte("{}")}, nil
	}
	if err != nil {
		return e, fmt.Errorf("read the table of auth mounts: %w", err)
	}
	return e, nil
}

// free refuses a path inside, around or at another mount.
func (t *Table) free(ctx context.Context, key string) error {
	all, err := t.All(ctx, false)
	if err != nil {
		return err
	}
	for _, m := range append(all, *tokenMount()) {
		if strings.HasPrefix(m.Key(), key) || strings.HasPrefix(key, m.Key()) {
			return wire.Invalid("path is already in use at %s", m.Key())
		}
	}
	return nil
}

// wanted are the settings of a mount to be made.
func (t *Table) wanted(f wire.Fields) (s Settings, err error) {
	if s.Type, err = f.String("type"); err != nil {
		return s, err
	}
	switch {
	case s.Type == "":
		return s, wire.Invalid("backend type must be specified as a string")
	case s.Type == "token":
		return s, wire.Invalid("token credential backend cannot be instantiated")
	case t.methods[s.Type] == nil:
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
	s.Accessor = "auth_" + s.Type + "_" + hex.EncodeToString(id[:])
	return s, s.tune(config)
}

// tune sets what f names: "" leaves a limit as it is, "system" unsets it.
func (s *Settings) tune(f wire.Fields) error {
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
	if err := s.choose(f); err != nil {
		return err
	}
	lockout, err := f.Object("user_lockout_config")
	if err != nil {
		return err
	}
	return s.Lockout.set(lockout)
}

// choose sets what is one of a few words.
func (s *Settings) choose(f wire.Fields) error {
	kind, err := f.String("token_type")
	if err != nil {
		return err
	}
	switch kind {
	case "":
	case "service", "default-service":
		s.TokenType = kind
	default:
		return wire.Invalid("token_type %q is not supported: use service", kind)
	}
	if !f.Has("listing_visibility") {
		return nil
	}
	visibility, err := f.String("listing_visibility")
	if err != nil {
		return err
	}
	switch visibility {
	case "", "hidden", "unauth":
		s.Visibility = visibility
		return nil
	}
	return wire.Invalid("invalid listing_visibility %q: use hidden or unauth", visibility)
}

// Tune serves POST sys/auth/<path>/tune. Tokens keep the limits that they
// began with (A2).
func (t *Table) Tune(ctx context.Context, r *request.Request, path string) (*wire.Answer, error) {
	if strings.Trim(path, "/")+"/" == tokenKey {
		return nil, wire.Invalid("token/ has no limits of its own: they are in the server's configuration")
	}
	for range attempts {
		m, err := t.at(ctx, path)
		if err != nil {
			return nil, err
		}
		if err := m.tune(r.Fields()); err != nil {
			return nil, err
		}
		if r.Fields().Has("description") {
			if m.Description, err = r.Fields().String("description"); err != nil {
				return nil, err
			}
		}
		value, err := json.Marshal(m.Settings)
		if err != nil {
			return nil, fmt.Errorf("encode auth mount: %w", err)
		}
		_, err = t.store.Write(ctx, store.Write{
			Puts:   []store.Entry{{Kind: store.KindAuth, Key: m.Key(), ID: m.ID, Revision: m.Revision, Value: value}},
			Events: events(r, m.Key()),
		})
		if err == nil {
			return recorded(), nil
		}
		// Disabled and made anew in between, or edited: look again. An edit
		// also changes an incarnation that was withdrawn meanwhile: that does
		// no harm.
		if !errors.Is(err, store.ErrRevision) {
			return nil, fmt.Errorf("tune auth mount: %w", err)
		}
	}
	return nil, wire.Unavailable(nil, "the auth mount is being changed by others: try again")
}

// Disable serves DELETE sys/auth/<path>. No mount there is as good as
// disabled.
func (t *Table) Disable(ctx context.Context, r *request.Request, path string) (*wire.Answer, error) {
	key := strings.Trim(path, "/") + "/"
	if key == tokenKey {
		return nil, wire.Invalid("token credential backend cannot be disabled")
	}
	e, err := t.store.Entry(ctx, store.KindAuth, key)
	if errors.Is(err, store.ErrNotFound) {
		return wire.NoContent(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("disable auth mount: %w", err)
	}
	m, err := decode(e)
	if err != nil {
		return nil, err
	}
	_, err = t.store.Write(ctx, store.Write{Withdrawals: []store.Ref{m.Ref()}, Events: events(r, key)})
	if errors.Is(err, store.ErrNotFound) {
		return wire.NoContent(), nil // another request was faster
	}
	if err != nil {
		return nil, fmt.Errorf("disable auth mount: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishWithin)
	defer cancel()
	if err := t.finish(ctx, m, r.Actor); err != nil {
		t.log.Warn().Err(err).Str("request_id", r.ID).Str("mount_id", m.ID).Msg("what a disabled auth mount had is left to the sweep")
	}
	return recorded(), nil
}

// finish revokes what the mount issued and removes what was kept for it. The
// withdrawal is committed: the listing that starts here sees every token that
// began before it, and no later one can begin (A3). The entry goes last, so
// that until then a sweep finds it.
func (t *Table) finish(ctx context.Context, m Mount, by lease.Actor) error {
	// By its id, not its path: that may have a new mount already.
	if _, err := t.revoker.RevokeAll(ctx, store.Query{MountID: m.ID, Kind: lease.Token}, by, withdrawn); err != nil {
		return fmt.Errorf("revoke tokens: %w", err)
	}
	if method, ok := t.methods[m.Type]; ok {
		if err := method.Disabled(ctx, m); err != nil {
			return fmt.Errorf("clear the method: %w", err)
		}
	}
	if _, err := t.store.Write(ctx, store.Write{Deletes: []store.Ref{m.Ref()}}); err != nil {
		return fmt.Errorf("delete auth mount: %w", err)
	}
	return nil
}

// Finish completes every disabling that was begun and not completed, as where a
// process ended in between (A3). It goes on after a failure and returns all.
func (t *Table) Finish(ctx context.Context) error {
	disabling, errs := t.All(ctx, true)
	for _, m := range disabling {
		if err := t.finish(ctx, m, lease.System(lease.ActorMount)); err != nil {
			errs = errors.Join(errs, fmt.Errorf("finish disabling %s: %w", m.Path, err))
		}
	}
	return errs
}

// Tidy has each method remove what nobody can use any more. It goes on after a
// failure and returns all.
func (t *Table) Tidy(ctx context.Context) error {
	live, errs := t.All(ctx, false)
	for _, m := range live {
		if method, ok := t.methods[m.Type]; ok {
			if err := method.Tidy(ctx, m); err != nil {
				errs = errors.Join(errs, fmt.Errorf("tidy %s: %w", m.Path, err))
			}
		}
	}
	return errs
}

// events are what a change commits with itself: the change and the request.
func events(r *request.Request, key string) []event.Event {
	r.Mount = Root + key
	return []event.Event{r.Changed("sys/auth/" + key), r.Event(http.StatusNoContent)}
}

func recorded() *wire.Answer {
	answer := wire.NoContent()
	answer.Recorded = true
	return answer
}
