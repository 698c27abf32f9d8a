package auditor

import (
	"context"
	"errors"
	"sync"

	"github.com/curfew-project/curfew/auditor/internal/appender"
	"github.com/curfew-project/curfew/auditor/internal/ledger"
)

// opened is a ledger that is held for appending.
type opened interface {
	Append(ctx context.Context, epoch, first int64, entries [][]byte) (int64, error)
	Next(ctx context.Context, epoch int64) (int64, error)
	Close(ctx context.Context) error
}

// keeper holds the ledger open. After an error that lasts until the ledger is
// opened anew it gives the ledger up, and the next call opens it; who calls
// paces the tries. So a disk that was full, a lock file that was removed, or a
// directory that a person has put right needs no restart, and the process,
// which may be the one that revokes, goes on (promise 5). Where another appender
// has the ledger by then, opening fails with ledger.ErrLocked: this one stands by.
type keeper struct {
	*ledger.Reader
	open func(context.Context) (opened, error)

	mu     sync.Mutex
	held   opened // nil: to be opened
	closed bool
}

// keep opens the ledger, now or at its first use.
func keep(ctx context.Context, r *ledger.Reader, open func(context.Context) (opened, error), now bool) (*keeper, error) {
	k := &keeper{Reader: r, open: open}
	if !now {
		return k, nil
	}
	var err error
	if k.held, err = open(ctx); err != nil {
		return nil, err
	}
	return k, nil
}

// Append implements [appender.Ledger].
func (k *keeper) Append(ctx context.Context, epoch, first int64, entries [][]byte) (last int64, err error) {
	err = k.use(ctx, func(l opened) error {
		last, err = l.Append(ctx, epoch, first, entries)
		return err
	})
	return last, err
}

// Next implements [appender.Ledger].
func (k *keeper) Next(ctx context.Context, epoch int64) (next int64, err error) {
	err = k.use(ctx, func(l opened) error {
		next, err = l.Next(ctx, epoch)
		return err
	})
	return next, err
}

func (k *keeper) use(ctx context.Context, do func(opened) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return ledger.ErrClosed
	}
	if k.held == nil {
		held, err := k.open(ctx)
		if err != nil {
			return err
		}
		k.held = held
	}
	err := do(k.held)
	if errors.Is(err, ledger.ErrBroken) || errors.Is(err, ledger.ErrFenced) || errors.Is(err, ledger.ErrDamaged) {
		// What closing says is a consequence of what is told already.
		_ = k.held.Close(ctx)
		k.held = nil
	}
	return err
}

// release gives the ledger up until its next use.
func (k *keeper) release(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		return nil
	}
	held := k.held
	k.held = nil
	return held.Close(ctx)
}

// Close gives the ledger up for good. It may be called again.
func (k *keeper) Close(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	if k.held == nil {
		return nil
	}
	held := k.held
	k.held = nil
	return held.Close(ctx)
}

var _ appender.Ledger = (*keeper)(nil)
