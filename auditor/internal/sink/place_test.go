package sink

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/device"
)

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

const good = `{"time":"2030-01-02T03:04:05Z","type":"request","request":{}}` + "\n"

// Files are made with their mode and continued; everything else is refused with
// its reason, and nothing is written to it.
func TestPlaces(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path    string // below the allowed directory, or absolute with {outside}
		mode    os.FileMode
		prepare func(t *testing.T, dir, outside string)
		fail    string
		want    string // content after it was opened
	}{
		"new":           {path: "audit.log"},
		"new, below":    {path: "a/b/audit.log"},
		"absolute":      {path: "{dir}/audit.log"},
		"through a dot": {path: "{dir}/x/../audit.log"},
		"continued":     {path: "audit.log", prepare: put("audit.log", good), want: good},
		"torn line":     {path: "audit.log", prepare: put("audit.log", good+`{"time":"20`), want: good},
		"torn at once":  {path: "audit.log", prepare: put("audit.log", `{"ti`)},
		"empty":         {path: "audit.log", prepare: put("audit.log", "")},
		"link inside": {path: "link/audit.log", prepare: func(t *testing.T, dir, _ string) {
			t.Helper()
			must(t, os.Mkdir(filepath.Join(dir, "real"), 0o700))
			must(t, os.Symlink("real", filepath.Join(dir, "link")))
		}},
		"outside":        {path: "{outside}/audit.log", fail: "not below a directory"},
		"climbs out":     {path: "../audit.log", fail: "not below a directory"},
		"climbs over":    {path: "{dir}/../outside/audit.log", fail: "not below a directory"},
		"the directory":  {path: "{dir}", fail: "not below a directory"},
		"a neighbour":    {path: "{dir}-b/audit.log", fail: "not below a directory"},
		"link leads out": {path: "link/audit.log", prepare: link("link", ""), fail: "escapes"},
		"file leads out": {path: "audit.log", prepare: link("audit.log", "target"), fail: "escapes"},
		"own directory":  {path: "store/audit.log", fail: "Curfew's own"},
		"own, below":     {path: "store/a/b", fail: "Curfew's own"},
		"own file":       {path: "seal.key", prepare: put("seal.key", good), fail: "Curfew's own"},
		"own, not there": {path: "root-token", fail: "Curfew's own"},
		"own by a link":  {path: "l/x", prepare: func(t *testing.T, dir, _ string) { t.Helper(); must(t, os.Symlink("store", filepath.Join(dir, "l"))) }, fail: "Curfew's own"},
		"own by a link to what is not there": {path: "l", prepare: func(t *testing.T, dir, _ string) {
			t.Helper()
			must(t, os.Symlink("store/new", filepath.Join(dir, "l")))
		}, fail: "leads nowhere"},
		"somebody's log":   {path: "auth.log", prepare: put("auth.log", "Nov 22 sshd: x\n"), fail: "something else than audit lines"},
		"other JSON":       {path: "x.json", prepare: put("x.json", `{"time":"x","type":"else"}`+"\n"), fail: "something else"},
		"one long line":    {path: "x", prepare: put("x", beginning+strings.Repeat("x", 1<<20)), fail: "something else"},
		"a directory":      {path: "a", prepare: func(t *testing.T, dir, _ string) { t.Helper(); must(t, os.Mkdir(filepath.Join(dir, "a"), 0o700)) }, fail: "not a regular file"},
		"a pipe":           {path: "p", prepare: func(t *testing.T, dir, _ string) { t.Helper(); must(t, syscall.Mkfifo(filepath.Join(dir, "p"), 0o600)) }, fail: "not a regular file"},
		"below a file":     {path: "a/b", prepare: put("a", good), fail: "unable to open"},
		"executable":       {path: "a", mode: 0o640, prepare: put("a", good, 0o700), fail: "executable"},
		"executable, kept": {path: "a", prepare: put("a", good, 0o701), fail: "executable"},
		"two names": {path: "a", prepare: func(t *testing.T, dir, outside string) {
			t.Helper()
			put("a", good)(t, dir, outside)
			must(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")))
		}, fail: "hard links"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := t.TempDir()
			dir, outside := filepath.Join(base, "dir"), filepath.Join(base, "outside")
			for _, d := range []string{dir, outside, filepath.Join(dir, "store"), dir + "-b"} {
				must(t, os.Mkdir(d, 0o700))
			}
			if c.prepare != nil {
				c.prepare(t, dir, outside)
			}
			p := Places{Below: []string{dir}, Except: []string{filepath.Join(dir, "store"), filepath.Join(dir, "seal.key"), filepath.Join(dir, "root-token")}}
			path := strings.NewReplacer("{dir}", dir, "{outside}", outside).Replace(c.path)
			out, err := p.open(device.Options{Path: path, Mode: c.mode})
			if c.fail != "" {
				if err == nil || !strings.Contains(err.Error(), c.fail) || !strings.Contains(err.Error(), "unable to open") {
					t.Errorf("%v; want %q", err, c.fail)
				}
				for _, kept := range []string{outside, filepath.Join(dir, "store")} {
					if left, _ := filepath.Glob(filepath.Join(kept, "*")); len(left) > 0 {
						t.Errorf("it made %q", left)
					}
				}
				return
			}
			must(t, err)
			defer out.Close()
			if _, err := p.open(device.Options{Path: path}); err == nil || !strings.Contains(err.Error(), "another audit device") {
				t.Errorf("opened twice: %v", err)
			}
			if _, err := io.WriteString(out, good); err != nil {
				t.Fatal(err)
			}
			if where, err := out.Look(); err != nil || where != inPlace {
				t.Errorf("it is at %d, %v", where, err)
			}
			if !filepath.IsAbs(path) {
				path = filepath.Join(dir, path)
			}
			text, err := os.ReadFile(filepath.Clean(path))
			if err != nil || string(text) != c.want+good {
				t.Errorf("it holds %q, %v", text, err)
			}
		})
	}
}

