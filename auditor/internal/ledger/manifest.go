package ledger

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
)

// manifest is the signed list of the segments, so that a segment that is
// dropped as a whole is missed. It is written at Open, when a segment begins
// and at Close; the sizes in it are lower bounds from then, which also shows a
// checkpoint that was put back to an older one.
//
//	curfew/<installation>/segments
//	fence <n>
//	segment <epoch> <size> <root, base64>
//
//	— signatures
type manifest struct {
	fence    uint64
	segments []manifestSegment // by epoch, ascending
}

type manifestSegment struct {
	epoch int64
	size  uint64
	root  []byte
}

func byEpoch(a, b manifestSegment) int { return cmp.Compare(a.epoch, b.epoch) }

func (m *manifest) find(epoch int64) (*manifestSegment, bool) {
	i, ok := slices.BinarySearchFunc(m.segments, manifestSegment{epoch: epoch}, byEpoch)
	if !ok {
		return nil, false
	}
	return &m.segments[i], true
}

// record notes a segment's checkpoint; a size never goes back.
func (m *manifest) record(epoch int64, size uint64, root []byte) {
	if s, ok := m.find(epoch); ok {
		if size >= s.size {
			s.size, s.root = size, root
		}
		return
	}
	m.segments = append(m.segments, manifestSegment{epoch: epoch, size: size, root: root})
	slices.SortFunc(m.segments, byEpoch)
}

func (m *manifest) text(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nfence %d\n", name, m.fence)
	for _, s := range m.segments {
		fmt.Fprintf(&b, "segment %d %d %s\n", s.epoch, s.size, base64.StdEncoding.EncodeToString(s.root))
	}
	return b.String()
}

// write signs the manifest and puts it in place.
func (m *manifest) write(dir string, key signingKey) error {
	name := key.public.manifestName()
	raw, err := note.Sign(&note.Note{Text: m.text(name)}, key.plainSigner(name), key.fenceSigner(name, m.fence))
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	if err := replaceFile(filepath.Join(dir, manifestFileName), raw, publicMode); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

// readManifest returns fs.ErrNotExist, or *DamagedError when it is not ours.
func readManifest(dir string, key PublicKey) (manifest, error) {
	raw, err := os.ReadFile(filepath.Join(dir, manifestFileName)) //nolint:gosec // the configured ledger
	if err != nil {
		return manifest{}, err
	}
	m, err := parseManifest(raw, key)
	if err != nil {
		return manifest{}, damaged(Damage{Path: manifestFileName, Reason: err.Error()})
	}
	return m, nil
}

func parseManifest(raw []byte, key PublicKey) (manifest, error) {
	name := key.manifestName()
	if err := checkCanonical(raw, key, name); err != nil {
		return manifest{}, fmt.Errorf("parse manifest: %w", err)
	}
	text, _, _ := bytes.Cut(raw, []byte("\n\n"))
	lines := strings.Split(string(text), "\n")
	if len(lines) < 2 {
		return manifest{}, errors.New("parse manifest: too short")
	}
	var m manifest
	var err error
	if m.fence, err = strconv.ParseUint(strings.TrimPrefix(lines[1], "fence "), 10, 64); err != nil {
		return manifest{}, fmt.Errorf("parse manifest: %w", err)
	}
	for _, line := range lines[2:] {
		s, err := parseManifestSegment(line)
		if err != nil {
			return manifest{}, fmt.Errorf("parse manifest: line %q: %w", line, err)
		}
		m.segments = append(m.segments, s)
	}
	// The signed text must be what this manifest would be written as: name,
	// order and encoding included.
	if m.text(name) != string(text)+"\n" || !slices.IsSortedFunc(m.segments, byEpoch) {
		return manifest{}, errors.New("parse manifest: not in its canonical form")
	}
	return m, nil
}

func parseManifestSegment(line string) (manifestSegment, error) {
	fields := strings.Fields(line)
	if len(fields) != 4 || fields[0] != "segment" {
		return manifestSegment{}, errors.New("not a segment")
	}
	epoch, err1 := strconv.ParseInt(fields[1], 10, 64)
	size, err2 := strconv.ParseUint(fields[2], 10, 63)
	root, err3 := base64.StdEncoding.Strict().DecodeString(fields[3])
	if err := errors.Join(err1, err2, err3); err != nil {
		return manifestSegment{}, err
	}
	if epoch < 1 || len(root) != rfc6962.DefaultHasher.Size() {
		return manifestSegment{}, errors.New("not an epoch with a root")
	}
	return manifestSegment{epoch: epoch, size: size, root: root}, nil
}

// openManifest reads the manifest of a ledger that is about to be appended to.
// Without one there may be no segment: it is written before the first.
func openManifest(dir string, key PublicKey) (manifest, error) {
	m, err := readManifest(dir, key)
	if !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	epochs, err := listEpochs(dir)
	if err != nil {
		return manifest{}, err
	}
	if len(epochs) > 0 {
		return manifest{}, damaged(Damage{Path: manifestFileName, Reason: "the manifest is missing but there are segments"})
	}
	return manifest{}, nil
}
