package approle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/auth"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// settings are what the store keeps of a role.
type settings struct {
	Name         string        `json:"name"`
	RoleID       string        `json:"role_id"`
	BindSecretID bool          `json:"bind_secret_id"`
	Local        bool          `json:"local_secret_ids,omitempty"`
	CIDRs        []string      `json:"secret_id_bound_cidrs,omitempty"`
	Uses         int           `json:"secret_id_num_uses,omitempty"` // of a secret id; 0: any number
	TTL          time.Duration `json:"secret_id_ttl,omitempty"`      // of a secret id; 0: no end
	Token        token         `json:"token"`
}

// token is what a role says of its tokens.
type token struct {
	Policies       []string      `json:"policies,omitempty"`
	NoDefault      bool          `json:"no_default_policy,omitempty"`
	TTL            time.Duration `json:"ttl,omitempty"`
	MaxTTL         time.Duration `json:"max_ttl,omitempty"`
	ExplicitMaxTTL time.Duration `json:"explicit_max_ttl,omitempty"`
	Period         time.Duration `json:"period,omitempty"`
	Uses           int           `json:"num_uses,omitempty"`
	Type           string        `json:"type,omitempty"`
	CIDRs          []string      `json:"bound_cidrs,omitempty"`
}

// role is a role as it is in the store; one that is to be made has the
// revision 0.
type role struct {
	settings
	id       string // incarnation
	revision int64
}

func (r *role) ref() store.Ref { return store.Ref{Kind: store.KindAppRole, ID: r.id} }

func (r *role) indexRef() store.Ref { return store.Ref{Kind: store.KindAppRoleID, ID: r.id} }

// indexKey has the role id as a hash: it is chosen by clients, of any length
// and with any bytes in it.
func indexKey(m auth.Mount, roleID string) string {
	sum := sha256.Sum256([]byte(roleID))
	return m.ID + "/" + hex.EncodeToString(sum[:])
}

func decodeRole(e store.Entry) (role, error) {
	r := role{id: e.ID, revision: e.Revision}
	if err := json.Unmarshal(e.Value, &r.settings); err != nil {
		return r, fmt.Errorf("decode role %s: %w", e.ID, err)
	}
	return r, nil
}

// errNone says that there is no such role or secret id.
var errNone = errors.New("does not exist")

// byName is the role that a call is for, or errNone.
func (a *Method) byName(ctx context.Context, c *call) (role, error) {
	e, err := a.store.Entry(ctx, store.KindAppRole, c.key())
	if errors.Is(err, store.ErrNotFound) {
		return role{}, errNone
	}
	if err != nil {
		return role{}, fmt.Errorf("read role: %w", err)
	}
	return decodeRole(e)
}

// byRoleID is the role with a role id, or errNone.
func (a *Method) byRoleID(ctx context.Context, m auth.Mount, roleID string) (role, error) {
	e, err := a.store.Entry(ctx, store.KindAppRoleID, indexKey(m, roleID))
	if errors.Is(err, store.ErrNotFound) {
		return role{}, errNone
	}
	if err != nil {
		return role{}, fmt.Errorf("read role id: %w", err)
	}
	// The index has the incarnation of its role, so that removing the one never
	// takes the index of another role which took over the role id.
	if e, err = a.store.EntryByID(ctx, store.KindAppRole, e.ID); errors.Is(err, store.ErrNotFound) {
		return role{}, errNone // deleted between the two look-ups
	}
	if err != nil {
		return role{}, fmt.Errorf("read role: %w", err)
	}
	r, err := decodeRole(e)
	if err == nil && (e.Withdrawn || r.RoleID != roleID) {
		err = errNone // deleted or renamed between the two look-ups
	}
	return r, err
}

