package database

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// never is later than any time that is asked for.
var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// withdrawnMark tells the reading of leases after a withdrawal from that before.
const withdrawnMark = " withdrawn"

const (
	// groupPages bounds how many leases are read at one look whether a group is
	// still needed; the next look reads on.
	groupPages = 20
	// groupFor is how long it is tried to drop a group whose connection is
	// deleted, or leads elsewhere. A group that stays behind can not log in.
	groupFor = 24 * time.Hour
)

// groupRoles is the upkeep of group roles, as who times it sees it: a "rotation"
// makes, refreshes or drops one.
type groupRoles struct{ *Engine }

// GroupRoles implements [engine.GroupKeeper].
func (e *Engine) GroupRoles() engine.Rotator { return groupRoles{e} }

// Rotations implements [engine.Rotator].
func (k groupRoles) Rotations(ctx context.Context, until time.Time) ([]engine.Rotation, error) {
	var out []engine.Rotation
	v := k.newView()
	err := k.eachGroup(ctx, "", func(g *storedGroup) error {
		r, config, err := v.user(ctx, g)
		if err != nil {
			return err
		}
		var at time.Time // nobody needs it, perhaps: it is looked at again and again
		if r != nil {
			at = g.due(r)
		}
		if f := g.Failure; f.Attempts > 0 && f.Config == config && f.RetryAt.After(at) {
			at = f.RetryAt
		}
		if !at.After(until) {
			out = append(out, engine.Rotation{
				ID: g.entry.ID, Target: g.Connection, Mount: g.Mount, Role: g.Role, Due: at, Attempts: g.Failure.Attempts,
			})
		}
		return nil
	})
	return out, err
}

// Rotate implements [engine.Rotator].
func (k groupRoles) Rotate(ctx context.Context, r engine.Rotation, allowed func(context.Context) error) (bool, error) {
	g, err := k.groupByID(ctx, r.ID)
	if errors.Is(err, errNoGroup) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	uses, config, err := k.newView().user(ctx, g)
	if err != nil {
		return false, err
	}
	if uses == nil {
		if needed, err := k.needed(ctx, g); err != nil || needed {
			return false, err
		}
	}
	if allowed != nil {
		// B3: what a copy of this installation does not know of, the original may
		// need.
		if err := allowed(ctx); err != nil {
			return false, err
		}
	}
	var done bool
	if uses != nil {
		done, err = k.refreshGroup(ctx, g, uses)
	} else {
		done, err = k.retire(ctx, g)
	}
	if err == nil || errors.Is(err, errNoGroup) {
		return done, nil
	}
	k.failGroup(ctx, g, err, config)
	return false, engine.AsError(err)
}

// view is what one look at all groups reads of mounts and connections, once each.
type view struct {
	*Engine
	mounts      map[string]bool
	connections map[string]*stored // nil: there is none
}

func (e *Engine) newView() *view {
	return &view{Engine: e, mounts: map[string]bool{}, connections: map[string]*stored{}}
}

// around is the mount of a group, whether it is there, and its connection.
func (v *view) around(ctx context.Context, g *storedGroup) (there bool, c *stored, err error) {
	there, known := v.mounts[g.MountID]
	if !known {
		if there, err = v.mountThere(ctx, g.MountID); err != nil {
			return false, nil, err
		}
		v.mounts[g.MountID] = there
	}
	c, known = v.connections[g.Connection]
	if !known {
		c, err = v.connectionByID(ctx, g.Connection)
		if err != nil && engine.AsError(err).Kind != engine.NotFound {
			return false, nil, err
		}
		v.connections[g.Connection] = c
	}
	return there, c, nil
}

