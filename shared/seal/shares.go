package seal

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/secretsharing"
)

// The errors of shares.
var (
	ErrShare  = errors.New("not a share of this key")
	ErrShares = errors.New("a key cannot be parted so")
)

const (
	// MaxShares is how many people a key can be parted among, at most.
	MaxShares = 255
	// ShareSize is the length of a share in bytes: its number, and a scalar of
	// ristretto255.
	ShareSize = 1 + 32

	sharesContext = "master key in shares"
	sharesPurpose = infoPrefix + "shares"
)

// Split is what is kept of a master key that people have in shares. It tells
// whoever reads it nothing about the key, and recognises each share.
//
// The key is sealed under a key that is derived from a random scalar; the scalar
// is shared as by Shamir (How to share a secret, 1979), with the commitments of
// Feldman (A practical scheme for non-interactive verifiable secret sharing,
// 1987), over ristretto255 (RFC 9496).
type Split struct {
	Shares    int `json:"shares"`
	Threshold int `json:"threshold"` // shares that are needed
	// Commitments are to the coefficients of the polynomial, Threshold of them.
	Commitments [][]byte `json:"commitments"`
	Box         []byte   `json:"box"` // the sealed key
}

var scalars = group.Ristretto255

// SplitKey parts a master key into shares of [ShareSize] bytes, of which any
// threshold of them give it back and fewer tell nothing. It fails with
// [ErrShares] unless 2 ≤ threshold ≤ shares ≤ [MaxShares].
func SplitKey(key []byte, shares, threshold int) (Split, [][]byte, error) {
	if threshold < 2 || threshold > shares || shares > MaxShares {
		return Split{}, nil, fmt.Errorf("%w: %d of %d shares", ErrShares, threshold, shares)
	}
	dealt := scalars.RandomScalar(rand.Reader)
	kept := Split{Shares: shares, Threshold: threshold}
	ring, err := sharedRing(dealt)
	if err != nil {
		return Split{}, nil, err
	}
	kept.Box = ring.Seal(sharesContext, key)
	dealer := secretsharing.New(rand.Reader, uint(threshold-1), dealt)
	for _, c := range dealer.CommitSecret() {
		text, err := c.MarshalBinaryCompress()
		if err != nil {
			return Split{}, nil, fmt.Errorf("part the key: %w", err)
		}
		kept.Commitments = append(kept.Commitments, text)
	}
	parts := make([][]byte, shares)
	for i, s := range dealer.Share(uint(shares)) {
		value, err := s.Value.MarshalBinary()
		if err != nil {
			return Split{}, nil, fmt.Errorf("part the key: %w", err)
		}
		parts[i] = append([]byte{byte(i + 1)}, value...)
	}
	return kept, parts, nil
}

// sharedRing seals under what is shared.
func sharedRing(dealt group.Scalar) (*Keyring, error) {
	text, err := dealt.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("part the key: %w", err)
	}
	key, err := hkdf.Key(sha256.New, text, nil, sharesPurpose, KeySize)
	if err != nil {
		return nil, fmt.Errorf("part the key: %w", err)
	}
	return New(key)
}

// Number checks a share and returns its number, from 1 on. It fails with
// [ErrShare] for whatever [SplitKey] did not deal with this key.
func (s Split) Number(share []byte) (int, error) {
	parsed, err := s.parse(share)
	if err != nil {
		return 0, err
	}
	commitments := make(secretsharing.SecretCommitment, len(s.Commitments))
	for i, text := range s.Commitments {
		commitments[i] = scalars.NewElement()
		if err := commitments[i].UnmarshalBinary(text); err != nil {
			return 0, fmt.Errorf("%w: read the commitments: %w", ErrTampered, err)
		}
	}
	if !secretsharing.Verify(uint(s.Threshold-1), parsed, commitments) {
		return 0, ErrShare
	}
	return int(share[0]), nil
}

// parse reads a share; only [Split.Number] says whether it is one.
func (s Split) parse(share []byte) (secretsharing.Share, error) {
	if len(share) != ShareSize || share[0] == 0 || int(share[0]) > s.Shares {
		return secretsharing.Share{}, ErrShare
	}
	parsed := secretsharing.Share{ID: scalars.NewScalar().SetUint64(uint64(share[0])), Value: scalars.NewScalar()}
	if err := parsed.Value.UnmarshalBinary(share[1:]); err != nil {
		return secretsharing.Share{}, ErrShare
	}
	return parsed, nil
}

// Join gives the key back. It needs Threshold different shares, each as
// [Split.Number] took it; it fails with [ErrShare] otherwise.
func (s Split) Join(shares [][]byte) ([]byte, error) {
	seen := map[int]bool{}
	var parsed []secretsharing.Share
	for _, share := range shares {
		number, err := s.Number(share)
		if err != nil {
			return nil, err
		}
		if one, err := s.parse(share); err == nil && !seen[number] { // the library panics on two of one number
			seen[number], parsed = true, append(parsed, one)
		}
	}
	if len(parsed) < s.Threshold {
		return nil, fmt.Errorf("%w: %d of %d that are needed", ErrShare, len(parsed), s.Threshold)
	}
	dealt, err := secretsharing.Recover(uint(s.Threshold-1), parsed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrShare, err)
	}
	ring, err := sharedRing(dealt)
	if err != nil {
		return nil, err
	}
	return ring.Open(sharesContext, s.Box)
}
