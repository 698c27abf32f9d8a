package device

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"path"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

// keySize is the length of a device's key, in bytes.
const keySize = 32

// NewKey makes the key of a device.
func NewKey() []byte {
	key := make([]byte, keySize)
	rand.Read(key) // never fails: it ends the process
	return key
}

// Hasher writes values of one device so that they can be compared and not read.
type Hasher struct{ key secret.Value }

// NewHasher returns the hasher of a device's key.
func NewHasher(key []byte) Hasher { return Hasher{secret.New(string(key))} }

// hashPrefix says what follows it, as on stock servers.
const hashPrefix = "hmac-sha256:"

// Hash is the HMAC-SHA256 (RFC 2104) of text under the device's key, in hex,
// with its name in front. The empty text stays empty: it hides nothing.
func (h Hasher) Hash(text string) string {
	if text == "" {
		return ""
	}
	mac := hmac.New(sha256.New, []byte(h.key.Reveal()))
	mac.Write([]byte(text))
	return hashPrefix + hex.EncodeToString(mac.Sum(nil))
}

// TokenMark is what stands for the text of a token, by the id of its lease: the
// keyed hash at the end of the id. It is hashed again before it gets into a line.
func TokenMark(id lease.ID) string {
	if id == "" {
		return ""
	}
	return path.Base(string(id))
}