// put makes a file.
func put(name, text string, mode ...os.FileMode) func(*testing.T, string, string) {
	return func(t *testing.T, dir, _ string) {
		t.Helper()
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(text), 0o600))
		for _, m := range mode {
			must(t, os.Chmod(path, m))
		}
	}
}

// link makes a link that leads outside.
func link(name, to string) func(*testing.T, string, string) {
	return func(t *testing.T, dir, outside string) {
		t.Helper()
		if to != "" {
			must(t, os.WriteFile(filepath.Join(dir, "..", to), []byte(good), 0o600))
			must(t, os.Symlink(filepath.Join(dir, "..", to), filepath.Join(dir, name)))
			return
		}
		must(t, os.Symlink(outside, filepath.Join(dir, name)))
	}
}

// The mode that was asked for counts, also for a file that is there.
func TestMode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := Places{Below: []string{dir}}
	for _, c := range []struct{ given, want os.FileMode }{{0o640, 0o640}, {0, 0o640}, {0o600, 0o600}} {
		out, err := p.open(device.Options{Path: "a", Mode: c.given})
		must(t, err)
		must(t, out.Close())
		info, err := os.Stat(filepath.Join(dir, "a"))
		must(t, err)
		if info.Mode().Perm() != c.want {
			t.Errorf("mode %o became %o, want %o", c.given, info.Mode().Perm(), c.want)
		}
	}
	if _, err := (Places{}).open(options("a")); err == nil {
		t.Error("opened where no directory is allowed")
	}
}

// Where a file is, is seen through its handle.
func TestLook(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := Places{Below: []string{dir}}
	path := filepath.Join(dir, "a")
	out, err := p.open(options("a"))
	must(t, err)
	defer out.Close()
	expect := func(want whereabouts) {
		t.Helper()
		if got, err := out.Look(); err != nil || got != want {
			t.Errorf("it is at %d, %v; want %d", got, err, want)
		}
	}
	expect(inPlace)
	must(t, os.Rename(path, path+".1"))
	expect(moved)
	must(t, os.WriteFile(path, nil, 0o600))
	expect(moved)
	must(t, os.Remove(path+".1"))
	expect(deleted)
}

// Law: a path that is taken leads to a file below an allowed directory and not
// into what is excepted, however it is written.
func TestPlacesContain(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	dir := filepath.Join(base, "allowed")
	must(t, os.MkdirAll(filepath.Join(dir, "own"), 0o700))
	must(t, os.MkdirAll(filepath.Join(dir, "a"), 0o700))
	must(t, os.Symlink("..", filepath.Join(dir, "up")))
	must(t, os.Symlink("own", filepath.Join(dir, "in")))
	must(t, os.Symlink("a", filepath.Join(dir, "side")))
	p := Places{Below: []string{dir}, Except: []string{filepath.Join(dir, "own")}}
	elements := rapid.SampledFrom([]string{"a", "..", ".", "own", "up", "in", "side", "f", "allowed", ""})
	rapid.Check(t, func(t *rapid.T) {
		path := strings.Join(rapid.SliceOfN(elements, 1, 6).Draw(t, "path"), "/")
		if rapid.Bool().Draw(t, "absolute") {
			path = dir + "/" + path
		}
		out, err := p.open(options(path))
		if err != nil {
			return
		}
		defer out.Close()
		f, ok := out.(*file)
		if !ok {
			t.Fatal("not a file")
		}
		there, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		if allowed, err := filepath.EvalSymlinks(dir); err != nil || !strings.HasPrefix(there, allowed+"/") || strings.HasPrefix(there, allowed+"/own") {
			t.Fatalf("%q leads to %s", path, there)
		}
	})
}
