package scram

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	// DefaultLength is the length in characters of a password for which
	// nothing else was asked: more than 141 bits.
	DefaultLength = 24
	// MinLength is the shortest password with at least 128 bits, what the
	// shape costs already taken off.
	MinLength = 22
	// MaxLength is the longest password that [Password] makes. Some clients
	// cut longer ones off.
	MaxLength = 256

	upper   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	lower   = "abcdefghijklmnopqrstuvwxyz"
	digits  = "0123456789"
	hyphen  = "-"
	symbols = upper + lower + digits + hyphen

	// maxDraws bounds the work of a stuck random source. At MinLength a draw
	// has the shape with probability 0.27, so that a sound source fails to
	// find one in a thousand with probability below 10^-130.
	maxDraws = 1000
)

// Password draws a password of the length, [MinLength] to [MaxLength], from
// rand, which must be a cryptographic source. It has letters of both cases,
// digits and hyphens, at least one of each class as Vault's have, and begins
// and ends with a letter or digit, so that no program takes it for an option
// and a double click selects all of it.
//
// Whole passwords are drawn until one has this shape: every password that has
// it is equally likely.
func Password(rand io.Reader, length int) (string, error) {
	if length < MinLength || length > MaxLength {
		return "", fmt.Errorf("make password: a length of %d, %d to %d are possible", length, MinLength, MaxLength)
	}
	source := symbolSource{rand: rand}
	buf := make([]byte, length)
	for range maxDraws {
		for i := range buf {
			c, err := source.next()
			if err != nil {
				return "", fmt.Errorf("make password: %w", err)
			}
			buf[i] = c
		}
		if p := string(buf); shapely(p) {
			return p, nil
		}
	}
	return "", errors.New("make password: the random source does not look random")
}

func shapely(p string) bool {
	return strings.ContainsAny(p, upper) && strings.ContainsAny(p, lower) && strings.ContainsAny(p, digits) &&
		strings.Contains(p, hyphen) && !strings.HasPrefix(p, hyphen) && !strings.HasSuffix(p, hyphen)
}

// symbolSource turns random bytes into unbiased symbols: the low six bits name
// one of 64, of which the one too many is thrown away.
type symbolSource struct {
	rand io.Reader
	buf  [64]byte
	left []byte
	read int
}

// maxReads bounds a source that yields nothing but the symbol thrown away.
const maxReads = maxDraws * MaxLength

func (s *symbolSource) next() (byte, error) {
	for {
		if len(s.left) == 0 {
			if s.read++; s.read > maxReads {
				return 0, errors.New("the random source does not look random")
			}
			if _, err := io.ReadFull(s.rand, s.buf[:]); err != nil {
				return 0, fmt.Errorf("read random bytes: %w", err)
			}
			s.left = s.buf[:]
		}
		i := s.left[0] & 63
		s.left = s.left[1:]
		if int(i) < len(symbols) {
			return symbols[i], nil
		}
	}
}
