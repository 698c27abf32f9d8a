package password

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode"
)

const (
	// MinLength is how many characters a password has at least, as on stock
	// servers.
	MinLength = 4
	// MaxLength is how many it has at most, as there.
	MaxLength = 100

	// Strong is how many bits need no stretching by the server that keeps a
	// password's hash (B10).
	Strong = 128

	// maxCharset is how many characters a byte can choose from.
	maxCharset = 256
	maxRules   = 64
)

// Policy is what a password has to be.
type Policy struct {
	// Text is the policy as it was written, for whoever reads it back.
	Text   string `json:"policy"`
	Length int    `json:"length"`
	Rules  []Rule `json:"rules"`
}

// Rule asks for at least Min characters of a set.
type Rule struct {
	Charset string `json:"charset"`
	Min     int    `json:"min_chars"`
}

// Encode is the value of the policy's entry in the store.
func (p Policy) Encode() ([]byte, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode password policy: %w", err)
	}
	return b, nil
}

// Decode reads what [Policy.Encode] wrote.
func Decode(b []byte) (Policy, error) {
	var p Policy
	if err := json.Unmarshal(b, &p); err != nil {
		return p, fmt.Errorf("decode password policy: %w", err)
	}
	return p, nil
}

// Check says what is wrong with a policy, in the words of stock servers.
func (p Policy) Check() error {
	if err := p.Validate(); err != nil {
		return err
	}
	switch {
	case len(p.charset()) > maxCharset:
		return fmt.Errorf("charset is too long: limited to %d characters", maxCharset)
	case len(p.Rules) > maxRules:
		return fmt.Errorf("more than %d rules", maxRules)
	case p.Length < MinLength || p.Length > MaxLength:
		return fmt.Errorf("passwords must be between %d and %d characters", MinLength, MaxLength)
	}
	return p.checkOdds()
}

// Validate is the part of Check that stock servers do when they read a policy.
func (p Policy) Validate() error {
	set, need := p.charset(), 0
	for _, r := range p.Rules {
		need += max(r.Min, 0)
	}
	switch {
	case p.Length <= 0:
		return errors.New("length must be > 0")
	case p.Length < need:
		return fmt.Errorf("specified rules require at least %d characters but %d is specified", need, p.Length)
	case len(set) == 0:
		return errors.New("no charset specified")
	case slices.ContainsFunc(set, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("non-printable character in charset")
	}
	return nil
}

var errImpossible = errors.New("unable to construct test password from provided policy: are the rules impossible?")

// ASCII reports whether all characters are in it.
func (p Policy) ASCII() bool {
	return !slices.ContainsFunc(p.charset(), func(r rune) bool { return r > unicode.MaxASCII })
}

// charset are the characters of all rules, each once, in order.
func (p Policy) charset() []rune {
	var all []rune
	for _, r := range p.Rules {
		all = append(all, []rune(r.Charset)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
