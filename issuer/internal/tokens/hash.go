package tokens

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math/big"
	"sync"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

// keyPurpose binds the key of hashes to its use; a change of it orphans every
// token.
const keyPurpose = "curfew token hash v1"

// Keys derives keys from the seal.
type Keys interface {
	// Derive returns the 32 byte key of a purpose, from the current master key.
	// It fails while the seal is closed.
	Derive(purpose string) ([]byte, error)
}

// EachKey is the optional ability of [Keys] to derive from former master keys
// too: without it a change of the master key ends every token.
type EachKey interface {
	// DeriveEach returns the key from each master key, the current one first.
	DeriveEach(purpose string) ([][]byte, error)
}

// mark is what the store has of a token's text.
type mark struct {
	key string // "h" and a keyed hash: the end of the lease's id
	by  *hasher
}

func (m mark) id(path string) lease.ID { return lease.ID(path + "/" + m.key) }

// accessor follows from the hash, for a new token.
func (m mark) accessor() string { return base62(m.by.sum("accessor of " + m.key[1:])) }

// marks are the keyed hashes of a token, under the current key first.
// Comparing texts is left to the store's look-up of a hash: without the key
// nobody can choose what is compared.
func (g *Registry) marks(text secret.Value) ([]mark, error) {
	hashers, err := g.hashers()
	if err != nil {
		return nil, fmt.Errorf("derive the key of token hashes: %w", err)
	}
	out := make([]mark, len(hashers))
	for i, h := range hashers {
		out[i] = mark{key: "h" + hex.EncodeToString(h.sum(text.Reveal())), by: h}
	}
	return out, nil
}

// hasher makes HMACs of one key; the states that it begins them with are kept.
type hasher struct{ pool sync.Pool }

func newHasher(key []byte) *hasher {
	return &hasher{pool: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

func (h *hasher) sum(text string) []byte {
	mac, _ := h.pool.Get().(hash.Hash)
	defer h.pool.Put(mac)
	mac.Reset()
	mac.Write([]byte(text))
	return mac.Sum(make([]byte, 0, sha256.Size))
}

// base62 are the last digits of a hash, as accessors are written: 143 of its 256
// bits, so that no digit is more likely than another by more than 2⁻¹¹².
func base62(hash []byte) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	n, base, digit := new(big.Int).SetBytes(hash), big.NewInt(int64(len(digits))), new(big.Int)
	out := make([]byte, accessorLen)
	for i := range out {
		n.DivMod(n, base, digit)
		out[i] = digits[digit.Int64()]
	}
	return string(out)
}

// hashers derives the keys once: master keys change with a restart.
func (g *Registry) hashers() ([]*hasher, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.derived != nil {
		return g.derived, nil
	}
	keys, err := g.hashKeys()
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		g.derived = append(g.derived, newHasher(key))
	}
	return g.derived, nil
}

// hashKeys are those of each master key, the current one first.
func (g *Registry) hashKeys() ([][]byte, error) {
	if each, ok := g.keys.(EachKey); ok {
		keys, err := each.DeriveEach(keyPurpose)
		if err == nil && len(keys) == 0 {
			err = errors.New("there is no master key")
		}
		return keys, err
	}
	key, err := g.keys.Derive(keyPurpose)
	if err != nil {
		return nil, err
	}
	return [][]byte{key}, nil
}
