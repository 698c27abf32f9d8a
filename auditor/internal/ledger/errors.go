package ledger

import (
	"errors"
	"fmt"
)

var (
	// ErrLocked says that another process (or another Ledger of this one)
	// appends to the directory.
	ErrLocked = errors.New("ledger is locked")
	// ErrFenced says that this Ledger has lost its lock: the lock file was
	// replaced or carries a higher fencing number. Nothing more is written.
	ErrFenced = errors.New("ledger lock was lost")
	// ErrClosed is the answer to Append after Close.
	ErrClosed = errors.New("ledger is closed")
	// ErrBroken says that an earlier write to the segment failed. What is on
	// disk is decided by opening the ledger anew; an fsync is not retried.
	ErrBroken = errors.New("segment is broken by a failed write")
	// ErrNoSegment says that the ledger has no segment of that epoch.
	ErrNoSegment = errors.New("no such segment")
	// ErrEntryTooLarge says that an entry exceeds MaxEntrySize.
	ErrEntryTooLarge = errors.New("entry is too large")
	// ErrDamaged is matched by every *DamagedError.
	ErrDamaged = errors.New("ledger is damaged")
)

// GapError is the error of an Append whose first entry is not the next one (D5):
// the caller fetches what is missing and appends from Want on.
type GapError struct {
	Epoch int64
	Want  int64 // the number of the next entry
	Got   int64 // the number that was offered first
}

// Error implements error.
func (e *GapError) Error() string {
	return fmt.Sprintf("append to epoch %d: entry %d offered, want %d next", e.Epoch, e.Got, e.Want)
}

// Damage is one place where the ledger is not what was signed.
type Damage struct {
	// Epoch is the segment; 0 when the damage concerns none.
	Epoch int64
	// First and Last are the numbers of the entries concerned, both
	// inclusive; 0 when the damage concerns no entry.
	First, Last int64
	// Path is the file, relative to the ledger's directory.
	Path string
	// Reason says what is wrong there, for a person.
	Reason string
}

// String is one line: path, place and reason.
func (d Damage) String() string {
	place := ""
	switch {
	case d.Epoch == 0:
	case d.First == 0:
		place = fmt.Sprintf(" (epoch %d)", d.Epoch)
	case d.First == d.Last:
		place = fmt.Sprintf(" (epoch %d, entry %d)", d.Epoch, d.First)
	default:
		place = fmt.Sprintf(" (epoch %d, entries %d to %d)", d.Epoch, d.First, d.Last)
	}
	return d.Path + place + ": " + d.Reason
}

// DamagedError reports damage that stands in the way of what was asked. A
// person looks at it with Verify, keeps the directory as evidence and moves it
// away; the auditor then fetches the events anew from number 1.
type DamagedError struct {
	Damages []Damage
	// Omitted counts further damages that are not listed.
	Omitted int
}

// Error implements error.
func (e *DamagedError) Error() string {
	more := ""
	if n := len(e.Damages) - 1 + e.Omitted; n > 0 {
		more = fmt.Sprintf(" (and %d more)", n)
	}
	return ErrDamaged.Error() + ": " + e.Damages[0].String() + more
}

// Is makes every DamagedError match ErrDamaged.
func (e *DamagedError) Is(target error) bool { return target == ErrDamaged }

func damaged(d Damage) error { return &DamagedError{Damages: []Damage{d}} }
