//go:build e2e

package fault

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// disk is a file system of its own.
type disk struct{ dir, ballast string }

// diskSize is that of a small disk, beyond what is on it already: with room for
// all that a fast machine leaves behind while it is full.
const diskSize = 256 << 20

// smallDisk puts the files of a folder, which nobody uses, on a disk with little
// room.
func smallDisk(t *testing.T, dir string) *disk {
	t.Helper()
	keep := filepath.Join(t.TempDir(), "before")
	var size int64
	must(t, filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil {
			size += info.Size()
		}
		return err
	}), "measure a folder")
	must(t, os.CopyFS(keep, os.DirFS(dir)), "copy a folder")
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprint("size=", size+diskSize)); err != nil {
		t.Skipf("this needs a file system of its own: %v", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH), "unmount a disk") })
	must(t, os.CopyFS(dir, os.DirFS(keep)), "copy what was there")
	return &disk{dir, filepath.Join(dir, "of-somebody-else")}
}

// fill takes all the room that is left; also what was given back since.
func (d *disk) fill(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(d.ballast, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(t, err, "fill a disk")
	for err == nil {
		_, err = f.Write(make([]byte, 1<<20))
	}
	if must(t, f.Close(), "fill a disk"); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("fill a disk: %v", err)
	}
}

// isFull fails where the disk takes something.
func (d *disk) isFull() error {
	file := filepath.Join(d.dir, "more")
	const much = 64 << 10
	if err := os.WriteFile(file, make([]byte, much), 0o600); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("the disk is not full: %w", err)
	}
	return os.Remove(file)
}

// clear makes room.
func (d *disk) clear(t *testing.T) {
	t.Helper()
	must(t, os.Remove(d.ballast), "make room on a disk")
}
