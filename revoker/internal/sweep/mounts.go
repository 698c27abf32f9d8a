package sweep

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/revoker/internal/withdraw"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Mounts ends mounts that were withdrawn: revokes their leases, and deletes the
// mount when none is left. How far that has come is kept for people, Keep longer
// than it takes.
type Mounts struct {
	Store Store
	Time  *store.Estimate
	Keep  time.Duration
	// Disabled tells the mount's engine that the last lease has ended.
	Disabled func(ctx context.Context, mount store.Entry) error
	Every    time.Duration
}

// Name implements [step.Step].
func (s *Mounts) Name() string { return "mounts" }

// Do implements [step.Step].
func (s *Mounts) Do(ctx context.Context) (time.Duration, error) {
	operations, err := s.operations(ctx)
	if err != nil {
		return 0, err
	}
	after := ""
	var errs error
	for {
		mounts, err := s.Store.List(ctx, store.KindMount, "", after, true, page)
		if err != nil {
			return 0, errors.Join(errs, fmt.Errorf("list mounts being disabled: %w", err))
		}
		for _, m := range mounts {
			errs = errors.Join(errs, s.one(ctx, m, operations[m.ID]))
			after = m.Key
		}
		if len(mounts) < page {
			return s.Every, errs
		}
	}
}

// operations are those that disable mounts, by mount; what nobody reads any more
// is deleted.
func (s *Mounts) operations(ctx context.Context) (map[string]store.Entry, error) {
	out := map[string]store.Entry{}
	for after := ""; ; {
		entries, err := s.Store.List(ctx, store.KindDisabling, "", after, false, page)
		if err != nil {
			return nil, fmt.Errorf("list operations on mounts: %w", err)
		}
		for _, e := range entries {
			after = e.Key
			b, err := store.DecodeBarrier(e.Value)
			if err != nil {
				return nil, fmt.Errorf("read operation %s: %w", e.Key, err)
			}
			out[b.MountID] = e
			if b.FinishedAt.IsZero() {
				continue
			}
			now, err := s.Time.Now(ctx)
			if err == nil && now.Sub(b.FinishedAt) > s.Keep {
				_, err = s.Store.Write(ctx, store.Write{Deletes: []store.Ref{{Kind: e.Kind, ID: e.ID}}})
			}
			if err != nil {
				return nil, fmt.Errorf("delete operation %s: %w", e.Key, err)
			}
		}
		if len(entries) < page {
			return out, nil
		}
	}
}

// one goes on with a mount, and with the operation that disables it, if one
// does.
func (s *Mounts) one(ctx context.Context, m, operation store.Entry) error {
	if err := withdraw.All(ctx, s.Store, store.Query{MountID: m.ID}, lease.System(lease.ActorMount), "mount was disabled"); err != nil {
		return err
	}
	left, err := s.Store.Find(ctx, store.Query{
		MountID: m.ID, States: []lease.State{lease.Intent, lease.Active, lease.Revoking}, Limit: 1,
	})
	if err != nil {
		return fmt.Errorf("look for leases of a disabled mount: %w", err)
	}
	if len(left) > 0 {
		return s.listed(ctx, operation)
	}
	if err := s.Disabled(ctx, m); err != nil {
		return fmt.Errorf("clear a disabled mount: %w", err)
	}
	w := store.Write{Deletes: []store.Ref{{Kind: store.KindMount, ID: m.ID}}}
	if operation.ID != "" {
		if operation, err = s.finished(ctx, operation); err != nil {
			return err
		}
		w.Puts = []store.Entry{operation}
	}
	if _, err := s.Store.Write(ctx, w); err != nil && !errors.Is(err, store.ErrRevision) {
		return fmt.Errorf("delete a disabled mount: %w", err)
	}
	return nil
}

// listed counts the leases of an operation whose caller died before it had: all
// of them are in revocation now.
func (s *Mounts) listed(ctx context.Context, e store.Entry) error {
	if e.ID == "" {
		return nil
	}
	b, err := store.DecodeBarrier(e.Value)
	if err != nil {
		return fmt.Errorf("read operation %s: %w", e.Key, err)
	}
	now, err := s.Time.Now(ctx)
	if err != nil || b.Listed || now.Sub(b.RaisedAt) < callerLists {
		return err
	}
	if b.Total, err = count(ctx, s.Store, b); err != nil {
		return err
	}
	b.Listed = true
	if e.Value, err = b.Encode(); err != nil {
		return fmt.Errorf("write operation %s: %w", e.Key, err)
	}
	if _, err := s.Store.Write(ctx, store.Write{Puts: []store.Entry{e}}); err != nil && !errors.Is(err, store.ErrRevision) {
		return fmt.Errorf("mark operation %s: %w", e.Key, err)
	}
	return nil
}

// callerLists is longer than the caller of an operation lists by itself.
const callerLists = 30 * time.Second

// finished is the entry of an operation that has ended now.
func (s *Mounts) finished(ctx context.Context, e store.Entry) (store.Entry, error) {
	b, err := store.DecodeBarrier(e.Value)
	if err != nil {
		return e, fmt.Errorf("read operation %s: %w", e.Key, err)
	}
	if b.FinishedAt, err = s.Time.Now(ctx); err != nil {
		return e, err
	}
	if !b.Listed {
		if b.Total, err = count(ctx, s.Store, b); err != nil {
			return e, err
		}
		b.Listed = true
	}
	if e.Value, err = b.Encode(); err != nil {
		return e, fmt.Errorf("write operation %s: %w", e.Key, err)
	}
	return e, nil
}
