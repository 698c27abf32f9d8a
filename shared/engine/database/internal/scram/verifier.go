package scram

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

const (
	// DefaultIterations is PostgreSQL's own default and the least that
	// RFC 7677 section 4 asks for and pgjdbc accepts.
	DefaultIterations = 4096
	// SaltLen is the length in bytes of PostgreSQL's own salts, and the
	// shortest that Verifier takes.
	SaltLen = 16

	mechanism = "SCRAM-SHA-256"
)

// Secret is a verifier taken apart. (PostgreSQL's sources call it a SCRAM
// secret.) It does not allow a log-in, but who holds it can guess passwords
// offline and pose as the server: it hides itself when printed.
type Secret struct {
	Iterations int
	Salt       []byte
	StoredKey  []byte
	ServerKey  []byte
}

// Verifier returns the verifier of a password, in PostgreSQL's notation. The
// salt has at least [SaltLen] random bytes, iterations is at least 1. Errors
// never hold the password.
func Verifier(password string, salt []byte, iterations int) (string, error) {
	if err := checkPassword(password); err != nil {
		return "", fmt.Errorf("make verifier: %w", err)
	}
	if len(salt) < SaltLen {
		return "", fmt.Errorf("make verifier: a salt of %d bytes, at least %d are needed", len(salt), SaltLen)
	}
	if iterations < 1 || iterations > math.MaxInt32 {
		return "", fmt.Errorf("make verifier: %d iterations, 1 to %d are possible", iterations, math.MaxInt32)
	}
	s, err := derive(password, salt, iterations)
	if err != nil {
		return "", fmt.Errorf("make verifier: %w", err)
	}
	return s.encode(), nil
}

// Verify reports whether the verifier is one of the password.
func Verify(password, verifier string) (bool, error) {
	want, err := Parse(verifier)
	if err != nil {
		return false, fmt.Errorf("verify password: %w", err)
	}
	if password == "" || !printableASCII(password) {
		return false, nil // no verifier of ours has such a password
	}
	got, err := derive(password, want.Salt, want.Iterations)
	if err != nil {
		return false, fmt.Errorf("verify password: %w", err)
	}
	stored := subtle.ConstantTimeCompare(got.StoredKey, want.StoredKey)
	server := subtle.ConstantTimeCompare(got.ServerKey, want.ServerKey)
	return stored&server == 1, nil
}

// Parse takes a verifier in PostgreSQL's notation apart. It accepts exactly the
// strings that PostgreSQL stores as they are after PASSWORD, save those with
// base64 that is not in its one canonical form.
func Parse(verifier string) (Secret, error) {
	fields := strings.Split(verifier, "$")
	if len(fields) != 3 || fields[0] != mechanism {
		return Secret{}, errors.New("parse verifier: not of the form " + mechanism + "$…:…$…:…")
	}
	count, salt, ok := strings.Cut(fields[1], ":")
	if !ok {
		return Secret{}, errors.New("parse verifier: no salt after the iterations")
	}
	stored, server, ok := strings.Cut(fields[2], ":")
	if !ok {
		return Secret{}, errors.New("parse verifier: no server key after the stored key")
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > math.MaxInt32 || strconv.Itoa(n) != count {
		return Secret{}, errors.New("parse verifier: the iterations are not a positive number")
	}
	s := Secret{Iterations: n, Salt: unbase64(salt), StoredKey: unbase64(stored), ServerKey: unbase64(server)}
	switch {
	case len(s.Salt) == 0:
		return Secret{}, errors.New("parse verifier: the salt is not base64")
	case len(s.StoredKey) != sha256.Size:
		return Secret{}, errors.New("parse verifier: the stored key is not 32 bytes of base64")
	case len(s.ServerKey) != sha256.Size:
		return Secret{}, errors.New("parse verifier: the server key is not 32 bytes of base64")
	}
	return s, nil
}

// Format hides the keys, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, mechanism+" secret") // a State keeps its own errors
}

// MarshalJSON hides the keys as well.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + mechanism + ` secret"`), nil }

// unbase64 returns nil for what is not canonical base64. The decoder skips line
// breaks, which PostgreSQL would too, and which no verifier has.
func unbase64(s string) []byte {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil
	}
	return b
}

func (s Secret) encode() string {
	enc := base64.StdEncoding
	return mechanism + "$" + strconv.Itoa(s.Iterations) + ":" + enc.EncodeToString(s.Salt) +
		"$" + enc.EncodeToString(s.StoredKey) + ":" + enc.EncodeToString(s.ServerKey)
}

// derive follows RFC 5802 section 3; the names are the RFC's.
func derive(password string, salt []byte, iterations int) (Secret, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return Secret{}, fmt.Errorf("derive key: %w", err)
	}
	clientKey := mac(salted, "Client Key")
	storedKey := sha256.Sum256(clientKey)
	return Secret{
		Iterations: iterations,
		Salt:       salt,
		StoredKey:  storedKey[:],
		ServerKey:  mac(salted, "Server Key"),
	}, nil
}

func mac(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = io.WriteString(h, message) // a hash never fails
	return h.Sum(nil)
}

// checkPassword refuses what SASLprep could change and the empty password,
// which PostgreSQL turns into none.
func checkPassword(password string) error {
	if password == "" {
		return errors.New("the password is empty")
	}
	if !printableASCII(password) {
		return errors.New("the password holds characters other than printable ASCII")
	}
	return nil
}

func printableASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
