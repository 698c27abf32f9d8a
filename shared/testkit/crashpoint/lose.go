package crashpoint

import (
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/store"
)

// ErrLost is what a caller gets whose answer was lost. It is also
// [store.ErrUnknown] and a connection that broke off, as each side knows it.
var ErrLost = fmt.Errorf("the answer was lost: %w: %w", store.ErrUnknown, io.ErrUnexpectedEOF)

// lose turns results into those of a call that failed.
func lose(results []reflect.Value) []reflect.Value {
	out := make([]reflect.Value, len(results))
	for i, r := range results {
		out[i] = failed(r)
	}
	return out
}

var failure = reflect.TypeFor[error]()

// failed is the zero value; an error is ErrLost; of a list, each element fails.
func failed(r reflect.Value) reflect.Value {
	t := r.Type()
	switch {
	case t == failure:
		return wrapped(ErrLost)
	case t.Kind() == reflect.Slice && t.Elem() == failure:
		list := reflect.MakeSlice(t, r.Len(), r.Len())
		for i := range r.Len() {
			list.Index(i).Set(wrapped(target()))
		}
		return list
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		if f, ok := t.Elem().FieldByName("Err"); ok && f.Type == failure {
			list := reflect.MakeSlice(t, r.Len(), r.Len())
			for i := range r.Len() {
				err := ErrLost
				if t.Elem() != reflect.TypeFor[store.Outcome]() {
					err = target()
				}
				list.Index(i).FieldByName("Err").Set(wrapped(err))
			}
			return list
		}
	}
	return reflect.Zero(t)
}

// target is what an engine says whose target does not answer.
func target() error {
	return &engine.Error{Kind: engine.Unreachable, Message: "the answer was lost", Err: errors.Unwrap(ErrLost)}
}

func wrapped(err error) reflect.Value {
	v := reflect.New(failure).Elem()
	v.Set(reflect.ValueOf(err))
	return v
}