// user is the role that uses a group as role and connection are now, or nil;
// config is their revision.
func (v *view) user(ctx context.Context, g *storedGroup) (uses *role, config string, err error) {
	there, c, err := v.around(ctx, g)
	if err != nil {
		return nil, "", err
	}
	r, entry, err := v.roleByName(ctx, g.MountID, g.Role)
	if err != nil {
		return nil, "", err
	}
	config = entry.ID + "." + strconv.FormatInt(entry.Revision, 10)
	if c != nil {
		config = c.revision() + "/" + config
	}
	if !there || g.entry.Withdrawn || c == nil || c.entry.Withdrawn || r == nil || entry.ID != g.RoleID || !r.Shared || r.DBName != c.Name {
		return nil, config, nil
	}
	now, err := r.newGroup(entry, c)
	if err != nil || now.entry.Key != g.entry.Key {
		return nil, config, nil //nolint:nilerr // a version that refuses the statements has no use for their group
	}
	return r, config, nil
}

// refreshGroup grants everything again if that is still due.
func (e *Engine) refreshGroup(ctx context.Context, g *storedGroup, r *role) (bool, error) {
	now, err := e.storeNow(ctx)
	if err != nil || g.due(r).After(now) {
		return false, err
	}
	err = e.use(ctx, g.Connection, func(o *opened, _ *stored) error {
		_, err := e.keepGroup(ctx, o, g, system(), "shared_grants_refresh", true)
		return err
	})
	return err == nil, err
}

// retire drops a group that no role uses. It is withdrawn first, which refuses
// intents that name it, and only then the leases are read that count (A3).
func (e *Engine) retire(ctx context.Context, g *storedGroup) (bool, error) {
	if !g.entry.Withdrawn {
		w := store.Write{Withdrawals: []store.Ref{{Kind: store.KindGroupRole, ID: g.entry.ID}}}
		w.Events = append(w.Events, changed(system(), g.Mount, "roles/"+g.Role, engine.Delete, "no lease needs group role "+g.Name, nil))
		if _, err := e.store.Write(ctx, w); err != nil && !errors.Is(err, store.ErrNotFound) {
			return false, storeError("withdraw group role", err)
		}
		var err error
		if g, err = e.groupByID(ctx, g.entry.ID); err != nil {
			return false, err
		}
		if needed, err := e.needed(ctx, g); err != nil || needed {
			return false, err
		}
	}
	c, err := e.connectionByID(ctx, g.Connection)
	if err != nil && engine.AsError(err).Kind == engine.NotFound {
		return true, e.eraseGroup(ctx, g, *g.told(event.GroupDropped, system(), "its connection is gone: it may be in the target"))
	}
	if err == nil {
		// B1: a making that is under way, also of a process that died of it, comes
		// before the end of the entry or not at all.
		if now, failed := e.storeNow(ctx); failed != nil || now.Before(g.Until) {
			return false, failed
		}
		err = e.dropGroup(ctx, g, c)
	}
	if err != nil {
		return e.giveUp(ctx, g, c, err)
	}
	if err := e.eraseGroup(ctx, g, *g.told(event.GroupDropped, system(), "no lease needs it")); err != nil {
		return false, err
	}
	if c.entry.Withdrawn { // it may have waited for this
		if _, err := e.forget(ctx, c.entry.ID); err != nil {
			e.kept(err, c.entry.ID)
		}
	}
	return true, nil
}

func (e *Engine) dropGroup(ctx context.Context, g *storedGroup, c *stored) error {
	if err := g.moved(c); err != nil {
		return err
	}
	return e.use(ctx, g.Connection, func(o *opened, c *stored) error {
		if err := g.moved(c); err != nil {
			return err
		}
		return o.DropGroup(ctx, g.Name, postgres.Plan{
			Connection: g.Connection, Databases: c.Databases, OwnedObjects: c.OwnedObjects, ReassignTo: c.ReassignTo,
		})
	})
}

// moved reports, as an error, that the group is on another system than the one
// that its connection reaches now (C6).
func (g *group) moved(c *stored) error {
	if g.SystemID == c.Identity.SystemID || c.Identity.SystemID == "" {
		return nil
	}
	return &engine.Error{Kind: engine.Refused, Message: "target moved: the group role is on the system " + g.SystemID +
		", and connection " + c.Name + " now reaches " + c.Identity.SystemID}
}

