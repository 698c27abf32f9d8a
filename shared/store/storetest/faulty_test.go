package storetest_test

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// A wrapper without a plan is a store.
func TestFaultyWithoutFaults(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(_ *testing.T, c clock.Clock) store.Store { return storetest.NewFaulty(storetest.NewFake(c)) })
}

// Law: the call that the plan names fails, before it was made or after, and no
// other.
func TestFaultyFailsBothWays(t *testing.T) {
	t.Parallel()
	for _, done := range []bool{false, true} {
		inner := storetest.NewFake(storetest.NewClock())
		s := storetest.NewFaulty(inner, storetest.Fault{Method: "Apply", Nth: 2, Done: done})
		for n := 1; n <= 3; n++ {
			id := lease.NewID("a")
			out := s.Apply(t.Context(), store.Transition{Change: lease.Change{ID: id, Do: lease.Begin{Lease: lease.Lease{Kind: lease.Secret}}}})
			_, err := inner.Get(t.Context(), id)
			if there := err == nil; there != (n != 2 || done) {
				t.Errorf("call %d, done %v: it is there: %v", n, done, there)
			}
			if failed := errors.Is(out[0].Err, storetest.ErrInjected); failed != (n == 2) {
				t.Errorf("call %d: %v", n, out[0].Err)
			}
			if unknown := errors.Is(out[0].Err, store.ErrUnknown); unknown != (n == 2 && done) {
				t.Errorf("call %d, done %v: %v", n, done, out[0].Err)
			}
		}
		if s.Calls("Apply") != 3 {
			t.Errorf("%d calls were counted", s.Calls("Apply"))
		}
	}
}

// Law: every method that can fail can be made to.
func TestFaultyCoversEveryMethod(t *testing.T) {
	t.Parallel()
	contract := reflect.TypeFor[store.Store]()
	for i := range contract.NumMethod() {
		name := contract.Method(i).Name
		if name == "Close" {
			continue
		}
		s := storetest.NewFaulty(storetest.NewFake(storetest.NewClock()), storetest.Fault{Method: name})
		m := reflect.ValueOf(s).MethodByName(name)
		args := []reflect.Value{reflect.ValueOf(context.Background())}
		fixed := m.Type().NumIn()
		if m.Type().IsVariadic() {
			fixed--
		}
		for a := 1; a < fixed; a++ {
			args = append(args, reflect.Zero(m.Type().In(a)))
		}
		if name == "Apply" {
			args = append(args, reflect.ValueOf(store.Transition{}))
		}
		out := m.Call(args)
		last := out[len(out)-1].Interface()
		if all, ok := last.([]store.Outcome); ok {
			last = all[0].Err
		}
		if err, _ := last.(error); !errors.Is(err, storetest.ErrInjected) {
			t.Errorf("%s: %v, want the injected fault", name, last)
		}
	}
}

// Law: the model finds a store that answers otherwise.
func TestModelAgreesWithItself(t *testing.T) {
	t.Parallel()
	storetest.RunModel(t, func(_ *testing.T, c clock.Clock) store.Store { return storetest.NewFake(c) })
}
