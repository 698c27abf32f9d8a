package seal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/seal"
)

// Law: any threshold of the shares, in any order and however often given, give
// the key back, also after what is kept has been written and read; fewer do not.
func TestSplitAndJoin(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Byte(), seal.KeySize, seal.KeySize).Draw(t, "key")
		shares := rapid.IntRange(2, 5).Draw(t, "shares")
		threshold := rapid.IntRange(2, shares).Draw(t, "threshold")
		made, parts, err := seal.SplitKey(want, shares, threshold)
		if err != nil || len(parts) != shares {
			t.Fatalf("%d parts, %v", len(parts), err)
		}
		text, err := json.Marshal(made)
		if err != nil {
			t.Fatal(err)
		}
		var kept seal.Split
		if err := json.Unmarshal(text, &kept); err != nil {
			t.Fatal(err)
		}
		for i, p := range parts {
			if n, err := kept.Number(p); n != i+1 || err != nil {
				t.Fatalf("share %d is number %d, %v", i+1, n, err)
			}
		}
		some := rapid.Permutation(parts).Draw(t, "order")
		twice := append(slices.Clone(some[:threshold]), some[0])
		if got, err := kept.Join(twice); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("joined: %v", err)
		}
		few := append(slices.Clone(some[:threshold-1]), some[0])
		if _, err := kept.Join(few); !errors.Is(err, seal.ErrShare) {
			t.Fatalf("too few: %v", err)
		}
	})
}

// Law: what was changed in any bit, or belongs to another key, is recognised
// alone, before it is joined with others.
func TestForeignShare(t *testing.T) {
	t.Parallel()
	kept, parts, err := seal.SplitKey(key(1), 5, 3)
	if err != nil {
		t.Fatal(err)
	}
	_, foreign, err := seal.SplitKey(key(1), 5, 3)
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(what string, share []byte) {
		t.Helper()
		if _, err := kept.Number(share); !errors.Is(err, seal.ErrShare) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := kept.Join([][]byte{parts[1], parts[2], share}); !errors.Is(err, seal.ErrShare) {
			t.Errorf("%s, joined: %v", what, err)
		}
	}
	refuse("another key's", foreign[0])
	refuse("the key itself", key(1))
	for _, n := range []int{0, 1, 32, 34} {
		refuse("of another length", bytes.Repeat([]byte{1}, n))
	}
	for bit := range len(parts[0]) * 8 {
		changed := slices.Clone(parts[0])
		changed[bit/8] ^= 1 << (bit % 8)
		if _, err := kept.Number(changed); !errors.Is(err, seal.ErrShare) {
			t.Errorf("bit %d changed: %v", bit, err)
		}
	}
	kept.Box[len(kept.Box)-1] ^= 1
	if _, err := kept.Join(parts); !errors.Is(err, seal.ErrTampered) {
		t.Errorf("changed box: %v", err)
	}
}

func TestSplitBounds(t *testing.T) {
	t.Parallel()
	for _, b := range [][2]int{{1, 1}, {2, 1}, {3, 0}, {2, 3}, {256, 3}, {-1, -1}} {
		if _, _, err := seal.SplitKey(key(1), b[0], b[1]); !errors.Is(err, seal.ErrShares) {
			t.Errorf("%d of %d: %v", b[1], b[0], err)
		}
	}
	kept, parts, err := seal.SplitKey(key(1), seal.MaxShares, 3)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := kept.Join(parts[seal.MaxShares-3:]); err != nil || !bytes.Equal(got, key(1)) {
		t.Errorf("the last of %d: %v", seal.MaxShares, err)
	}
}
