package policy

import (
	"encoding/json"
	"fmt"
)

// object is an object of a policy's text, the same for HCL and JSON. A value is
// a string, a [json.Number], a bool, nil, a list of values or an *object.
type object struct {
	fields []field
}

type field struct {
	name   string
	labels []string // of a block: path "secret/foo" {…}
	line   int
	column int
	value  any
}

// again is the error for a name that is in one object twice.
func (f field) again() error {
	return fmt.Errorf("The argument %q at %d:%d was already set. Each argument can only be defined once", f.name, f.line, f.column) //nolint:staticcheck // in the words of stock servers
}

// objects gives the objects of a value: it is one, or, as converters from HCL
// to JSON write it, a list of some.
func objects(value any) ([]*object, bool) {
	switch v := value.(type) {
	case *object:
		return []*object{v}, true
	case []any:
		out := make([]*object, 0, len(v))
		for _, item := range v {
			o, ok := item.(*object)
			if !ok {
				return nil, false
			}
			out = append(out, o)
		}
		return out, len(out) > 0
	}
	return nil, false
}

// scalar reports whether a value can be compared with that of a parameter.
func scalar(value any) bool {
	switch v := value.(type) {
	case nil, string, bool, json.Number:
		return true
	case []any:
		for _, item := range v {
			if !scalar(item) {
				return false
			}
		}
		return true
	}
	return false
}
