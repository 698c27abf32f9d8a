package engine

import (
	"errors"
	"time"
)

// Kind says whose fault an error is.
type Kind string

// The kinds, with the HTTP status each becomes.
const (
	Invalid              Kind = "invalid"               // 400: the request is wrong
	NotFound             Kind = "not found"             // 404: nothing there
	UnsupportedPath      Kind = "unsupported path"      // 404
	UnsupportedOperation Kind = "unsupported operation" // 405
	Refused              Kind = "refused"               // 400: the target refused; a person has to mend it
	Conflict             Kind = "conflict"              // retry: the target was busy with something else
	Unreachable          Kind = "unreachable"           // 500: the target does not answer
	Busy                 Kind = "busy"                  // 503: a queue is full (section E)
	NotYet               Kind = "not yet"               // a revocation has to wait (B1)
	Internal             Kind = "internal"              // 500: ours
)

// Error is what an engine's methods return. Message is for a person, says what
// to do next and holds no secret.
type Error struct {
	Kind    Kind
	Message string
	// After is when a retry makes sense; 0: by the caller's backoff.
	After time.Duration
	Err   error // cause, for the log; not shown to clients
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Parks reports whether a revocation that failed so needs a person (C8).
func (e *Error) Parks() bool { return e.Kind == Refused || e.Kind == Invalid || e.Kind == NotFound }

// AsError gives err as an *Error; an unknown one becomes Internal with no
// detail in its message.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Kind: Internal, Message: "internal error", Err: err}
}
