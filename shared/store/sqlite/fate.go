package sqlite

import (
	"errors"
	"fmt"

	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/curfew-project/curfew/shared/store"
)

// fate is what an error of the database means for the process.
type fate int

const (
	// narrow: something in the batch is at fault, or too large for what is left
	// of the disk; the batch is halved.
	narrow fate = iota
	// refuse: the database takes no writes now (another program, such as a
	// backup, holds it); the whole batch is refused and nothing was done.
	refuse
	// stop: what is on disk is not known any more, or is damaged. An fsync
	// that failed must not be tried again: the kernel may have dropped the
	// pages it could not write, and the second one would succeed (A6).
	stop
)

// fateOf is the one place where errors of the database are judged.
func fateOf(err error) fate {
	e, ok := errors.AsType[*driver.Error](err)
	if !ok {
		return narrow
	}
	switch e.Code() & 0xff { // the low byte is the primary result code
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY:
		return stop
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM:
		return refuse
	}
	return narrow
}

// unavailable marks an error of a database that takes no writes now, for
// callers: its own judgment (fateOf) is the same with and without the mark.
func unavailable(err error) error {
	if err == nil || errors.Is(err, store.ErrUnknown) {
		return err
	}
	full := false
	if e, ok := errors.AsType[*driver.Error](err); ok {
		full = e.Code()&0xff == sqlite3.SQLITE_FULL
	}
	if full || fateOf(err) == refuse {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return err
}
