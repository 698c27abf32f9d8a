package ledger

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api/layout"
)

// variant is one file of a tile or a bundle: the full one, or a partial one of
// some width. All widths that are on disk are verified, also superseded ones
// that have not been collected yet.
type variant struct {
	path   string // relative to the segment
	width  int
	hashes [][]byte // nodes of a tile; leaf hashes of a bundle's entries
	err    error    // why the rest of the file could not be read
}

// readVariants reads every file of one tile or bundle, the widest first.
func readVariants(segment string, need int, name func(partial uint8) string, parse func([]byte, int) ([][]byte, error)) ([]variant, error) {
	var found []variant
	// A writer may supersede and collect partial files between two looks;
	// the full file is there by then, so the second look sees it.
	for range 2 {
		found = found[:0]
		for _, width := range widths(filepath.Join(segment, name(0)+".p")) {
			path := name(uint8(width % batchSize))                //nolint:gosec // 0 to 255
			raw, err := os.ReadFile(filepath.Join(segment, path)) //nolint:gosec // within the configured ledger
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if errors.Is(err, fs.ErrPermission) {
				return nil, err // nothing is known to be wrong: it cannot be verified
			}
			v := variant{path: path, width: width, err: err}
			if err == nil {
				v.hashes, v.err = parse(raw, width)
			}
			found = append(found, v)
		}
		if slices.ContainsFunc(found, func(v variant) bool { return v.width >= need }) {
			break
		}
	}
	return found, nil
}

// widths lists the full width and those of the partial files in a directory,
// descending. Names that are no width are not part of the log.
func widths(partials string) []int {
	all := []int{batchSize}
	entries, err := os.ReadDir(partials)
	if err != nil {
		return all // absent for most; what is missing is noticed by the caller
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err == nil && n > 0 && n < batchSize && strconv.Itoa(n) == e.Name() {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b int) int { return b - a })
	return all
}

func (s *inspection) tileVariants(level, index uint64, need int) ([]variant, error) {
	return readVariants(s.segment, need, func(p uint8) string { return layout.TilePath(level, index, p) }, parseTile)
}

func (s *inspection) bundleVariants(index uint64, need int) ([]variant, error) {
	return readVariants(s.segment, need, func(p uint8) string { return layout.EntriesPath(index, p) }, parseBundle)
}

// parseTile splits a tile into its nodes. On an error it returns what it could.
func parseTile(raw []byte, width int) ([][]byte, error) {
	nodes := make([][]byte, 0, width)
	for len(raw) >= sha256.Size && len(nodes) < width {
		nodes = append(nodes, raw[:sha256.Size:sha256.Size])
		raw = raw[sha256.Size:]
	}
	switch {
	case len(raw) > 0:
		return nodes, fmt.Errorf("%d bytes after node %d", len(raw), len(nodes))
	case len(nodes) < width:
		return nodes, fmt.Errorf("it ends after %d of %d nodes", len(nodes), width)
	}
	return nodes, nil
}

// parseBundle hashes the entries of a bundle (each with a length of two bytes
// before it). On an error it returns the hashes of the entries before it.
func parseBundle(raw []byte, width int) ([][]byte, error) {
	hashes := make([][]byte, 0, width)
	for len(raw) >= 2 && len(hashes) < width {
		n := int(raw[0])<<8 | int(raw[1])
		if n > len(raw)-2 {
			return hashes, fmt.Errorf("entry %d of the bundle is cut short", len(hashes)+1)
		}
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(raw[2:2+n]))
		raw = raw[2+n:]
	}
	switch {
	case len(raw) > 0:
		return hashes, fmt.Errorf("%d bytes after entry %d of the bundle", len(raw), len(hashes))
	case len(hashes) < width:
		return hashes, fmt.Errorf("it ends after %d of %d entries", len(hashes), width)
	}
	return hashes, nil
}
