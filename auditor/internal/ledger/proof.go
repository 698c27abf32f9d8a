package ledger

import (
	"context"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"
)

// InclusionProof proves that entry number is in the tree of the first size
// entries (a checkpoint's size; every size up to the present one works). It is
// an RFC 6962 audit path: proof.VerifyInclusion takes index number-1.
func (r *Reader) InclusionProof(ctx context.Context, epoch, number, size int64) ([][]byte, error) {
	v, err := r.viewFor(epoch, size)
	if err != nil {
		return nil, fmt.Errorf("prove inclusion: %w", err)
	}
	if number < 1 || number > size {
		return nil, fmt.Errorf("prove inclusion: entry %d is not among the first %d", number, size)
	}
	nodes, err := proof.Inclusion(sizeOf(number)-1, sizeOf(size))
	if err != nil {
		return nil, fmt.Errorf("prove inclusion: %w", err)
	}
	hashes, err := v.proofHashes(ctx, nodes)
	if err != nil {
		return nil, fmt.Errorf("prove inclusion of entry %d: %w", number, err)
	}
	return hashes, nil
}

// ConsistencyProof proves that the tree of the first newer entries continues
// the tree of the first older ones (RFC 6962; proof.VerifyConsistency).
func (r *Reader) ConsistencyProof(ctx context.Context, epoch, older, newer int64) ([][]byte, error) {
	v, err := r.viewFor(epoch, newer)
	if err != nil {
		return nil, fmt.Errorf("prove consistency: %w", err)
	}
	if older < 0 || older > newer {
		return nil, fmt.Errorf("prove consistency: %d entries do not precede %d", older, newer)
	}
	if older == 0 || older == newer {
		return [][]byte{}, nil
	}
	builder, err := client.NewProofBuilder(ctx, v.size, v.tile)
	if err != nil {
		return nil, fmt.Errorf("prove consistency: %w", err)
	}
	hashes, err := builder.ConsistencyProof(ctx, sizeOf(older), sizeOf(newer))
	if err != nil {
		return nil, fmt.Errorf("prove consistency: %w", err)
	}
	return hashes, nil
}

func (r *Reader) viewFor(epoch, size int64) (view, error) {
	present, err := r.Size(epoch)
	if err != nil {
		return view{}, err
	}
	if size < 1 || size > present {
		return view{}, fmt.Errorf("tree size %d is not between 1 and %d", size, present)
	}
	return newView(r.segment(epoch), sizeOf(present)), nil
}

// proofHashes fetches the nodes of a proof. The library's ProofBuilder proves
// inclusion only in the tree of its own size; a proof against an older
// checkpoint needs that tree's nodes from today's files.
func (v view) proofHashes(ctx context.Context, nodes proof.Nodes) ([][]byte, error) {
	hashes := make([][]byte, 0, len(nodes.IDs))
	for _, id := range nodes.IDs {
		h, err := v.node(ctx, id)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, h)
	}
	return nodes.Rehash(hashes, rfc6962.DefaultHasher.HashChildren)
}

// node is the hash of one perfect subtree.
func (v view) node(ctx context.Context, id compact.NodeID) ([]byte, error) {
	level, index, inner, first := layout.NodeCoordsToTileAddress(uint64(id.Level), id.Index)
	raw, err := v.tile(ctx, level, index, layout.PartialTileSize(level, index, v.size))
	if err != nil {
		return nil, err
	}
	var t api.HashTile
	if err := t.UnmarshalText(raw); err != nil {
		return nil, fmt.Errorf("parse tile %d/%d: %w", level, index, err)
	}
	from, to := first<<inner, (first+1)<<inner
	if to > uint64(len(t.Nodes)) {
		return nil, fmt.Errorf("parse tile %d/%d: %d nodes, want %d", level, index, len(t.Nodes), to)
	}
	return perfectRoot(t.Nodes[from:to])
}
