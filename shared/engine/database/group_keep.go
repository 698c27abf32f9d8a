package database

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// standingGroup is the group of a role as role and connection are now, made
// where it was not.
func (e *Engine) standingGroup(
	ctx context.Context, o *opened, c *stored, r *role, entry store.Entry, by lease.Actor,
) (*storedGroup, error) {
	g, err := e.recordGroup(ctx, c, r, entry, by)
	if err != nil || !g.Made.IsZero() {
		return g, err
	}
	return e.keepGroup(ctx, o, g, by, "first use", false)
}

// recordGroup commits the group before anything of it is in the target (B1). It
// returns the one that is there.
func (e *Engine) recordGroup(ctx context.Context, c *stored, r *role, entry store.Entry, by lease.Actor) (*storedGroup, error) {
	g, err := r.newGroup(entry, c)
	if err != nil {
		return nil, err
	}
	if found, err := e.groupByKey(ctx, g.entry.Key); err != nil || found != nil {
		return found, err
	}
	namer, err := e.namer(ctx)
	if err != nil {
		return nil, err
	}
	g.entry.ID = store.NewIncarnation()
	g.Name = namer.Group(g.Role, g.entry.ID, e.accountTime())
	put, err := g.encoded()
	if err != nil {
		return nil, err
	}
	ev := changed(by, g.Mount, "roles/"+g.Role, engine.Write, "group role "+g.Name+" is to be made", nil)
	out, err := e.store.Write(ctx, store.Write{Puts: []store.Entry{put}, Events: []event.Event{ev}})
	if errors.Is(err, store.ErrExists) { // somebody was faster
		if found, failed := e.groupByKey(ctx, g.entry.Key); failed != nil || found != nil {
			return found, failed
		}
	}
	if err != nil {
		return nil, storeError("store group role", err)
	}
	g.entry = out[0]
	// A3: who deletes the connection hides it first and looks for groups then. One
	// that was recorded after that look would keep nothing.
	now, err := e.connectionByID(ctx, c.entry.ID)
	if err == nil && now.entry.Withdrawn || err != nil && engine.AsError(err).Kind == engine.NotFound {
		err = errors.Join(errNoGroup, e.eraseGroup(ctx, g, changed(system(), g.Mount, "roles/"+g.Role, engine.Delete,
			"group role "+g.Name+" was never made: its connection is gone", nil)))
	}
	if err != nil {
		return nil, err
	}
	return g, nil
}

// keepGroup makes a group in the target, or grants it everything again, and puts
// that on record. Without again it is content with what somebody else made
// meanwhile.
func (e *Engine) keepGroup(ctx context.Context, o *opened, g *storedGroup, by lease.Actor, reason string, again bool) (*storedGroup, error) {
	leave, err := e.groups.enter(ctx, g.entry.ID)
	if err != nil {
		return nil, err
	}
	defer leave()
	if g, err = e.groupByID(ctx, g.entry.ID); err != nil {
		return nil, err
	}
	switch {
	case g.entry.Withdrawn:
		return nil, errNoGroup
	case !again && !g.Made.IsZero():
		return g, nil
	}
	announce := func(ctx context.Context) (time.Duration, error) { return e.announceGroup(ctx, g.entry.ID, by) }
	if err := o.KeepGroup(ctx, g.kept(), announce); err != nil {
		return nil, err
	}
	now, err := e.storeNow(ctx)
	if err != nil {
		return nil, err
	}
	return e.editGroup(ctx, g.entry.ID, func(g *storedGroup) (*event.Event, error) {
		if g.entry.Withdrawn {
			return nil, errNoGroup
		}
		kind := event.GroupRefreshed
		if g.Made.IsZero() {
			g.Made, kind = now, event.GroupMade
		}
		g.Refreshed, g.Failure = now, groupFailure{}
		return g.told(kind, by, reason), nil
	})
}

// announceGroup commits that a group is about to be made, before it is: who drops
// it waits for that (B1). It returns for how long from the call on it may be.
func (e *Engine) announceGroup(ctx context.Context, id string, by lease.Actor) (time.Duration, error) {
	_, err := e.editGroup(ctx, id, func(g *storedGroup) (*event.Event, error) {
		if g.entry.Withdrawn {
			return nil, errNoGroup
		}
		now, err := e.storeNow(ctx)
		if err != nil {
			return nil, err
		}
		if until := now.Add(e.cfg.Making); until.After(g.Until) {
			g.Until = until
		}
		ev := changed(by, g.Mount, "roles/"+g.Role, engine.Write, "group role "+g.Name+" is being made", nil)
		return &ev, nil
	})
	const slack = 10 // clocks may be set a little meanwhile
	return e.cfg.Making - e.cfg.Making/slack, err
}

