package unseal

import (
	"errors"

	"github.com/google/uuid"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/seal"
)

// attempt is an unsealing that is under way.
type attempt struct {
	nonce  string // names it; empty before the first share
	shares map[int][]byte
}

// part is a new key as people get it: whole, or in shares with what is kept of
// them. Nobody gets one that stays in a file.
func part(key []byte, want issuer.InitRequest) (*seal.Split, [][]byte, error) {
	switch {
	case key == nil:
		return nil, nil, nil
	case want.Shares <= 1:
		return nil, [][]byte{key}, nil
	}
	split, shares, err := seal.SplitKey(key, want.Shares, want.Threshold)
	if err != nil {
		return nil, nil, err
	}
	return &split, shares, nil
}

// gather takes what somebody gave to unseal, and returns the key: nil while
// shares of it are missing. Once they are all there they stay until
// [Installation.Reset], so that a commit that failed can be tried again with any
// of them.
func (i *Installation) gather(given []byte) ([]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.split == nil:
		return given, nil
	case !i.shut && i.ring != nil: // others opened it meanwhile
		return nil, nil
	}
	number, err := i.split.Number(given)
	if errors.Is(err, seal.ErrShare) {
		return nil, issuer.ErrWrongKey
	}
	if err != nil {
		return nil, err
	}
	if i.given.shares == nil {
		i.given = attempt{nonce: uuid.NewString(), shares: map[int][]byte{}}
	}
	i.given.shares[number] = given
	if len(i.given.shares) < i.split.Threshold {
		return nil, nil
	}
	all := make([][]byte, 0, len(i.given.shares))
	for _, share := range i.given.shares {
		all = append(all, share)
	}
	return i.split.Join(all)
}

// Reset implements [issuer.Seal]: it forgets the shares that were given.
func (i *Installation) Reset() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, share := range i.given.shares {
		clear(share)
	}
	i.given = attempt{}
}
