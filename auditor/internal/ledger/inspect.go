package ledger

import (
	"bytes"
	"context"
	"fmt"
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
		if width := int(nodes % batchSize); width > 0 { //nolint:gosec // below 256
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

// settleEdges finds the content of the edge tiles that has the root: as stored,
// or recomputed from the entries where a stored one is wrong.
func (s *inspection) settleEdges(ctx context.Context, edges []*edge, root []byte) (bool, error) {
	choices := make([][][][]byte, len(edges))
	for i, e := range edges {
		for _, v := range e.variants {
			if len(v.hashes) >= e.width {
				choices[i] = addChoice(choices[i], v.hashes[:e.width])
			}
		}
	}
	if pick(edges, choices, root) {
		return true, nil
	}
	for i, e := range edges {
		nodes, err := s.recompute(ctx, e.level, e.index, e.width)
		if err != nil {
			return false, err
		}
		if complete(nodes) {
			choices[i] = addChoice(choices[i], nodes)
		}
	}
	if pick(edges, choices, root) {
		return true, nil
	}
	// Nothing on disk has this root. What tiles and entries agree on is kept,
	// so that a difference between them is still named.
	for _, e := range edges {
		var err error
		if e.nodes, err = s.agreement(ctx, e.level, e.index, e.width, e.variants); err != nil {
			return false, err
		}
	}
	return false, nil
}

func addChoice(choices [][][]byte, nodes [][]byte) [][][]byte {
	for _, have := range choices {
		if sameNodes(have, nodes) {
			return choices
		}
	}
	return append(choices, nodes)
}

// maxPicks bounds the combinations that are tried; more than a few exist only
// when several superseded files of several levels are damaged at once.
const maxPicks = 4096

// pick tries the combinations of choices until one has the root.
func pick(edges []*edge, choices [][][][]byte, root []byte) bool {
	total := 1
	for _, c := range choices {
		total = min(total*len(c), maxPicks)
	}
	for n := range total {
		for i, e := range edges {
			e.nodes = choices[i][n%len(choices[i])]
			n /= len(choices[i])
		}
		if got, err := edgeRoot(edges); err == nil && bytes.Equal(got, root) {
			return true
		}
	}
	return false
}

func edgeRoot(edges []*edge) ([]byte, error) {
	hasher := treeHasher() // ranges can only be joined within one factory
	tree := hasher.NewEmptyRange(0)
	for _, e := range edges {
		span := uint64(1) << (layout.TileHeight * e.level) // leaves below one node
		for _, h := range e.nodes {
			sub, err := hasher.NewRange(tree.End(), tree.End()+span, [][]byte{h})
			if err != nil {
				return nil, err
			}
			if err := tree.AppendRange(sub, nil); err != nil {
				return nil, err
			}
		}
	}
	return tree.GetRootHash(nil)
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

func (s *inspection) settleTile(ctx context.Context, level, index uint64, root []byte, variants []variant) ([][]byte, error) {
	if root != nil {
		for _, v := range variants {
			if len(v.hashes) == batchSize && hasRoot(v.hashes, root) {
				return v.hashes, nil
			}
		}
		nodes, err := s.recompute(ctx, level, index, batchSize)
		if err != nil {
			return nil, err
		}
		if complete(nodes) && hasRoot(nodes, root) {
			return nodes, nil
		}
	}
	return s.agreement(ctx, level, index, batchSize, variants)
}

// agreement is the fallback without proof: a node counts where the widest file
// and the entries below agree. Where they do not, either may be at fault.
func (s *inspection) agreement(ctx context.Context, level, index uint64, width int, variants []variant) ([][]byte, error) {
	nodes, err := s.recompute(ctx, level, index, width)
	if err != nil {
		return nil, err
	}
	if len(variants) == 0 {
		return nodes, nil
	}
	stored := variants[0]
	ranges := spans(width, func(j int) bool {
		return j < len(stored.hashes) && nodes[j] != nil && !bytes.Equal(nodes[j], stored.hashes[j])
	})
	for _, r := range ranges {
		s.report(level, index, r, stored.path, "the tile and the entries below it differ and neither has the root above")
		for j := r.from; j < r.to; j++ {
			nodes[j] = nil
		}
	}
	return nodes, nil
}

// compareTile compares every file of a tile with its settled content.
func (s *inspection) compareTile(level, index uint64, nodes [][]byte, variants []variant) {
	covered := false
	for _, v := range variants {
		s.compare(level, index, nodes, v, "the tile's hash is not that of what is below it")
		covered = covered || v.width >= len(nodes)
	}
	if !covered {
		path := layout.TilePath(level, index, uint8(len(nodes)%batchSize)) //nolint:gosec // 0 to 255
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
		if err := s.fullTile(ctx, level-1, index*batchSize+uint64(j), h); err != nil { //nolint:gosec // j counts up from 0
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
		path := layout.EntriesPath(index, uint8(len(leaves)%batchSize)) //nolint:gosec // 0 to 255
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

// recompute computes the nodes of a tile from the entries' bytes; a node is nil
// where an entry below it cannot be read.
func (s *inspection) recompute(ctx context.Context, level, index uint64, width int) ([][]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	nodes := make([][]byte, width)
	if level == 0 {
		variants, err := s.bundleVariants(index, width)
		if err != nil {
			return nil, err
		}
		for _, v := range variants {
			if v.width >= width { // the widest comes first, so the narrowest that covers wins
				clear(nodes)
				copy(nodes, v.hashes)
			}
		}
		return nodes, nil
	}
	for j := range nodes {
		below, err := s.recompute(ctx, level-1, index*batchSize+uint64(j), batchSize) //nolint:gosec // j counts up from 0
		if err != nil {
			return nil, err
		}
		if complete(below) {
			if nodes[j], err = perfectRoot(below); err != nil {
				return nil, err
			}
		}
	}
	return nodes, nil
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

func hasRoot(nodes [][]byte, root []byte) bool {
	got, err := perfectRoot(nodes)
	return err == nil && bytes.Equal(got, root)
}

func complete(nodes [][]byte) bool {
	for _, n := range nodes {
		if n == nil {
			return false
		}
	}
	return true
}

func sameNodes(a, b [][]byte) bool {
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}

// maxFindings bounds a report; a ledger full of zeros needs no longer one.
const maxFindings = 1000

type findings struct {
	damages []Damage
	omitted int
}

func (f *findings) add(d ...Damage) {
	room := min(len(d), maxFindings-len(f.damages))
	f.damages = append(f.damages, d[:room]...)
	f.omitted += len(d) - room
}

func (f *findings) addf(d Damage, format string, args ...any) {
	d.Reason = fmt.Sprintf(format, args...)
	f.add(d)
}
