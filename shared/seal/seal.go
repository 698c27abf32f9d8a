package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// The errors; see the package comment.
var (
	ErrTampered   = errors.New("sealed value was changed or belongs elsewhere")
	ErrUnknownKey = errors.New("sealed with a key that is not in the key file")
	ErrKeyFile    = errors.New("key file cannot be used")
)

const (
	// KeySize is the length of master keys and of derived ones, in bytes.
	KeySize = 32

	format     = 1
	keyIDSize  = 8
	headerSize = 1 + keyIDSize
	sealing    = "seal" // purpose of the key that seals
	keyIDLabel = "curfew master key id\x00"
	infoPrefix = "curfew/v1/"
)

type keyID [keyIDSize]byte

func (id keyID) String() string { return hex.EncodeToString(id[:]) }

// master is one master key with what was derived from it once.
type master struct {
	id   keyID
	key  []byte
	aead cipher.AEAD
}

func newMaster(key []byte) (*master, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("master key has %d bytes, want %d", len(key), KeySize)
	}
	m := &master{key: append([]byte(nil), key...)}
	sum := sha256.Sum256(append([]byte(keyIDLabel), key...))
	copy(m.id[:], sum[:])
	sub, err := m.derive(sealing)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(sub)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	if m.aead, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return m, nil
}

func (m *master) derive(purpose string) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, m.key, nil, infoPrefix+purpose, KeySize)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return key, nil
}

func (m *master) header() []byte { return append([]byte{format}, m.id[:]...) }

// additional is what is authenticated but not encrypted. The header has a
// fixed length, so no two pairs give the same bytes.
func additional(header []byte, context string) []byte {
	return append(append([]byte(nil), header...), context...)
}

// Keyring seals and opens. It is safe for concurrent use.
type Keyring struct {
	current *master
	byID    map[keyID]*master
	order   []*master // current first
}

// New returns a keyring whose current key seals; older ones only open.
func New(current []byte, older ...[]byte) (*Keyring, error) {
	k := &Keyring{byID: map[keyID]*master{}}
	for _, key := range append([][]byte{current}, older...) {
		m, err := newMaster(key)
		if err != nil {
			return nil, fmt.Errorf("make keyring: %w", err)
		}
		if k.byID[m.id] != nil {
			return nil, fmt.Errorf("make keyring: key %s is there twice", m.id)
		}
		k.byID[m.id], k.order = m, append(k.order, m)
	}
	k.current = k.order[0]
	return k, nil
}

// KeyID names the key that seals, in hex. It tells nothing about the key.
func (k *Keyring) KeyID() string { return k.current.id.String() }

// Seal encrypts plaintext for a context with the current key.
func (k *Keyring) Seal(context string, plaintext []byte) []byte {
	header := k.current.header()
	//nolint:gosec // no nonce is given: the cipher draws a random one and puts it first
	return k.current.aead.Seal(header, nil, plaintext, additional(header, context))
}

// Open is the inverse of [Keyring.Seal] for the same context.
func (k *Keyring) Open(context string, sealed []byte) ([]byte, error) {
	if len(sealed) < headerSize || sealed[0] != format {
		return nil, fmt.Errorf("open %s: %w", context, ErrTampered)
	}
	header, box := sealed[:headerSize], sealed[headerSize:]
	m, ok := k.byID[keyID(header[1:])]
	if !ok {
		return nil, fmt.Errorf("open %s: %w: %x", context, ErrUnknownKey, header[1:])
	}
	plaintext, err := m.aead.Open(nil, nil, box, additional(header, context))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", context, ErrTampered)
	}
	return plaintext, nil
}

// Current reports whether sealed was sealed with the current key; what was not
// has to be sealed again before its key is dropped.
func (k *Keyring) Current(sealed []byte) bool {
	return len(sealed) >= headerSize && sealed[0] == format && keyID(sealed[1:headerSize]) == k.current.id
}

// Derive returns a key of [KeySize] bytes for one purpose, from the current
// master key: it changes when that does. What must outlive the change is looked
// for under each of [Keyring.DeriveEach].
func (k *Keyring) Derive(purpose string) []byte { return k.DeriveEach(purpose)[0] }

// DeriveEach returns the key for a purpose from each master key, the current
// one first. It panics for [Keyring.Seal]'s own purpose: that would be a way to
// the key that seals.
func (k *Keyring) DeriveEach(purpose string) [][]byte {
	if purpose == sealing {
		panic("seal: the purpose of sealing is reserved")
	}
	keys := make([][]byte, len(k.order))
	for i, m := range k.order {
		key, err := m.derive(purpose)
		if err != nil {
			panic(fmt.Sprintf("seal: %v", err)) // only for lengths that KeySize is not
		}
		keys[i] = key
	}
	return keys
}

// String says which key seals, and shows none.
func (k *Keyring) String() string { return "keyring " + k.KeyID() }

// GoString implements [fmt.GoStringer].
func (k *Keyring) GoString() string { return k.String() }

// Format implements [fmt.Formatter] for every verb.
func (k *Keyring) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, k.String()) }

var _ fmt.Formatter = (*Keyring)(nil)
