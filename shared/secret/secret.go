package secret

import (
	"crypto/subtle"
	"fmt"
	"io"
)

// Redacted is what every printer and encoder sees of a [Value].
const Redacted = "[redacted]"

// Value is a secret text. The zero value is the empty secret.
type Value struct{ text string }

// New wraps text.
func New(text string) Value { return Value{text: text} }

// Reveal returns the content. Each caller is a place where the secret leaves.
func (v Value) Reveal() string { return v.text }

// Empty reports whether there is no content.
func (v Value) Empty() bool { return v.text == "" }

// Equal compares in time that depends on the lengths only.
func (v Value) Equal(w Value) bool {
	return subtle.ConstantTimeCompare([]byte(v.text), []byte(w.text)) == 1
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
