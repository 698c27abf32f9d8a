package database

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Store is the part of the store that the engine uses.
type Store interface {
	Entries
	Leases
	Locks
	Time
}

// Entries keeps connections, roles and naming keys.
type Entries interface {
	Entry(ctx context.Context, kind store.Kind, key string) (store.Entry, error)
	EntryByID(ctx context.Context, kind store.Kind, id string) (store.Entry, error)
	List(ctx context.Context, kind store.Kind, prefix, after string, withdrawn bool, limit int) ([]store.Entry, error)
	Write(ctx context.Context, w store.Write) ([]store.Entry, error)
}

// Leases tells whether a deleted connection or a group role is still needed (A2).
type Leases interface {
	Count(ctx context.Context, q store.Query) (int64, error)
	Find(ctx context.Context, q store.Query) ([]lease.Lease, error)
}

// Locks keeps rotations of one admin user apart (B11).
type Locks interface {
	Acquire(ctx context.Context, name, owner string, ttl time.Duration) (store.Lock, bool, error)
	Release(ctx context.Context, l store.Lock) error
}

// Time is the store's clock; the deadline of a creation is told to the target by
// the difference of the two (B1).
type Time interface {
	Now(ctx context.Context) (time.Time, error)
}

// Sealer encrypts what the store must not see. The context binds a ciphertext
// to its place: opening it elsewhere fails.
type Sealer interface {
	Seal(plaintext []byte, context string) ([]byte, error)
	Open(ciphertext []byte, context string) ([]byte, error)
}

// tries bounds how often an edit is repeated when another one came between.
const tries = 5

// pageSize is how many entries are read at a time.
const pageSize = 500

// storeError turns an error of the store into one for the caller.
func storeError(act string, err error) error {
	if _, ok := errors.AsType[*engine.Error](err); ok {
		return err
	}
	wrapped := fmt.Errorf("%s: %w", act, err)
	if errors.Is(err, store.ErrRevision) || errors.Is(err, store.ErrExists) {
		return &engine.Error{Kind: engine.Conflict, Message: "somebody else changed the same configuration at the same time: try again", Err: wrapped}
	}
	return &engine.Error{Kind: engine.Internal, Message: "the configuration could not be read or stored", Err: wrapped}
}

// each calls do for every entry of a kind below prefix, in pages.
func each(
	ctx context.Context, entries Entries, kind store.Kind, prefix string, withdrawn bool, do func(store.Entry) error,
) error {
	after := ""
	for {
		page, err := entries.List(ctx, kind, prefix, after, withdrawn, pageSize)
		if err != nil {
			return storeError("list "+string(kind)+" entries", err)
		}
		for _, e := range page {
			if err := do(e); err != nil {
				return err
			}
			after = e.Key
		}
		if len(page) < pageSize {
			return nil
		}
	}
}
