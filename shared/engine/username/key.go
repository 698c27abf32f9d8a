package username

import (
	"fmt"
	"io"
	"strings"
)

// MinSecret is the fewest bytes that a naming key may have: the size of the
// hash, as RFC 2104 section 3 asks for.
const MinSecret = 32

// Key is a naming key. Its id is one character of the names made under it, so
// that they are recognised when another key has become the current one.
type Key struct {
	// ID is one of a-z and 2-7.
	ID byte
	// Secret has at least [MinSecret] random bytes.
	Secret []byte `json:"-"`
}

// Format prints the id and hides the secret, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "naming key "+fmt.Sprintf("%q", k.ID)) // a State keeps its own errors
}

func (k Key) validate() error {
	if !strings.ContainsRune(alphabet, rune(k.ID)) {
		return fmt.Errorf("the naming key id %q is not one of a-z and 2-7", k.ID)
	}
	if len(k.Secret) < MinSecret {
		return fmt.Errorf("naming key %q has a secret of %d bytes, at least %d are needed",
			k.ID, len(k.Secret), MinSecret)
	}
	return nil
}
