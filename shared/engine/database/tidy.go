package database

import (
	"context"
	"errors"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

// tidyEvery is the rest of the janitor. Nothing waits for it.
const tidyEvery = time.Minute

// Janitor is the loop that forgets deleted connections which no lease needs any
// more (A2), and closes idle targets.
func (e *Engine) Janitor() step.Step { return janitor{e} }

type janitor struct{ engine *Engine }

// Name implements [step.Step].
func (janitor) Name() string { return "database.tidy" }

// Do implements [step.Step].
func (j janitor) Do(ctx context.Context) (time.Duration, error) {
	_, err := j.engine.Tidy(ctx)
	return tidyEvery, err
}

// Tidy does the janitor's work once, and returns how many connections were
// forgotten.
func (e *Engine) Tidy(ctx context.Context) (int, error) {
	e.closeIdle(ctx)
	forgotten := 0
	var failed error
	err := each(ctx, e.store, store.KindConnection, "", true, func(entry store.Entry) error {
		done, err := e.forget(ctx, entry)
		if done {
			forgotten++
		}
		failed = errors.Join(failed, err)
		return nil
	})
	return forgotten, errors.Join(err, failed)
}

// forget deletes a deleted connection for good, with its credential, unless a
// lease that has not ended still needs it. It was withdrawn before: no lease
// can begin, and the count sees every one that did (A3).
func (e *Engine) forget(ctx context.Context, entry store.Entry) (bool, error) {
	n, err := e.live(ctx, entry.ID)
	if err != nil || n > 0 {
		return false, err
	}
	_, err = e.store.Write(ctx, store.Write{Deletes: []store.Ref{{Kind: store.KindConnection, ID: entry.ID}}})
	if err != nil {
		return false, storeError("delete connection", err)
	}
	e.reopen(ctx, entry.ID)
	return true, nil
}

// live counts the leases of a connection that have not ended.
func (e *Engine) live(ctx context.Context, id string) (int64, error) {
	n, err := e.store.Count(ctx, store.Query{
		Target: id, States: []lease.State{lease.Intent, lease.Active, lease.Revoking},
	})
	if err != nil {
		return 0, storeError("count leases of a connection", err)
	}
	return n, nil
}

// Disabled implements [engine.Configurer]: nothing of the mount is needed any
// more.
func (e *Engine) Disabled(ctx context.Context, mountID string) error {
	for _, kind := range []store.Kind{store.KindRole, store.KindConnection} {
		for _, withdrawn := range []bool{false, true} {
			var refs []store.Ref
			err := each(ctx, e.store, kind, mountID+"/", withdrawn, func(entry store.Entry) error {
				refs = append(refs, store.Ref{Kind: kind, ID: entry.ID})
				return nil
			})
			if err != nil {
				return err
			}
			if len(refs) == 0 {
				continue
			}
			if _, err := e.store.Write(ctx, store.Write{Deletes: refs}); err != nil {
				return storeError("delete what a mount left", err)
			}
			for _, r := range refs {
				e.reopen(ctx, r.ID)
			}
		}
	}
	return nil
}
