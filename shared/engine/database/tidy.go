package database

import (
	"context"
	"errors"
	"sync"
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
		done, err := e.forget(ctx, entry.ID)
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
func (e *Engine) forget(ctx context.Context, id string) (bool, error) {
	n, err := e.live(ctx, id)
	if err != nil || n > 0 {
		return false, err
	}
	grouped, err := e.grouped(ctx, id)
	if err != nil || grouped {
		return false, err // whoever drops the last one comes back here
	}
	err = e.release(ctx, id)
	return err == nil, err
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
// more. A connection whose mark can not be taken away now is hidden and left to
// the janitor.
func (e *Engine) Disabled(ctx context.Context, mountID string) error {
	if err := e.releaseStatic(ctx, mountID); err != nil {
		return err
	}
	var gone store.Write
	var connections []string
	for _, kind := range []store.Kind{store.KindRole, store.KindConnection} {
		for _, withdrawn := range []bool{false, true} {
			err := each(ctx, e.store, kind, mountID+"/", withdrawn, func(entry store.Entry) error {
				ref := store.Ref{Kind: kind, ID: entry.ID}
				switch {
				case kind == store.KindRole:
					gone.Deletes = append(gone.Deletes, ref)
				case !withdrawn:
					gone.Withdrawals = append(gone.Withdrawals, ref)
				}
				if kind == store.KindConnection {
					connections = append(connections, entry.ID)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	if len(gone.Deletes)+len(gone.Withdrawals) > 0 {
		if _, err := e.store.Write(ctx, gone); err != nil {
			return storeError("delete what a mount left", err)
		}
	}
	var all sync.WaitGroup // no target waits for another
	for _, id := range connections {
		all.Go(func() {
			if grouped, err := e.grouped(ctx, id); err != nil || grouped {
				e.kept(err, id)
				return
			}
			if err := e.release(ctx, id); err != nil {
				e.kept(err, id)
			}
		})
	}
	all.Wait()
	return nil
}

// kept tells of a deleted connection that the janitor will try again.
func (e *Engine) kept(err error, id string) {
	e.log.Warn().Err(err).Str("connection", id).Msg("deleted connection is kept for now")
}
