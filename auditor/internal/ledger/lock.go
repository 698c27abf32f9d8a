package ledger

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// lock is the right to append. The kernel ends it with the process (flock).
// Its fencing number (D5) is in every checkpoint that was signed under it; the
// number is one more than any that manifest or checkpoints show, so losing the
// lock file does not lower it.
type lock struct {
	path    string
	file    *os.File
	content string
	fence   uint64
}

// acquireLock takes the directory's lock or fails with ErrLocked at once.
func acquireLock(dir string) (*lock, error) {
	path := filepath.Join(dir, lockFileName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, secretMode) //nolint:gosec // the configured ledger
	if err != nil {
		return nil, err
	}
	l := &lock{path: path, file: f}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := l.read() // only for the message
		err = lockError(dir, holder, err)
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

func lockError(dir, holder string, err error) error {
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("lock %s: %w", dir, err)
	}
	holder = strings.Join(strings.Fields(holder), " ")
	return fmt.Errorf("%w: another appender has %s (%s); stop it, or run Verify and reads, which need no lock", ErrLocked, dir, holder)
}

func (l *lock) read() (string, error) {
	raw, err := io.ReadAll(io.NewSectionReader(l.file, 0, 1<<10))
	return string(raw), err
}

// stamp writes the fencing number under which this process signs.
func (l *lock) stamp(fence uint64) error {
	l.fence = fence
	l.content = fmt.Sprintf("fence %d\npid %d\n", fence, os.Getpid())
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	if _, err := l.file.WriteAt([]byte(l.content), 0); err != nil {
		return err
	}
	return l.file.Sync()
}

// check fails with ErrFenced once the lock file at the path is no longer the
// one that is held, or was stamped by someone else: a removed file, or a file
// system whose locks do not hold between machines.
func (l *lock) check() error {
	held, err := l.file.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFenced, err)
	}
	there, err := os.Stat(l.path) //nolint:gosec // within the configured ledger
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFenced, err)
	}
	if !os.SameFile(held, there) {
		return fmt.Errorf("%w: %s was replaced", ErrFenced, l.path)
	}
	content, err := l.read()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFenced, err)
	}
	if content != l.content {
		return fmt.Errorf("%w: %s was stamped by another appender", ErrFenced, l.path)
	}
	return nil
}

// release gives the lock back, also where a child of this process has its file,
// between its fork and its exec.
func (l *lock) release() error {
	return errors.Join(syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN), l.file.Close())
}
