package secret

import (
	"crypto/subtle"
	"fmt"
	"io"
	"unique"
)

// Redacted is what every printer and encoder sees of a [Value].
const Redacted = "[redacted]"

// Value is a secret text. The zero value is the empty secret.
type Value struct {
	// A handle, since fmt calls no method of a value in an unexported field:
	// there it prints what it finds, and of a handle that is an address. Handles
	// of the same text are equal, so == works.
	text unique.Handle[string]
}

// New wraps text.
func New(text string) Value {
	if text == "" {
		return Value{}
	}
	return Value{text: unique.Make(text)}
}

// Reveal returns the content. Each caller is a place where the secret leaves.
func (v Value) Reveal() string {
	if v.Empty() {
		return ""
	}
	return v.text.Value()
}

// Empty reports whether there is no content.
func (v Value) Empty() bool { return v == Value{} }

// Equal compares in time that depends on the lengths only.
func (v Value) Equal(w Value) bool {
	return subtle.ConstantTimeCompare([]byte(v.Reveal()), []byte(w.Reveal())) == 1
}

// String implements [fmt.Stringer].
func (v Value) String() string { return Redacted }

// GoString implements [fmt.GoStringer].
func (v Value) GoString() string { return Redacted }

// Format implements [fmt.Formatter] for every verb, %x and %q included.
func (v Value) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, Redacted) }

// MarshalText implements [encoding.TextMarshaler]; JSON uses it too.
func (v Value) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

var (
	_ fmt.Formatter  = Value{}
	_ fmt.GoStringer = Value{}
	_ fmt.Stringer   = Value{}
)