// known is byName where a role that is missing is the client's mistake.
func (a *Method) known(ctx context.Context, c *call) (role, error) {
	r, err := a.byName(ctx, c)
	if errors.Is(err, errNone) {
		return r, &wire.Error{Status: http.StatusNotFound, Messages: []string{fmt.Sprintf("role %q does not exist", c.name)}}
	}
	return r, err
}

// missing reports whether err says that the role is not there.
func missing(err error) bool {
	w, ok := errors.AsType[*wire.Error](err)
	return ok && w.Status == http.StatusNotFound
}

// roleExists reports whether the role of a secret id's key is there; known
// keeps what was looked up.
func (a *Method) roleExists(ctx context.Context, known map[string]bool, key string) (bool, error) {
	_, rest, _ := strings.Cut(key, "/")
	id, _, _ := strings.Cut(rest, "/")
	if there, ok := known[id]; ok {
		return there, nil
	}
	e, err := a.store.EntryByID(ctx, store.KindAppRole, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, fmt.Errorf("read role: %w", err)
	}
	known[id] = err == nil && !e.Withdrawn
	return known[id], nil
}

// save commits a role that was before (the zero role: none), with its index;
// the errors are those of [store.Entries.Write].
func (a *Method) save(ctx context.Context, c *call, before, after role, status int) error {
	value, err := json.Marshal(after.settings)
	if err != nil {
		return fmt.Errorf("encode role: %w", err)
	}
	w := store.Write{
		Puts:   []store.Entry{{Kind: store.KindAppRole, Key: c.key(), ID: after.id, Revision: before.revision, Value: value}},
		Events: events(c, "role/"+c.name, status),
	}
	if before.RoleID != after.RoleID {
		w.Puts = append(w.Puts, store.Entry{
			Kind: store.KindAppRoleID, Key: indexKey(c.mount, after.RoleID), ID: after.id, Value: []byte("{}"),
		})
		if before.RoleID != "" {
			w.Deletes = append(w.Deletes, before.indexRef(), auth.LockoutRef(c.mount, before.RoleID))
		}
	}
	_, err = a.store.Write(ctx, w)
	return err
}

// edit changes a role, or makes it where it is missing and that is allowed.
// change may be called again for another state of the role.
func (a *Method) edit(ctx context.Context, c *call, creates bool, change func(r *role, made bool) error) (*wire.Answer, error) {
	for range attempts {
		before, err := a.known(ctx, c)
		after, made := before, false
		if missing(err) && creates {
			err, made = nil, true
			after = role{id: store.NewIncarnation(), settings: settings{Name: c.name, RoleID: request.NewID(), BindSecretID: true}}
		}
		if err != nil {
			return nil, err
		}
		if err := change(&after, made); err != nil {
			return nil, err
		}
		if err := a.check(ctx, c, before, after); err != nil {
			return nil, err
		}
		answer := a.remarks(c.mount, after)
		err = a.save(ctx, c, before, after, answer.Code())
		if err == nil {
			return answer, nil
		}
		// Edited, deleted or made by others, or its role id taken: look again.
		if !errors.Is(err, store.ErrRevision) && !errors.Is(err, store.ErrExists) {
			return nil, fmt.Errorf("write role: %w", err)
		}
	}
	return nil, wire.Unavailable(nil, "the role is being changed by others: try again")
}

// check refuses a role that cannot be.
func (a *Method) check(ctx context.Context, c *call, before, after role) error {
	if err := after.check(); err != nil {
		return err
	}
	if before.RoleID == after.RoleID {
		return nil
	}
	_, err := a.store.Entry(ctx, store.KindAppRoleID, indexKey(c.mount, after.RoleID))
	if err == nil {
		return wire.Invalid("role_id already in use")
	}
	if !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read role id: %w", err)
	}
	return nil
}

