package crashpoint

import "reflect"

// values are arguments as Wrap sees them.
func values(args ...any) (all []reflect.Value) {
	for _, a := range args {
		all = append(all, reflect.ValueOf(a))
	}
	return all
}

// lostBy is f with its answers lost.
func lostBy[F any](f F) F {
	v := reflect.ValueOf(f)
	out, _ := reflect.MakeFunc(v.Type(), func(args []reflect.Value) []reflect.Value { return lose(v.Call(args)) }).Interface().(F)
	return out
}
