package sink

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/curfew-project/curfew/shared/device"
)

// outlet is a file that lines are written to. Every call may fail, or be done
// and reported as failed, or hang.
type outlet interface {
	io.WriteCloser
	// Sync makes durable what was written.
	Sync() error
	// Look says where the file is by now.
	Look() (whereabouts, error)
}

// whereabouts of an open file.
type whereabouts int

const (
	inPlace whereabouts = iota // under its path
	moved                      // under another one: it was rotated
	deleted                    // under none: what was written to it is lost
)

// file is the outlet of a device. It has the lock of the file (flock), so that no
// two devices, and no two auditors on one machine, write one.
type file struct {
	root *os.Root
	name string
	f    *os.File
}

// prepare checks a file that was just opened, and takes a torn line off its end.
func (f *file) prepare(mode fs.FileMode) error {
	info, err := f.f.Stat()
	if err != nil {
		return err
	}
	switch {
	case !info.Mode().IsRegular():
		return errors.New("it is not a regular file")
	case links(info) != 1:
		// Another of its names may be anywhere.
		return errors.New("it has other names (hard links)")
	case device.Executable(info.Mode()):
		return fmt.Errorf("it is executable (mode %04o): take that away first", info.Mode().Perm())
	}
	if err := syscall.Flock(int(f.f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return errors.New("another audit device or auditor writes it")
		}
		return fmt.Errorf("lock it: %w", err)
	}
	if err := f.continued(info.Size()); err != nil {
		return err
	}
	if mode != 0 && info.Mode().Perm() != mode {
		return f.f.Chmod(mode)
	}
	return nil
}

const (
	// beginning is how every line of a device begins.
	beginning = `{"time":"`
	// longest bounds a line that is read: entries of the ledger are shorter.
	longest = 1 << 20
)

// continued makes sure that the file is empty or an audit file, so that nothing
// else is ever written to, and ends it after its last whole line: a crash or a
// full disk may have torn one, which is written again.
func (f *file) continued(size int64) error {
	if size == 0 {
		return nil
	}
	foreign := errors.New("it is there already and holds something else than audit lines")
	first, err := bufio.NewReader(io.NewSectionReader(f.f, 0, min(size, longest))).ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err != nil { // one line, which is torn
		n := min(len(first), len(beginning))
		if size >= longest || !bytes.Equal(first[:n], []byte(beginning)[:n]) {
			return foreign
		}
		return f.f.Truncate(0)
	}
	var l struct {
		Time string `json:"time"`
		Type string `json:"type"`
	}
	if json.Unmarshal(first, &l) != nil || l.Time == "" || l.Type != asked && l.Type != answered {
		return foreign
	}
	end, err := f.lastLine(size)
	if err != nil || end == size {
		return err
	}
	return f.f.Truncate(end)
}

// lastLine is where the last whole line ends.
func (f *file) lastLine(size int64) (int64, error) {
	buffer := make([]byte, 64<<10)
	for end := size; end > 0; {
		n := min(end, int64(len(buffer)))
		if _, err := f.f.ReadAt(buffer[:n], end-n); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(buffer[:n], '\n'); i >= 0 {
			return end - n + int64(i) + 1, nil
		}
		end -= n
	}
	return 0, nil
}

// Write implements [outlet].
func (f *file) Write(b []byte) (int, error) { return f.f.Write(b) }

// Sync implements [outlet].
func (f *file) Sync() error { return f.f.Sync() }

// Look implements [outlet].
func (f *file) Look() (whereabouts, error) {
	info, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	if links(info) == 0 {
		return deleted, nil
	}
	there, err := f.root.Stat(f.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return moved, nil
	case err != nil:
		return 0, err
	case !os.SameFile(info, there):
		return moved, nil
	}
	return inPlace, nil
}

// Close implements [outlet]. A child of this process may have the file, too,
// between its fork and its exec: so the lock is given back by name.
func (f *file) Close() error {
	return errors.Join(syscall.Flock(int(f.f.Fd()), syscall.LOCK_UN), f.f.Close(), f.root.Close())
}

// links is how many names a file has.
func links(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Nlink) //nolint:unconvert // narrower on other systems
	}
	return 1
}

var _ outlet = (*file)(nil)
