package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

// KeySize is the length of a master key and of derived keys in bytes.
const KeySize = 32

const (
	format    = 1
	idSize    = 8
	nonceSize = 12
	header    = 1 + idSize + nonceSize

	sealPurpose = "curfew seal v1"
	keyPurpose  = "curfew derive v1: "
)

// The errors of [Keyring.Open].
var (
	ErrUnknownKey = errors.New("sealed under a key that is not in the ring")
	ErrTampered   = errors.New("sealed text does not open")
)

// Keyring holds master keys. It may be used by many goroutines.
type Keyring struct {
	current [idSize]byte
	keys    map[[idSize]byte]key
}

type key struct {
	master []byte
	aead   cipher.AEAD
}

// New returns a ring of master keys of [KeySize] bytes; the first one seals.
func New(masters ...[]byte) (*Keyring, error) {
	if len(masters) == 0 {
		return nil, errors.New("make key ring: no key")
	}
	r := &Keyring{keys: make(map[[idSize]byte]key, len(masters))}
	for i, m := range masters {
		if len(m) != KeySize {
			return nil, fmt.Errorf("make key ring: key %d has %d bytes, want %d", i+1, len(m), KeySize)
		}
		id := keyID(m)
		k, err := newKey(m)
		if err != nil {
			return nil, fmt.Errorf("make key ring: %w", err)
		}
		r.keys[id] = k
		if i == 0 {
			r.current = id
		}
	}
	return r, nil
}

// keyID names a key without telling it.
func keyID(master []byte) (id [idSize]byte) {
	sum := sha256.Sum256(append([]byte("curfew key id v1: "), master...))
	copy(id[:], sum[:])
	return id
}

func newKey(master []byte) (key, error) {
	sub, err := hkdf.Key(sha256.New, master, nil, sealPurpose, KeySize)
	if err != nil {
		return key{}, err
	}
	block, err := aes.NewCipher(sub)
	if err != nil {
		return key{}, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return key{}, err
	}
	return key{master: append([]byte(nil), master...), aead: aead}, nil
}

// Seal encrypts plaintext for a context, such as "connection/<id>/password".
// The envelope is format (1 byte), key id (8), nonce (12), ciphertext and tag.
func (r *Keyring) Seal(plaintext []byte, context string) ([]byte, error) {
	out := make([]byte, header, header+len(plaintext)+16)
	out[0] = format
	copy(out[1:], r.current[:])
	nonce := out[1+idSize : header]
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return r.keys[r.current].aead.Seal(out, nonce, plaintext, additional(out[:1+idSize], context)), nil
}

// Open decrypts what Seal made for the same context.
func (r *Keyring) Open(sealed []byte, context string) ([]byte, error) {
	if len(sealed) < header || sealed[0] != format {
		return nil, ErrTampered
	}
	k, ok := r.keys[[idSize]byte(sealed[1:1+idSize])]
	if !ok {
		return nil, ErrUnknownKey
	}
	plain, err := k.aead.Open(nil, sealed[1+idSize:header], sealed[header:], additional(sealed[:1+idSize], context))
	if err != nil {
		return nil, ErrTampered
	}
	return plain, nil
}

// additional binds the envelope's head and the context.
func additional(head []byte, context string) []byte {
	return append(append([]byte(nil), head...), context...)
}

// Derive returns the 32-byte key of a purpose, the same for the life of the
// first master key. Keys of different purposes tell nothing of each other.
func (r *Keyring) Derive(purpose string) ([]byte, error) {
	k, err := hkdf.Key(sha256.New, r.keys[r.current].master, nil, keyPurpose+purpose, KeySize)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return k, nil
}

// String hides the keys.
func (r *Keyring) String() string { return "[key ring]" }

// GoString hides the keys.
func (r *Keyring) GoString() string { return "[key ring]" }
