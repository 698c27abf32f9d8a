package leases

import (
	"context"
	"errors"
	"fmt"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/store"
)

// operationsPath is where operations on prefixes can be read.
const operationsPath = "sys/leases/operations/"

// kept is the barrier of an operation as the store has it.
func (b *Book) kept(ctx context.Context, operation string) (store.Barrier, bool) {
	e, err := b.store.Entry(ctx, store.KindBarrier, operation)
	if err != nil {
		return store.Barrier{}, false
	}
	barrier, err := store.DecodeBarrier(e.Value)
	return barrier, err == nil
}

// listed marks an operation: all its leases are in revoking.
func (b *Book) listed(ctx context.Context, operation string) error {
	e, err := b.store.Entry(ctx, store.KindBarrier, operation)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mark operation: %w", err)
	}
	barrier, err := store.DecodeBarrier(e.Value)
	if err != nil || barrier.Listed {
		return err
	}
	barrier.Listed = true
	if e.Value, err = barrier.Encode(); err != nil {
		return err
	}
	_, err = b.store.Write(ctx, store.Write{Puts: []store.Entry{e}})
	if errors.Is(err, store.ErrRevision) || errors.Is(err, store.ErrNotFound) {
		return nil // another issuer marked it, or found it finished
	}
	return err
}

// ListOperations serves LIST sys/leases/operations.
func (b *Book) ListOperations(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	entries, err := b.store.List(ctx, store.KindBarrier, "", r.After, false, page)
	if err != nil {
		return nil, fmt.Errorf("list operations: %w", err)
	}
	if len(entries) == 0 {
		return nil, wire.Nothing()
	}
	keys := make([]string, len(entries))
	for i, e := range entries {
		keys[i] = e.Key
	}
	return wire.OK(map[string]any{"keys": keys}), nil
}

// ReadOperation serves GET sys/leases/operations/<id>: how far a revocation of
// a prefix has come (A4).
func (b *Book) ReadOperation(ctx context.Context, _ *request.Request, id string) (*wire.Answer, error) {
	e, err := b.store.Entry(ctx, store.KindBarrier, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, wire.Nothing()
	}
	if err != nil {
		return nil, fmt.Errorf("read operation: %w", err)
	}
	barrier, err := store.DecodeBarrier(e.Value)
	if err != nil {
		return nil, err
	}
	t, err := b.tally(ctx, barrier)
	if err != nil {
		return nil, err
	}
	failures := []map[string]any{}
	for _, l := range t.some {
		failures = append(failures, map[string]any{
			"lease_id": string(l.ID), "error": l.Revocation.LastError, "parked": l.Revocation.Parked,
			"attempts": l.Revocation.Attempts, "next_attempt": wire.Stamp(l.Revocation.NextTryAt),
		})
	}
	return wire.OK(map[string]any{
		"operation": barrier.Operation, "prefix": barrier.Prefix, "reason": barrier.Reason, "by": barrier.By.Name,
		"raised_at": wire.Stamp(barrier.RaisedAt), "listed": barrier.Listed,
		"open": t.open, "failed": t.failed, "failures": failures,
		"finished": barrier.Listed && t.open+t.failed == 0,
	}), nil
}