// writeGroup makes or refreshes the group of a role that was written. What fails
// is a warning: the role is stored, and the first credential tries again.
func (e *Engine) writeGroup(ctx context.Context, req *engine.Request, r *role, entry store.Entry, c *stored) []string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.cfg.Grace)
	defer cancel()
	err := e.use(ctx, c.entry.ID, func(o *opened, c *stored) error {
		g, err := e.recordGroup(ctx, c, r, entry, req.Actor)
		if err == nil {
			_, err = e.keepGroup(ctx, o, g, req.Actor, "role was written", true)
		}
		return err
	})
	if err == nil {
		return nil
	}
	failed := engine.AsError(err)
	e.log.Warn().Err(err).AnErr("cause", failed.Err).Str("role", req.Mount+req.Path).Msg("group role was not made or refreshed")
	return []string{"the role is stored, and its group role could not be made or refreshed yet, which is tried again " +
		"when a credential is asked for and by the revoker: " + failed.Message}
}

// regroup makes groups again that somebody dropped by hand, and then the accounts
// that failed for it. Nothing of them was made.
func (e *Engine) regroup(ctx context.Context, target string, batch []engine.Creation, out []engine.Created) {
	again := map[string][]int{} // by the group's id
	for n := range out {
		if out[n].Err == nil {
			continue
		}
		var f frozen
		if json.Unmarshal(batch[n].Lease.Plan, &f) == nil && postgres.Lacks(out[n].Err, f.Group) {
			again[f.GroupID] = append(again[f.GroupID], n)
		}
	}
	for id, places := range again {
		err := e.use(ctx, target, func(o *opened, _ *stored) error {
			g, err := e.groupByID(ctx, id)
			if err == nil {
				_, err = e.keepGroup(ctx, o, g, system(), "it was missing in the target", true)
			}
			return err
		})
		if err != nil {
			for _, n := range places {
				out[n].Err = engine.AsError(err)
			}
			continue
		}
		retried := make([]engine.Creation, len(places))
		for i, n := range places {
			retried[i] = batch[n]
		}
		made := dispatch(ctx, e, target, retried, func(c *engine.Creation) *lease.Lease { return &c.Lease },
			func(err error) engine.Created { return engine.Created{Err: err} },
			func(o *opened, batch []engine.Creation) []engine.Created { return o.Create(ctx, batch) })
		for i, n := range places {
			out[n] = made[i]
		}
	}
}

// rehearsedGroup is a group for a trial: what stayed of it would be a stray.
func (e *Engine) rehearsedGroup(ctx context.Context, r *role) (postgres.Group, error) {
	_, shared, err := r.share()
	if err != nil {
		return postgres.Group{}, err
	}
	namer, err := e.namer(ctx)
	if err != nil {
		return postgres.Group{}, err
	}
	name := namer.Group(r.Name, store.NewIncarnation(), e.accountTime())
	return postgres.Group{Name: name, Statements: shared.Sources(), Numbers: shared.Numbers()}, nil
}

// eraseGroup deletes the entry of a group.
func (e *Engine) eraseGroup(ctx context.Context, g *storedGroup, ev event.Event) error {
	w := store.Write{Deletes: []store.Ref{{Kind: store.KindGroupRole, ID: g.entry.ID}}, Events: []event.Event{ev}}
	if _, err := e.store.Write(ctx, w); err != nil {
		return storeError("delete group role", err)
	}
	e.groups.mu.Lock()
	defer e.groups.mu.Unlock()
	delete(e.groups.read, g.entry.ID)
	delete(e.groups.read, g.entry.ID+withdrawnMark)
	return nil
}

// due is when somebody has to look at a group of a role that still uses it.
func (g *storedGroup) due(r *role) time.Time {
	switch every := r.refresh(); {
	case g.Made.IsZero():
		return time.Time{}
	case every == 0:
		return never
	default:
		return g.Refreshed.Add(every)
	}
}
