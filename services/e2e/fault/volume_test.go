//go:build e2e

package fault

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// mount is a small disk that belongs to whom a folder belongs to; without the right
// to mount the test is skipped.
func mount(t *testing.T, size, like string) *disk {
	t.Helper()
	parent, err := os.MkdirTemp("", "curfew-volume-") //nolint:usetesting // the folder above t.TempDir is closed to the user of Postgres
	must(t, err, "make a folder")
	v := &disk{dir: filepath.Join(parent, "volume")}
	must(t, errors.Join(os.Chmod(parent, 0o755), os.Mkdir(v.dir, 0o700)), "make a folder")
	if err := syscall.Mount("tmpfs", v.dir, "tmpfs", 0, "size="+size); err != nil {
		_ = os.RemoveAll(parent)
		t.Skipf("this needs a file system of its own: %v", err)
	}
	t.Cleanup(func() {
		// A failed test may leave a server there for a moment.
		must(t, errors.Join(syscall.Unmount(v.dir, syscall.MNT_DETACH), os.RemoveAll(parent)), "unmount a disk")
	})
	own(t, like, v.dir)
	must(t, os.Chmod(v.dir, 0o700), "open the disk")
	v.ballast = filepath.Join(v.dir, "ballast")
	return v
}

// own gives a file to whom another one belongs.
func own(t *testing.T, like, file string) {
	t.Helper()
	info, err := os.Stat(like)
	must(t, err, "look whose a folder is")
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		must(t, os.Chown(file, int(s.Uid), int(s.Gid)), "give a file")
	}
}

// takes moves a folder to the disk, with a link in its place; back moves it
// back. Nobody may use it meanwhile.
func (d *disk) takes(t *testing.T, dir string) (back func()) {
	t.Helper()
	inside := filepath.Join(d.dir, filepath.Base(dir))
	move := func(from, to string) {
		out, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput()
		if err = errors.Join(err, os.RemoveAll(from)); err != nil {
			t.Fatalf("move %s: %v: %s", from, err, out)
		}
	}
	move(dir, inside)
	must(t, os.Symlink(inside, dir), "link the folder")
	return func() {
		must(t, os.Remove(dir), "remove the link")
		move(inside, dir)
	}
}
