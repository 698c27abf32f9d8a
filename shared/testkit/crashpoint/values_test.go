package crashpoint

import (
	"reflect"
	"slices"
	"testing"
)

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

// Hits are forgotten by every process, also by one that comes by after another
// has written the first of the next ones.
func TestForgottenByAll(t *testing.T) {
	t.Parallel()
	c := Control{dir: t.TempDir()}
	one, other := &watch{dir: c.dir, hits: map[string]bool{}}, &watch{dir: c.dir, hits: map[string]bool{}}
	for range 3 {
		for _, w := range []*watch{one, other, one} {
			w.note("shared")
		}
		other.note("own")
		if hits, err := c.Hits(); err != nil || !slices.Equal(slices.Sorted(slices.Values(hits)), []string{"own", "shared", "shared"}) {
			t.Errorf("hits %q, %v", hits, err)
		}
		if err := c.Forget(); err != nil {
			t.Fatal(err)
		}
	}
}
