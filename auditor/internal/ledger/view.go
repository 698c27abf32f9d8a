package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"
)

// view reads the files of a segment as of one tree size. Everything below that
// size is on disk and does not change while another process appends: a partial
// file is deleted only once the full one is there.
type view struct {
	files client.FileFetcher
	size  uint64
}

func newView(segment string, size uint64) view {
	return view{files: client.FileFetcher{Root: segment}, size: size}
}

// tile fetches a tile for any tree size up to the view's. Only the sizes at
// which a batch ended have partial tiles of their own width, so the tile is
// read at the width it has in this view and cut.
func (v view) tile(ctx context.Context, level, index uint64, partial uint8) ([]byte, error) {
	raw, err := v.files.ReadTile(ctx, level, index, layout.PartialTileSize(level, index, v.size))
	if err != nil {
		return nil, err
	}
	if n := int(partial) * sha256.Size; partial > 0 && len(raw) > n {
		raw = raw[:n]
	}
	return raw, nil
}

// bundle returns the entries of a bundle that lie below the view's size.
func (v view) bundle(ctx context.Context, index uint64) ([][]byte, error) {
	partial := layout.PartialTileSize(0, index, v.size)
	raw, err := v.files.ReadEntryBundle(ctx, index, partial)
	if err != nil {
		return nil, err
	}
	var b api.EntryBundle
	if err := b.UnmarshalText(raw); err != nil {
		return nil, fmt.Errorf("parse bundle %d: %w", index, err)
	}
	width := batchSize
	if partial > 0 {
		width = int(partial)
	}
	if len(b.Entries) < width {
		return nil, fmt.Errorf("parse bundle %d: %d entries, want %d", index, len(b.Entries), width)
	}
	return b.Entries[:width], nil
}

// rootAt computes the root of the first size entries from the tiles.
func (v view) rootAt(ctx context.Context, size uint64) ([]byte, error) {
	if size == 0 {
		return rfc6962.DefaultHasher.EmptyRoot(), nil
	}
	hashes, err := client.FetchRangeNodes(ctx, size, v.tile)
	if err != nil {
		return nil, err
	}
	r, err := treeHasher().NewRange(0, size, hashes)
	if err != nil {
		return nil, err
	}
	return r.GetRootHash(nil)
}

// checkLastBundle hashes the entries of the last bundle and compares them with
// the tile above: the end of the log is what the tree says it is.
func (v view) checkLastBundle(ctx context.Context) error {
	if v.size == 0 {
		return nil
	}
	index := (v.size - 1) / batchSize
	entries, err := v.bundle(ctx, index)
	if err != nil {
		return err
	}
	hashes, err := client.FetchLeafHashes(ctx, v.tile, index*batchSize, uint64(len(entries)), v.size)
	if err != nil {
		return err
	}
	for i, entry := range entries {
		if string(rfc6962.DefaultHasher.HashLeaf(entry)) != string(hashes[i]) {
			return fmt.Errorf("entry %d does not have the hash that the tree has for it", numberOf(index*batchSize)+int64(i))
		}
	}
	return nil
}

func treeHasher() *compact.RangeFactory {
	return &compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
}

// perfectRoot is the root of a perfect subtree over these nodes, whose number
// is a power of two.
func perfectRoot(nodes [][]byte) ([]byte, error) {
	if n := len(nodes); n == 0 || n&(n-1) != 0 {
		return nil, errors.New("not a perfect subtree")
	}
	for len(nodes) > 1 {
		up := make([][]byte, len(nodes)/2)
		for i := range up {
			up[i] = rfc6962.DefaultHasher.HashChildren(nodes[2*i], nodes[2*i+1])
		}
		nodes = up
	}
	return nodes[0], nil
}
