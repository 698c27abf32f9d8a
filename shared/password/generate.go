package password

import (
	"errors"
	"fmt"
	"io"
)

// maxDraws bounds the search for a candidate that obeys: at [minOdds] none of
// so many does with a probability below 10⁻²⁰.
const maxDraws = 500_000

// Generate draws a password from rand, which must be a cryptographic source.
func (p Policy) Generate(rand io.Reader) (string, error) {
	set := p.charset()
	if len(set) == 0 || len(set) > maxCharset || p.Length <= 0 {
		return "", errors.New("generate password: the policy has no characters, too many, or no length")
	}
	sets := make([]map[rune]bool, len(p.Rules))
	for i, r := range p.Rules {
		sets[i] = map[rune]bool{}
		for _, c := range r.Charset {
			sets[i][c] = true
		}
	}
	source := picker{rand: rand, below: len(set), left: maxDraws * p.Length}
	candidate := make([]rune, p.Length)
	for range maxDraws {
		for i := range candidate {
			n, err := source.pick()
			if err != nil {
				return "", fmt.Errorf("generate password: %w", err)
			}
			candidate[i] = set[n]
		}
		if p.obeys(candidate, sets) {
			return string(candidate), nil
		}
	}
	return "", errImpossible
}

// picker draws numbers below a bound of at most 256, all equally likely: of the
// values of a byte it takes the largest multiple of the bound and throws the rest
// away, since its remainders would favour small numbers.
type picker struct {
	rand  io.Reader
	below int
	buf   [256]byte
	bytes []byte // of buf, not used yet
	left  int    // bytes that may be thrown away before the source counts as stuck
}

func (s *picker) pick() (int, error) {
	fair := 256 - 256%s.below
	for {
		if len(s.bytes) == 0 {
			if _, err := io.ReadFull(s.rand, s.buf[:]); err != nil {
				return 0, fmt.Errorf("read random bytes: %w", err)
			}
			s.bytes = s.buf[:]
		}
		b := int(s.bytes[0])
		s.bytes = s.bytes[1:]
		if b < fair {
			return b % s.below, nil
		}
		if s.left--; s.left < 0 {
			return 0, errors.New("the random source does not look random")
		}
	}
}
