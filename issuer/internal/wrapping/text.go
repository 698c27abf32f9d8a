package wrapping

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

const (
	// Mount is where the leases of wrapping tokens are; no listing shows it.
	Mount = "sys/wrapping/"

	prefix      = "hvs."
	idLen       = 24 // base62 digits
	openLen     = 66 // 393 bits
	accessorLen = 24
	keyLen      = 24

	// sealPurpose binds the keys of contents to their use.
	sealPurpose = "curfew wrapped answer v1"
)

// IsToken reports whether a text has the form of a wrapping token. Those of
// other tokens are longer.
func IsToken(text secret.Value) bool {
	return len(text.Reveal()) == len(prefix)+idLen+openLen && strings.HasPrefix(text.Reveal(), prefix)
}

func newText() secret.Value { return secret.New(prefix + lease.RandomBase62(idLen+openLen)) }

// retext is another text for the same lease.
func retext(text secret.Value) secret.Value {
	return secret.New(text.Reveal()[:len(prefix)+idLen] + lease.RandomBase62(openLen))
}

// idOf is the lease of a text that [IsToken].
func idOf(text secret.Value) lease.ID {
	return lease.ID(Mount + text.Reveal()[len(prefix):len(prefix)+idLen])
}

// errSealed says that a text does not open a content.
var errSealed = errors.New("the text does not open it")

func seal(text secret.Value, content []byte) ([]byte, error) {
	box, err := boxOf(text)
	if err != nil {
		return nil, err
	}
	return box.Seal(nil, nil, content, []byte(idOf(text))), nil //nolint:gosec // the nonce is random: the cipher makes it
}

func unseal(text secret.Value, sealed []byte) ([]byte, error) {
	box, err := boxOf(text)
	if err != nil {
		return nil, err
	}
	content, err := box.Open(nil, nil, sealed, []byte(idOf(text)))
	if err != nil {
		return nil, errSealed
	}
	return content, nil
}

// boxOf is AES-256-GCM (NIST SP 800-38D) with random nonces, under a key that is
// derived from the text by HKDF-SHA256 (RFC 5869).
func boxOf(text secret.Value) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(text.Reveal()), nil, sealPurpose, 32)
	if err != nil {
		return nil, fmt.Errorf("derive the key of a wrapped answer: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make the cipher of a wrapped answer: %w", err)
	}
	box, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("make the cipher of a wrapped answer: %w", err)
	}
	return box, nil
}
