package auditor

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curfew-project/curfew/auditor/internal/appender"
	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/clock"
)

// opened is a ledger that is held for appending.
type opened interface {
	Append(ctx context.Context, epoch, first int64, entries [][]byte) (int64, error)
	Next(ctx context.Context, epoch int64) (int64, error)
	Close(ctx context.Context) error
}

// record is a ledger for readers.
type record interface {
	Epochs() ([]int64, error)
	Size(epoch int64) (int64, error)
	Entries(ctx context.Context, epoch, from, to int64) iter.Seq2[ledger.Entry, error]
}

// hungAfter is how long a call of the ledger may take before nobody waits for
// it: a batch takes milliseconds.
const hungAfter = 30 * time.Second

// errNotElected refuses to append while another auditor may.
var errNotElected = errors.New("this auditor is not the one that appends")

// keeper holds the ledger open. After an error that lasts until the ledger is
// opened anew it gives the ledger up, and the next call opens it; who calls
// paces the tries. So a disk that was full, a lock file that was removed, or a
// directory that a person has put right needs no restart, and the process,
// which may be the one that revokes, goes on (promise 5). While another appender
// has the ledger, opening fails with ledger.ErrLocked.
type keeper struct {
	record
	clock clock.Clock
	open  func(context.Context) (opened, error)
	may   func() bool // asked right before each call; nil: always

	since atomic.Pointer[time.Time] // a call is under way; nil: none is

	mu     sync.Mutex
	held   opened // nil: to be opened
	closed bool
}

// newKeeper returns a keeper of a ledger that its first use opens.
func newKeeper(r record, c clock.Clock, open func(context.Context) (opened, error)) *keeper {
	return &keeper{record: r, clock: c, open: open}
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

// hold opens the ledger now.
func (k *keeper) hold(ctx context.Context) error {
	return k.use(ctx, func(opened) error { return nil })
}

func (k *keeper) use(ctx context.Context, do func(opened) error) error {
	defer k.enter()()
	switch {
	case k.closed:
		return ledger.ErrClosed
	case k.may != nil && !k.may():
		return errNotElected
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

// enter lets one call at a time reach the ledger, and notes when it began.
func (k *keeper) enter() (leave func()) {
	k.mu.Lock()
	now := k.clock.Now()
	k.since.Store(&now)
	return func() {
		k.since.Store(nil)
		k.mu.Unlock()
	}
}

// hung reports whether a call takes so long that it may never return.
func (k *keeper) hung() bool {
	since := k.since.Load()
	return since != nil && k.clock.Now().Sub(*since) > hungAfter
}

// release gives the ledger up until its next use.
func (k *keeper) release(ctx context.Context) error {
	defer k.enter()()
	return k.drop(ctx)
}

// Close gives the ledger up for good. It may be called again.
func (k *keeper) Close(ctx context.Context) error {
	defer k.enter()()
	k.closed = true
	return k.drop(ctx)
}

func (k *keeper) drop(ctx context.Context) error {
	if k.held == nil {
		return nil
	}
	held := k.held
	k.held = nil
	return held.Close(ctx)
}

var _ appender.Ledger = (*keeper)(nil)
