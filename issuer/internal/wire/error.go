package wire

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Error is an error whose status and text a client sees. The text holds no
// secret and, for a person, says what to do next.
type Error struct {
	Status   int
	Messages []string // none: {"errors":[]}
	// RetryAfter, if set, tells the client when to come back.
	RetryAfter time.Duration
	// Cause is for the log and never shown.
	Cause error
}

// Error implements error.
func (e *Error) Error() string {
	if len(e.Messages) == 0 {
		return http.StatusText(e.Status)
	}
	return strings.Join(e.Messages, "; ")
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Body is the JSON of an error.
func (e *Error) Body() ([]byte, error) {
	messages := e.Messages
	if messages == nil {
		messages = []string{}
	}
	return encode(struct {
		Errors []string `json:"errors"`
	}{messages})
}

// Invalid is a 400: the request is wrong.
func Invalid(format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Messages: []string{fmt.Sprintf(format, args...)}}
}

// Denied is a 403 as stock servers give it for a missing or bad token.
func Denied() *Error {
	return &Error{Status: http.StatusForbidden, Messages: []string{"permission denied"}}
}

// Nothing is a 404 with no message: clients read it as "no value".
func Nothing() *Error { return &Error{Status: http.StatusNotFound} }

// UnsupportedPath is a 404: the mount is there, the path is not.
func UnsupportedPath() *Error {
	return &Error{Status: http.StatusNotFound, Messages: []string{Listed("unsupported path")}}
}

// UnsupportedOperation is a 405.
func UnsupportedOperation() *Error {
	return &Error{Status: http.StatusMethodNotAllowed, Messages: []string{Listed("unsupported operation")}}
}

// NoRoute is a 404: nothing is mounted there.
func NoRoute(path string) *Error {
	return &Error{
		Status:   http.StatusNotFound,
		Messages: []string{fmt.Sprintf("no handler for route %q. route entry not found.", path)},
	}
}

// Sealed is a 503.
func Sealed() *Error {
	return &Error{Status: http.StatusServiceUnavailable, Messages: []string{"Vault is sealed"}}
}

// Unavailable is a 503 that asks the client to come back after a second.
func Unavailable(cause error, format string, args ...any) *Error {
	return &Error{
		Status: http.StatusServiceUnavailable, Messages: []string{fmt.Sprintf(format, args...)},
		RetryAfter: time.Second, Cause: cause,
	}
}

// Listed frames a message as the one item of a list of errors, which is how
// stock servers print errors of their backends.
func Listed(message string) string { return listPrefix + message + listSuffix }

// Unlisted is the message that [Listed] framed; other text stays as it is.
func Unlisted(text string) string {
	if message, ok := strings.CutPrefix(text, listPrefix); ok {
		return strings.TrimSuffix(message, listSuffix)
	}
	return text
}

const (
	listPrefix = "1 error occurred:\n\t* "
	listSuffix = "\n\n"
)
