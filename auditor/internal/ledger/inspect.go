package ledger

import (
	"bytes"
	"context"
	"path/filepath"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api/layout"
)

// inspection verifies one segment against one root, from the root down.
//
// The root is trusted (signed). It proves the tiles at the right edge of the
// tree; each proved node proves the full tile below it; each proved leaf hash
// proves an entry. Every file is compared with what is proved about it, so
// damage is named where it is and not where it shows. Where a tile is not what
// the node above it says, the tile is recomputed from the entries below: if
// that fits, the tile is at fault and nothing below it.
//
// The induction makes it a recomputation from the raw entries: if nothing is
// found, the Merkle tree hash of the entries' bytes is the root.
type inspection struct {
	segment string // directory
	name    string // its name in the ledger
	epoch   int64
	size    uint64
	found   *findings

	// rolling is the tree over the proved leaf hashes, from which the roots
	// of earlier sizes are taken; nil once a leaf hash is unknown.
	rolling *compact.Range
	marks   map[uint64][]byte // sizes whose roots are wanted; filled in
}

func newInspection(dir string, epoch int64, size uint64, marks []uint64) *inspection {
	s := &inspection{
		segment: filepath.Join(dir, segmentName(epoch)), name: segmentName(epoch), epoch: epoch, size: size,
		found: &findings{}, rolling: treeHasher().NewEmptyRange(0), marks: map[uint64][]byte{},
	}
	for _, m := range marks {
		s.marks[m] = nil
		if m == 0 {
			s.marks[m] = rfc6962.DefaultHasher.EmptyRoot()
		}
	}
	return s
}

// edge is a partial tile at the right edge of the tree, with its files.
type edge struct {
	level, index uint64
	width        int
	variants     []variant
	nodes        [][]byte // the settled content
}

// run reports whether the files have the root; all damage goes to found.
func (s *inspection) run(ctx context.Context, root []byte) (bool, error) {
	if s.size == 0 {
		return bytes.Equal(root, rfc6962.DefaultHasher.EmptyRoot()), nil
	}
	var edges []*edge // from the top: they hold the tree from left to right
	for level := uint64(0); level < 8; level++ {
		nodes := s.size >> (layout.TileHeight * level)
		if width := int(nodes % batchSize); width > 0 {
			e := &edge{level: level, index: nodes / batchSize, width: width}
			var err error
			if e.variants, err = s.tileVariants(e.level, e.index, width); err != nil {
				return false, err
			}
			edges = append([]*edge{e}, edges...)
		}
	}
	settled, err := s.settleEdges(ctx, edges, root)
	if err != nil {
		return false, err
	}
	for _, e := range edges {
		s.compareTile(e.level, e.index, e.nodes, e.variants)
		if err := s.descend(ctx, e.level, e.index, e.nodes); err != nil {
			return false, err
		}
	}
	return settled, nil
}

// fullTile verifies a full tile whose root is proved, or unknown (nil).
func (s *inspection) fullTile(ctx context.Context, level, index uint64, root []byte) error {
	variants, err := s.tileVariants(level, index, batchSize)
	if err != nil {
		return err
	}
	nodes, err := s.settleTile(ctx, level, index, root, variants)
	if err != nil {
		return err
	}
	s.compareTile(level, index, nodes, variants)
	return s.descend(ctx, level, index, nodes)
}

// compareTile compares every file of a tile with its settled content.
func (s *inspection) compareTile(level, index uint64, nodes [][]byte, variants []variant) {
	covered := false
	for _, v := range variants {
		s.compare(level, index, nodes, v, "the tile's hash is not that of what is below it")
		covered = covered || v.width >= len(nodes)
	}
	if !covered {
		path := layout.TilePath(level, index, uint8(len(nodes)%batchSize))
		s.report(level, index, span{0, len(nodes)}, path, "the tile is missing")
	}
}

// compare reports where a file differs from proved hashes. What it holds beyond
// them lies after the size that is being verified.
func (s *inspection) compare(level, index uint64, proved [][]byte, v variant, reason string) {
	known := min(len(proved), v.width)
	for _, r := range spans(known, func(j int) bool { return j < len(v.hashes) && proved[j] != nil && !bytes.Equal(proved[j], v.hashes[j]) }) {
		s.report(level, index, r, v.path, reason)
	}
	if v.err != nil && (len(v.hashes) < known || v.width <= len(proved)) {
		at := min(len(v.hashes), known-1)
		s.report(level, index, span{at, known}, v.path, "the file is not readable: "+v.err.Error())
	}
}

// descend verifies what is below a tile.
func (s *inspection) descend(ctx context.Context, level, index uint64, nodes [][]byte) error {
	if level == 0 {
		return s.bundle(ctx, index, nodes)
	}
	for j, h := range nodes {
		if err := s.fullTile(ctx, level-1, index*batchSize+uint64(j), h); err != nil {
			return err
		}
	}
	return nil
}

// bundle verifies the entries under a level 0 tile.
func (s *inspection) bundle(ctx context.Context, index uint64, leaves [][]byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	variants, err := s.bundleVariants(index, len(leaves))
	if err != nil {
		return err
	}
	covered := false
	for _, v := range variants {
		s.compare(0, index, leaves, v, "the entry is not the one that was signed")
		covered = covered || v.width >= len(leaves)
	}
	if !covered {
		path := layout.EntriesPath(index, uint8(len(leaves)%batchSize))
		s.report(0, index, span{0, len(leaves)}, path, "the entries are missing")
	}
	return s.roll(leaves)
}

// roll continues the rolling tree.
func (s *inspection) roll(leaves [][]byte) error {
	for _, h := range leaves {
		if h == nil {
			s.rolling = nil
		}
		if s.rolling == nil {
			return nil
		}
		if err := s.rolling.Append(h, nil); err != nil {
			return err
		}
		if _, wanted := s.marks[s.rolling.End()]; wanted {
			root, err := s.rolling.GetRootHash(nil)
			if err != nil {
				return err
			}
			s.marks[s.rolling.End()] = root
		}
	}
	return nil
}

// span is a run of nodes or entries of one tile: from inclusive, to exclusive.
type span struct{ from, to int }

// spans groups the positions below n that differ into runs.
func spans(n int, differ func(int) bool) []span {
	var runs []span
	for j := range n {
		if !differ(j) {
			continue
		}
		if k := len(runs) - 1; k >= 0 && runs[k].to == j {
			runs[k].to++
		} else {
			runs = append(runs, span{j, j + 1})
		}
	}
	return runs
}

// report names the entries below a run of nodes of a tile.
func (s *inspection) report(level, index uint64, r span, path, reason string) {
	per := uint64(1) << (layout.TileHeight * level)
	first := (index*batchSize + uint64(r.from)) * per //nolint:gosec // a position in a tile
	last := (index*batchSize + uint64(r.to)) * per    //nolint:gosec // a position in a tile
	s.found.add(Damage{
		Epoch: s.epoch, First: numberOf(first), Last: lastOf(min(last, s.size)),
		Path: filepath.Join(s.name, filepath.FromSlash(path)), Reason: reason,
	})
}