// giveUp forgets a group that could not be dropped for a day because nothing
// leads to it any more; what stays in the target can neither log in nor be used.
func (e *Engine) giveUp(ctx context.Context, g *storedGroup, c *stored, cause error) (bool, error) {
	if c == nil || !c.entry.Withdrawn && g.moved(c) == nil || g.Failure.Attempts == 0 {
		return false, cause
	}
	now, err := e.storeNow(ctx)
	if err != nil || now.Sub(g.Failure.Since) < groupFor {
		return false, errors.Join(cause, err)
	}
	e.log.Warn().Err(cause).Str("connection", g.Connection).Str("account", g.Name).Msg("a group role stays in its target")
	err = e.eraseGroup(ctx, g, *g.told(event.GroupDropped, system(), "it stays in the target: "+engine.AsError(cause).Message))
	if err == nil && c.entry.Withdrawn {
		_, err = e.forget(ctx, c.entry.ID)
	}
	return err == nil, err
}

// needed reports whether a lease that has not ended names the group, as far as
// one look reads; the next one reads on. Leases that begin meanwhile are met by
// the look after the withdrawal, which begins anew.
func (e *Engine) needed(ctx context.Context, g *storedGroup) (bool, error) {
	at := g.entry.ID
	if g.entry.Withdrawn {
		at += withdrawnMark
	}
	e.groups.mu.Lock()
	after := e.groups.read[at]
	e.groups.mu.Unlock()
	for range groupPages {
		page, err := e.store.Find(ctx, store.Query{
			Prefix: g.Mount + "creds/" + g.Role + "/", Target: g.Connection, After: after, Limit: pageSize,
			States: []lease.State{lease.Intent, lease.Active, lease.Revoking},
		})
		if err != nil {
			return false, storeError("list leases of a group role", err)
		}
		for i := range page {
			if groupOf(&page[i]) == g.entry.ID {
				return true, nil
			}
		}
		if len(page) < pageSize {
			return false, nil
		}
		after = page[len(page)-1].ID
		e.groups.mu.Lock()
		e.groups.read[at] = after
		e.groups.mu.Unlock()
	}
	return true, nil
}

func groupOf(l *lease.Lease) string {
	var f struct {
		GroupID string `json:"group_id"`
	}
	if json.Unmarshal(l.Plan, &f) != nil {
		return "" // no version has written it
	}
	return f.GroupID
}

// failGroup puts a failure on record: on the group, and as an event (C8).
func (e *Engine) failGroup(ctx context.Context, g *storedGroup, cause error, config string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), failing)
	defer cancel()
	failed := engine.AsError(cause)
	e.log.Warn().Err(cause).AnErr("cause", failed.Err).Str("role", g.Mount+"roles/"+g.Role).Msg("group role was not kept")
	now, err := e.storeNow(ctx)
	if err == nil {
		_, err = e.editGroup(ctx, g.entry.ID, func(g *storedGroup) (*event.Event, error) {
			before := g.Failure
			delay, parked := fate(failed, before.Attempts)
			f := groupFailure{Attempts: before.Attempts + 1, Error: failed.Message, At: now, Since: before.Since, Config: config}
			if f.Since.IsZero() {
				f.Since = now
			}
			ev := g.told(event.GroupFailed, system(), "")
			if delay > 0 {
				f.RetryAt = now.Add(delay)
				ev.Data.NextTryAt = &f.RetryAt
			}
			g.Failure = f
			ev.Data.Error, ev.Data.Attempts, ev.Data.Parked = f.Error, f.Attempts, parked
			return ev, nil
		})
	}
	if err != nil && !errors.Is(err, errNoGroup) {
		e.log.Warn().Err(err).Str("role", g.Mount+"roles/"+g.Role).Msg("that a group role was not kept is not on record")
	}
}

var (
	_ engine.GroupKeeper = (*Engine)(nil)
	_ engine.Rotator     = groupRoles{}
)