// remarks is the answer to a change: bare, or with what a person should know.
func (a *Method) remarks(m auth.Mount, r role) *wire.Answer {
	answer := wire.NoContent()
	ceiling, _ := lease.Limits{Mount: m.TTLs(), System: a.system}.Ceiling()
	if ceiling > 0 && r.Token.MaxTTL > ceiling {
		answer = &wire.Answer{Warnings: []string{
			"token_max_ttl is greater than the backend mount's maximum TTL value; issued tokens' max TTL value will be truncated",
		}}
	}
	answer.Recorded = true
	return answer
}

func (a *Method) writeRole(ctx context.Context, c call) (*wire.Answer, error) {
	return a.edit(ctx, &c, true, func(r *role, made bool) error {
		if c.Fields().Has("local_secret_ids") {
			local, err := c.Fields().Bool("local_secret_ids", false)
			if err != nil {
				return err
			}
			if !made && local != r.Local {
				return wire.Invalid("local_secret_ids can only be modified during role creation")
			}
			r.Local = local
		}
		for _, p := range parts() {
			if name := p.sent(c.Fields()); name != "" {
				if err := p.set(r, c.Fields(), name); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (a *Method) readRole(ctx context.Context, c call) (*wire.Answer, error) {
	r, err := a.byName(ctx, &c)
	if errors.Is(err, errNone) {
		return nil, wire.Nothing()
	}
	if err != nil {
		return nil, err
	}
	data := map[string]any{}
	for _, p := range parts() {
		if p.name != "role_id" {
			data[p.name] = p.read(&r)
		}
	}
	return wire.OK(data), nil
}

// deleteRole lets nobody in from its first commit on; what is left of the
// role's secret ids after a failure is removed by a tidy.
func (a *Method) deleteRole(ctx context.Context, c call) (*wire.Answer, error) {
	r, err := a.byName(ctx, &c)
	if errors.Is(err, errNone) {
		return wire.NoContent(), nil
	}
	if err != nil {
		return nil, err
	}
	_, err = a.store.Write(ctx, store.Write{
		Withdrawals: []store.Ref{r.ref()},
		Deletes:     []store.Ref{r.indexRef(), auth.LockoutRef(c.mount, r.RoleID)},
		Events:      events(&c, "role/"+c.name, http.StatusNoContent),
	})
	if errors.Is(err, store.ErrNotFound) {
		return wire.NoContent(), nil // another request was faster
	}
	if err != nil {
		return nil, fmt.Errorf("delete role: %w", err)
	}
	answer := wire.NoContent()
	answer.Recorded = true
	every := func(store.Entry) bool { return true }
	err = auth.Clear(ctx, a.store, store.KindSecretID, c.mount.ID+"/"+r.id+"/", every)
	if err == nil {
		_, err = a.store.Write(ctx, store.Write{Deletes: []store.Ref{r.ref()}})
	}
	if err != nil {
		a.log.Warn().Err(err).Str("request_id", c.ID).Str("role", c.name).Msg("secret ids of a deleted role are left to the next tidy")
	}
	return answer, nil
}

func events(c *call, subject string, status int) []event.Event {
	return []event.Event{c.Changed(c.mount.Path + subject), c.Event(status)}
}

func (a *Method) listRoles(ctx context.Context, c call) (*wire.Answer, error) {
	prefix, after := c.mount.ID+"/", ""
	if c.After != "" {
		after = prefix + c.After
	}
	var keys []string
	for {
		limit := page
		if c.Limit > 0 {
			limit = min(page, c.Limit-len(keys))
		}
		entries, err := a.store.List(ctx, store.KindAppRole, prefix, after, false, limit)
		if err != nil {
			return nil, fmt.Errorf("list roles: %w", err)
		}
		for _, e := range entries {
			keys = append(keys, strings.TrimPrefix(e.Key, prefix))
		}
		if len(entries) < limit || len(keys) == c.Limit {
			break
		}
		after = entries[len(entries)-1].Key
	}
	if len(keys) == 0 {
		return nil, wire.Nothing()
	}
	return wire.OK(map[string]any{"keys": keys}), nil
}
