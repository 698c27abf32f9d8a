package ledger

import (
	"encoding/base64"
	"path/filepath"
	"testing"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"pgregory.net/rapid"
)

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// The merkle library's verifier accepts the proofs, for every entry against
// every tree size, and not for another entry.
func TestProofs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := NewReader(f.dir)
	segment := filepath.Join(f.dir, segmentName(1))
	hasher := rfc6962.DefaultHasher
	last := f.sizes[1]
	rootAt := func(t *rapid.T, size int64) []byte {
		root, err := newView(segment, sizeOf(last)).rootAt(t.Context(), sizeOf(size))
		if err != nil {
			t.Fatal(err)
		}
		return root
	}
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.Int64Range(1, last).Draw(rt, "size")
		n := rapid.Int64Range(1, size).Draw(rt, "entry")
		root := rootAt(rt, size)
		path, err := r.InclusionProof(rt.Context(), 1, n, size)
		if err != nil {
			rt.Fatal(err)
		}
		leaf := hasher.HashLeaf(entryData(1, n))
		if err := proof.VerifyInclusion(hasher, sizeOf(n)-1, sizeOf(size), leaf, path, root); err != nil {
			rt.Fatal(err)
		}
		if proof.VerifyInclusion(hasher, sizeOf(n)-1, sizeOf(size), hasher.HashLeaf([]byte("other")), path, root) == nil {
			rt.Fatal("another entry is proved too")
		}
		older := rapid.Int64Range(0, size).Draw(rt, "older")
		path, err = r.ConsistencyProof(rt.Context(), 1, older, size)
		if err != nil {
			rt.Fatal(err)
		}
		if older == 0 {
			return // every tree continues the empty one; there is nothing to verify
		}
		if err := proof.VerifyConsistency(hasher, sizeOf(older), sizeOf(size), path, rootAt(rt, older), root); err != nil {
			rt.Fatal(err)
		}
	})
}

// A proof against the signed checkpoint, as a client makes it.
func TestProofAgainstACheckpoint(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := NewReader(f.dir)
	raw, err := r.Checkpoint(1)
	if err != nil {
		t.Fatal(err)
	}
	cp, err := ParseCheckpoint(f.key, raw)
	if err != nil {
		t.Fatal(err)
	}
	path, err := r.InclusionProof(t.Context(), 1, 300, cp.Size)
	if err != nil {
		t.Fatal(err)
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(entryData(1, 300))
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, 299, sizeOf(cp.Size), leaf, path, cp.Root); err != nil {
		t.Fatal(err)
	}
	earlier, err := ParseCheckpoint(f.key, f.earlier)
	if err != nil {
		t.Fatal(err)
	}
	path, err = r.ConsistencyProof(t.Context(), 1, earlier.Size, cp.Size)
	if err != nil {
		t.Fatal(err)
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, sizeOf(earlier.Size), sizeOf(cp.Size), path, earlier.Root, cp.Root); err != nil {
		t.Fatal(err)
	}
}

func TestProofsOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := NewReader(f.dir)
	for _, c := range []struct{ epoch, number, size int64 }{{1, 0, 5}, {1, 6, 5}, {1, 1, 712}, {1, 1, 0}, {1, 1, -1}, {7, 1, 1}} {
		if _, err := r.InclusionProof(t.Context(), c.epoch, c.number, c.size); err == nil {
			t.Errorf("inclusion %+v", c)
		}
	}
	for _, c := range []struct{ epoch, older, newer int64 }{{1, 6, 5}, {1, -1, 5}, {1, 1, 712}, {7, 1, 1}} {
		if _, err := r.ConsistencyProof(t.Context(), c.epoch, c.older, c.newer); err == nil {
			t.Errorf("consistency %+v", c)
		}
	}
}
