package ledger

import (
	"bytes"
	"context"
	"iter"
	"slices"

	"github.com/transparency-dev/tessera/api/layout"
)

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
		for _, stored := range choices[i] {
			for mixed := range mixtures(stored, nodes) {
				choices[i] = addChoice(choices[i], mixed)
			}
		}
		if len(choices[i]) == 0 && complete(nodes) {
			choices[i] = [][][]byte{nodes}
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

// maxMixed bounds the nodes of one tile for which stored and recomputed values
// are tried against each other.
const maxMixed = 10

// mixtures yields every way to take each node either as stored or as recomputed
// from the entries: where both a tile and entries elsewhere under it are
// damaged, one of these has the root. It yields nothing but the two as they are
// if they differ in too many places.
func mixtures(stored, recomputed [][]byte) iter.Seq[[][]byte] {
	var differ []int
	for j := range stored {
		if recomputed[j] != nil && !bytes.Equal(stored[j], recomputed[j]) {
			differ = append(differ, j)
		}
	}
	return func(yield func([][]byte) bool) {
		if len(differ) > maxMixed {
			if complete(recomputed) {
				yield(recomputed)
			}
			return
		}
		for chosen := range 1 << len(differ) {
			mixed := slices.Clone(stored)
			for bit, j := range differ {
				if chosen>>bit&1 == 1 {
					mixed[j] = recomputed[j]
				}
			}
			if !yield(mixed) {
				return
			}
		}
	}
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

func (s *inspection) settleTile(ctx context.Context, level, index uint64, root []byte, variants []variant) ([][]byte, error) {
	if root != nil {
		full := slices.DeleteFunc(slices.Clone(variants), func(v variant) bool { return len(v.hashes) < batchSize })
		for _, v := range full {
			if hasRoot(v.hashes, root) {
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
		for _, v := range full {
			for mixed := range mixtures(v.hashes, nodes) {
				if hasRoot(mixed, root) {
					return mixed, nil
				}
			}
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
		s.report(level, index, r, stored.path, "the tile and the entries below it differ and neither is proved by the root")
		if level == 0 {
			path := layout.EntriesPath(index, uint8(width%batchSize)) //nolint:gosec // 0 to 255
			s.report(level, index, r, path, "the entries and the tile above them differ and neither is proved by the root")
		}
		for j := r.from; j < r.to; j++ {
			nodes[j] = nil
		}
	}
	return nodes, nil
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
		below, err := s.recompute(ctx, level-1, index*batchSize+uint64(j), batchSize)
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
