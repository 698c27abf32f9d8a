package enginetest

import (
	"context"
	"slices"

	"github.com/curfew-project/curfew/shared/engine"
)

// Method names a method of a [Fake].
type Method string

// The methods.
const (
	MethodHandle    Method = "handle"
	MethodPlan      Method = "plan"
	MethodDisabled  Method = "disabled"
	MethodCreate    Method = "create"
	MethodRenew     Method = "renew"
	MethodDisable   Method = "disable"
	MethodRemove    Method = "remove"
	MethodTargets   Method = "targets"
	MethodAccounts  Method = "accounts"
	MethodStrayPlan Method = "stray plan"
	MethodGhosts    Method = "ghosts"
	MethodMark      Method = "mark"
	MethodSetMark   Method = "set mark"
)

// Fault makes a method of a [Fake] fail or wait.
type Fault struct {
	Method Method
	// Account restricts the fault to one account; empty: every call.
	Account string
	// After: the effect happens and its answer is lost. Otherwise nothing
	// happens.
	After bool
	// Err is the answer; by default that the target does not answer. A fault
	// with Wait and without Err only waits.
	Err *engine.Error
	// Times is how often it strikes; 0: until healed.
	Times int
	// Wait, if set, holds the call until the channel is closed or the call's
	// context ends: before the effect, or after it where After is set.
	Wait <-chan struct{}
	// Reached, if set, receives when a call has come as far as Wait; it is not
	// waited for.
	Reached chan<- struct{}
}

// Inject adds a fault and returns what takes it away again. Of several that
// match a call the first counts.
func (f *Fake) Inject(fault Fault) (heal func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &fault
	f.faults = append(f.faults, p)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.faults = slices.DeleteFunc(f.faults, func(q *Fault) bool { return p == q })
	}
}

// Calls counts how often a method was called: leases, not batches.
func (f *Fake) Calls(m Method) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[m]
}

// strike takes the fault that meets a call, or nil.
func (f *Fake) strike(m Method, account string) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[m]++
	for n, fault := range f.faults {
		if fault.Method != m || fault.Account != "" && fault.Account != account {
			continue
		}
		hit := *fault
		if fault.Times == 1 {
			f.faults = slices.Delete(f.faults, n, n+1)
		} else if fault.Times > 1 {
			fault.Times--
		}
		return &hit
	}
	return nil
}

// call runs one effect under the lock, with what was injected around it.
func (f *Fake) call(ctx context.Context, m Method, account string, effect func() error) error {
	fault := f.strike(m, account)
	locked := func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		return effect()
	}
	if fault == nil {
		return locked()
	}
	if fault.After {
		if err := locked(); err != nil {
			return err
		}
		return fault.answer(ctx)
	}
	if err := fault.answer(ctx); err != nil {
		return err
	}
	return locked()
}

func (x *Fault) answer(ctx context.Context) error {
	if x.Wait != nil {
		if x.Reached != nil {
			select {
			case x.Reached <- struct{}{}:
			default:
			}
		}
		select {
		case <-x.Wait:
		case <-ctx.Done():
			return &engine.Error{Kind: engine.Unreachable, Message: "the target did not answer in time", Err: ctx.Err()}
		}
	}
	switch {
	case x.Err != nil:
		return x.Err
	case x.Wait != nil:
		return nil
	}
	return &engine.Error{Kind: engine.Unreachable, Message: "the target does not answer"}
}
