package database

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/engine/username"
	"github.com/curfew-project/curfew/shared/store"
)

// Targets implements [engine.Sweeper].
func (e *Engine) Targets(ctx context.Context) ([]engine.Target, error) {
	var out []engine.Target
	for _, withdrawn := range []bool{false, true} {
		err := each(ctx, e.store, store.KindConnection, "", withdrawn, func(entry store.Entry) error {
			s, err := decodeConnection(entry)
			if err != nil {
				return err
			}
			out = append(out, engine.Target{ID: entry.ID, MountID: s.MountID, Mount: e.mountPath(ctx, s), Name: s.Name})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// mountPath is where the mount is now; where the store cannot tell, where it
// was when the connection was written.
func (e *Engine) mountPath(ctx context.Context, s *stored) string {
	if m, err := e.store.EntryByID(ctx, store.KindMount, s.MountID); err == nil {
		return m.Key
	}
	return s.Mount
}

// Accounts implements [engine.Sweeper]: of the names that look like ours it
// returns those whose mark is ours (B2). A group role of ours counts as an
// account where no entry has it: it is a stray then, with no lease.
func (e *Engine) Accounts(ctx context.Context, target, after string, limit int) ([]engine.Account, error) {
	if limit <= 0 {
		limit = pageSize
	}
	namer, err := e.namer(ctx)
	if err != nil {
		return nil, err
	}
	var out []engine.Account
	err = e.use(ctx, target, func(o *opened, _ *stored) error {
		for {
			names, err := o.Accounts(ctx, after, limit)
			if err != nil {
				return err
			}
			loose, err := e.looseGroups(ctx, namer, o, after, limit, names)
			if err != nil {
				return err
			}
			for _, name := range names {
				after = name
				if m, ok := namer.Recognise(name); ok {
					out = append(out, engine.Account{Name: name, CreatedAt: m.CreatedAt})
				}
				if at, ok := namer.RecogniseGroup(name); ok && loose[name] {
					out = append(out, engine.Account{Name: name, CreatedAt: at})
				}
				if len(out) == limit {
					return nil
				}
			}
			if len(names) < limit {
				return nil
			}
		}
	})
	if err != nil {
		return nil, engine.AsError(err)
	}
	return out, nil
}

// looseGroups are the group roles of ours among the names of a page that no entry
// has. The entry precedes the role and is deleted after it (B1): so it is looked
// for after the role was seen, and the role once more after that.
func (e *Engine) looseGroups(
	ctx context.Context, namer *username.Namer, o *opened, after string, limit int, names []string,
) (loose map[string]bool, err error) {
	var kept map[string]bool
	found := map[string]bool{}
	for _, name := range names {
		if _, ok := namer.RecogniseGroup(name); !ok {
			continue
		}
		if kept == nil {
			if kept, err = e.groupNames(ctx); err != nil {
				return nil, err
			}
		}
		found[name] = !kept[name]
	}
	maps.DeleteFunc(found, func(_ string, alone bool) bool { return !alone })
	if len(found) == 0 {
		return nil, nil
	}
	again, err := o.Accounts(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	loose = map[string]bool{}
	for _, name := range again {
		loose[name] = found[name]
	}
	return loose, nil
}

// StrayPlan implements [engine.Sweeper]: a stray has no role, so the safe
// default of its connection takes it away (C5).
func (e *Engine) StrayPlan(ctx context.Context, target string, a engine.Account) (plan, handle []byte, err error) {
	namer, err := e.namer(ctx)
	if err != nil {
		return nil, nil, err
	}
	_, account := namer.Recognise(a.Name)
	_, group := namer.RecogniseGroup(a.Name)
	if !account && !group {
		return nil, nil, invalid(fmt.Sprintf("%q bears no mark of this installation", a.Name))
	}
	s, err := e.connectionByID(ctx, target)
	if err != nil {
		return nil, nil, err
	}
	plan, err = json.Marshal(frozen{
		Plan: postgres.Plan{
			Connection: target, Databases: s.Databases, OwnedObjects: s.OwnedObjects, ReassignTo: s.ReassignTo,
		},
		Identity: s.Identity,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("encode plan: %w", err)
	}
	return plan, nil, nil
}

// EndGhosts implements [engine.Sweeper].
func (e *Engine) EndGhosts(ctx context.Context, target string) (int, error) {
	n := 0
	err := e.use(ctx, target, func(o *opened, _ *stored) (err error) {
		n, err = o.EndGhosts(ctx)
		return err
	})
	if err != nil {
		return n, engine.AsError(err)
	}
	return n, nil
}

// Incarnation implements [engine.Watcher].
func (e *Engine) Incarnation(ctx context.Context, target string) (string, error) {
	var name string
	err := e.use(ctx, target, func(o *opened, _ *stored) (err error) {
		name, err = o.Incarnation(ctx)
		return err
	})
	if err != nil {
		return "", engine.AsError(err)
	}
	return name, nil
}

var _ engine.Watcher = (*Engine)(nil)
