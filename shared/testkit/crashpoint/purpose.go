package crashpoint

import (
	"reflect"
	"slices"
	"strings"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// purposes are what a call of the store changes, each as it ends a full name.
// Calls that change nothing have none.
func purposes(args []reflect.Value) (all []string) {
	for _, a := range args {
		switch x := a.Interface().(type) {
		case []store.Transition:
			for i := range x {
				all = append(all, action(&x[i].Change))
			}
		case store.Write:
			all = append(all, written(x)...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// action is a transition's: " [Begin secret]", " [Stage]".
func action(c *lease.Change) string {
	name := reflect.TypeOf(c.Do).Name()
	if b, ok := c.Do.(lease.Begin); ok {
		name += " " + string(b.Lease.Kind)
	}
	return " [" + name + "]"
}

// written is what is done to each kind of entry.
func written(w store.Write) (all []string) {
	add := func(verb string, kind store.Kind) {
		all = append(all, " ["+strings.Join([]string{verb, string(kind)}, " ")+"]")
	}
	for _, e := range w.Puts {
		add("put", e.Kind)
	}
	for _, r := range w.Withdrawals {
		add("withdraw", r.Kind)
	}
	for _, r := range w.Deletes {
		add("delete", r.Kind)
	}
	return all
}
