package storetest

import (
	"context"
	"testing"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/store"
)

// T is what the laws need of a test; *[testing.T] has it. The suite is tested
// with one that only takes notes.
type T interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// law is one sentence of the contract, named by its rule.
type law struct {
	name  string
	check func(T, *subject)
}

// laws are all of them.
func laws() []law {
	var all []law
	for _, part := range [][]law{
		changeLaws(), guardLaws(), raceLaws(), findLaws(), dueLaws(), entryLaws(), outboxLaws(), lockLaws(),
		recoveryLaws(), epochLaws(), quotaLaws(), tokenLaws(),
	} {
		all = append(all, part...)
	}
	return all
}

// Run states the laws of package store. open makes an empty store that goes by
// c and closes it when the test ends.
func Run(t *testing.T, open func(t *testing.T, c clock.Clock) store.Store) {
	t.Helper()
	for _, l := range laws() {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			c := NewClock()
			l.check(t, &subject{Store: open(t, c), clock: c})
		})
	}
}
