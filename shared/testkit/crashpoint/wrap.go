package crashpoint

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
)

// Wrap is the function f, at a point. It is evaluated at each call.
func Wrap[F any](name string, f F) F {
	w := here()
	if w == nil {
		return f
	}
	v := reflect.ValueOf(f)
	through := func(args []reflect.Value) []reflect.Value {
		call := v.Call
		if v.Type().IsVariadic() {
			call = v.CallSlice
		}
		switch w.meet(name, args) {
		case Before:
			kill()
		case After:
			call(args)
			kill()
		case Lost:
			return lose(call(args))
		}
		return call(args)
	}
	out, _ := reflect.MakeFunc(v.Type(), through).Interface().(F) // of that very type
	return out
}

// kill ends this process as a power cut would, and never returns.
func kill() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // to oneself, it cannot fail
	select {}
}

// watch is this process at its points.
type watch struct {
	dir   string
	mu    sync.Mutex
	hits  map[string]bool
	begun string // what begunFile held when hits was begun
}

// here is nil where there is no folder of plans. A process has one.
//
//nolint:gochecknoglobals // calls in all packages meet in it, and nothing of it is in a program of ours
var here = sync.OnceValue(func() *watch {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	dir := filepath.Join(filepath.Dir(self), Folder)
	if _, err := os.Stat(dir); err != nil {
		return nil
	}
	return &watch{dir: dir, hits: map[string]bool{}}
})

// meet says what happens at a point now; nothing: "".
func (w *watch) meet(name string, args []reflect.Value) Mode {
	w.mu.Lock()
	defer w.mu.Unlock()
	purposes := purposes(args)
	if len(purposes) == 0 {
		purposes = []string{""}
	}
	for _, p := range purposes {
		full := name + p
		w.note(full)
		if mode := w.take(full, name); mode != "" {
			return mode
		}
	}
	return ""
}

// note writes a hit down where this process has not done so since the hits were
// forgotten. (Whether the file is there would not tell: another process may have
// begun the next one.)
func (w *watch) note(full string) {
	if now, err := os.ReadFile(filepath.Join(w.dir, begunFile)); err == nil && string(now) != w.begun {
		clear(w.hits)
		w.begun = string(now)
	}
	if w.hits[full] {
		return
	}
	path := filepath.Join(w.dir, hitsFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return // then it counts as never hit
	}
	if _, err := f.WriteString(full + "\n"); err == nil {
		w.hits[full] = true
	}
	_ = f.Close() // it is only appended to
}

// take takes a plan, where there is one for this point and nobody else was
// faster.
func (w *watch) take(full, name string) Mode {
	all, err := filepath.Glob(filepath.Join(w.dir, planned+"*"))
	if err != nil {
		return ""
	}
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // somebody else was faster
		}
		var p Plan
		if err := json.Unmarshal(text, &p); err != nil || p.Point != full && p.Point != name {
			continue
		}
		_, number, _ := strings.Cut(filepath.Base(path), planned)
		if err := os.Rename(path, filepath.Join(w.dir, fmt.Sprint(fired, number, ".", os.Getpid()))); err == nil {
			return p.Mode
		}
	}
	return ""
}
