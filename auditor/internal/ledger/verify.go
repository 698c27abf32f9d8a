package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api/layout"
)

// Report is what Verify found.
type Report struct {
	// Segments are those on disk, by epoch.
	Segments []SegmentReport
	// Damages are the places that are not what was signed, at most 1000.
	Damages []Damage
	// Omitted counts damages beyond those.
	Omitted int
}

// SegmentReport says what was verified of one segment.
type SegmentReport struct {
	Epoch int64
	// Size is the number of entries under the signed checkpoint.
	Size int64
	// Unsigned is the number of durable entries after the checkpoint: what
	// arrived in the last checkpoint interval, or before a crash. They are
	// compared with the log's own state, which nobody signs.
	Unsigned int64
	// Root is the root hash of the checkpoint.
	Root []byte
	// Fence is the fencing number of the checkpoint.
	Fence uint64
}

// Err is nil when no damage was found, else a *DamagedError.
func (r Report) Err() error {
	if len(r.Damages) == 0 {
		return nil
	}
	return &DamagedError{Damages: r.Damages, Omitted: r.Omitted}
}

// Verify recomputes the whole ledger from the bytes of its entries and compares
// every tile, every checkpoint and the manifest. It needs no lock, writes
// nothing, and may run while another process appends: then it verifies up to
// the state it met.
//
// The key comes from outside the directory if the directory is in doubt. Each
// earlier checkpoint (a signed note that was kept elsewhere) must be a prefix of
// today's segment: that is how an outsider sees a history which the holder of
// the key has rewritten or cut.
//
// The error is about verifying (canceled, no permission, an earlier checkpoint
// that this key did not sign); what is wrong with the ledger is in the Report.
func Verify(ctx context.Context, dir string, key PublicKey, earlier ...[]byte) (Report, error) {
	v := verification{dir: dir, key: key}
	if _, err := key.verifier(key.manifestName()); err != nil {
		return Report{}, fmt.Errorf("verify ledger: public key: %w", err)
	}
	for i, raw := range earlier {
		cp, err := ParseCheckpoint(key, raw)
		if err != nil {
			return Report{}, fmt.Errorf("verify ledger: earlier checkpoint %d: %w", i+1, err)
		}
		v.earlier = append(v.earlier, cp)
	}
	if err := v.run(ctx); err != nil {
		return Report{}, fmt.Errorf("verify ledger: %w", err)
	}
	return Report{Segments: v.segments, Damages: v.found.damages, Omitted: v.found.omitted}, nil
}

// Verify is [Verify] with the key that lies beside the ledger: it shows
// accidents.
func (r *Reader) Verify(ctx context.Context) (Report, error) {
	key, err := r.PublicKey()
	if err != nil {
		return Report{}, fmt.Errorf("verify ledger: %w", err)
	}
	return Verify(ctx, r.dir, key)
}

type verification struct {
	dir      string
	key      PublicKey
	earlier  []Checkpoint
	manifest manifest
	signed   bool // the manifest was read and its signature is good
	found    findings
	segments []SegmentReport
}

func (v *verification) run(ctx context.Context) error {
	heads, err := v.readHeads()
	if err != nil {
		return err
	}
	v.checkPublicKey()
	for _, h := range heads {
		if err := v.segment(ctx, h); err != nil {
			return err
		}
	}
	present := func(epoch int64) bool {
		return slices.ContainsFunc(heads, func(h head) bool { return h.epoch == epoch })
	}
	for _, s := range v.manifest.segments {
		if !present(s.epoch) {
			v.found.add(Damage{Epoch: s.epoch, First: min(1, lastOf(s.size)), Last: lastOf(s.size), Path: segmentName(s.epoch), Reason: "the manifest lists the segment but it is missing"})
		}
	}
	for _, cp := range v.earlier {
		if !present(cp.Epoch) {
			v.found.add(Damage{Epoch: cp.Epoch, First: min(1, cp.Size), Last: cp.Size, Path: segmentName(cp.Epoch), Reason: "an earlier checkpoint names the segment but it is missing"})
		}
	}
	return nil
}

// head is what one segment says of itself at one moment.
type head struct {
	epoch         int64
	checkpoint    []byte
	checkpointErr error
	state         treeState
	stateErr      error
	tiles         bool // it has files of entries or hashes
}

// readHeads reads manifest, checkpoints and states at one moment: it repeats
// while an appender changes the manifest, which it does before anything that
// the manifest would contradict. The state is read after the checkpoint, which
// is never ahead of it.
func (v *verification) readHeads() ([]head, error) {
	path := filepath.Join(v.dir, manifestFileName)
	for {
		before, err := os.ReadFile(path) //nolint:gosec // the ledger to verify
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		epochs, err := listEpochs(v.dir)
		if err != nil {
			return nil, err
		}
		var heads []head
		for _, epoch := range epochs {
			h := head{epoch: epoch}
			segment := filepath.Join(v.dir, segmentName(epoch))
			h.checkpoint, h.checkpointErr = os.ReadFile(filepath.Join(segment, layout.CheckpointPath)) //nolint:gosec // the ledger to verify
			h.state, h.stateErr = readTreeState(segment)
			if h.tiles, err = exists(filepath.Join(segment, "tile")); err != nil {
				return nil, err
			}
			if err := errors.Join(h.checkpointErr, h.stateErr); errors.Is(err, fs.ErrPermission) {
				return nil, err
			}
			heads = append(heads, h)
		}
		after, err := os.ReadFile(path) //nolint:gosec // the ledger to verify
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if bytes.Equal(before, after) {
			v.parseManifest(before)
			return heads, nil
		}
	}
}

func (v *verification) parseManifest(raw []byte) {
	if len(raw) == 0 {
		v.found.add(Damage{Path: manifestFileName, Reason: "the manifest is missing or empty: this is no ledger, or what lists its segments was removed"})
		return
	}
	m, err := parseManifest(raw, v.key)
	if err != nil {
		v.found.add(Damage{Path: manifestFileName, Reason: err.Error()})
		return
	}
	v.manifest, v.signed = m, true
}

func (v *verification) checkPublicKey() {
	raw, err := os.ReadFile(filepath.Join(v.dir, publicFileName))
	if err == nil && string(raw) != v.key.String()+"\n" {
		err = errors.New("it is not the key that the ledger is verified with")
	}
	if err != nil {
		v.found.add(Damage{Path: publicFileName, Reason: err.Error()})
	}
}

// segment verifies one segment and reports it.
func (v *verification) segment(ctx context.Context, h head) error {
	name := segmentName(h.epoch)
	if v.beginning(h) {
		return nil
	}
	checkpointPath := filepath.Join(name, layout.CheckpointPath)
	if _, listed := v.manifest.find(h.epoch); v.signed && !listed {
		v.found.add(Damage{Epoch: h.epoch, Path: manifestFileName, Reason: "the manifest does not list the segment"})
	}
	cp, err := parseOwnCheckpoint(v.key, h.epoch, h.checkpoint)
	if h.checkpointErr != nil {
		err = h.checkpointErr
	}
	signed := err == nil
	if !signed {
		v.found.add(Damage{Epoch: h.epoch, Path: checkpointPath, Reason: err.Error()})
		cp = Checkpoint{Epoch: h.epoch}
	} else if v.signed && cp.Fence > v.manifest.fence {
		v.found.addf(Damage{Epoch: h.epoch, Path: manifestFileName}, "the checkpoint was signed under fencing number %d, the manifest under the older %d: it was put back", cp.Fence, v.manifest.fence)
	}
	v.checkState(h, cp, signed)
	result, err := v.inspect(ctx, h, cp, signed)
	if err != nil {
		return err
	}
	v.checkEarlier(cp, signed, result)
	v.checkVersion(h.epoch)
	report := SegmentReport{Epoch: h.epoch, Size: cp.Size, Root: cp.Root, Fence: cp.Fence}
	if h.stateErr == nil {
		report.Unsigned = max(0, lastOf(h.state.Size)-cp.Size)
	}
	v.segments = append(v.segments, report)
	return nil
}

// beginning: a segment exists for a moment before it is listed, without entries.
func (v *verification) beginning(h head) bool {
	_, listed := v.manifest.find(h.epoch)
	empty := errors.Is(h.stateErr, fs.ErrNotExist) || h.stateErr == nil && h.state.Size == 0
	if !v.signed || listed || !empty {
		return false
	}
	if errors.Is(h.checkpointErr, fs.ErrNotExist) {
		return !h.tiles
	}
	cp, err := parseOwnCheckpoint(v.key, h.epoch, h.checkpoint)
	return err == nil && cp.Size == 0 && bytes.Equal(cp.Root, rfc6962.DefaultHasher.EmptyRoot())
}

func (v *verification) checkState(h head, cp Checkpoint, signed bool) {
	d := Damage{Epoch: h.epoch, Path: filepath.Join(segmentName(h.epoch), stateDirName, stateFileName)}
	switch {
	case h.stateErr != nil:
		v.found.addf(d, "the log's state: %v", h.stateErr)
	case !signed:
	case h.state.Size < sizeOf(cp.Size):
		d.First, d.Last = numberOf(h.state.Size), cp.Size
		v.found.addf(d, "the log's state is behind its checkpoint")
	case h.state.Size == sizeOf(cp.Size) && !bytes.Equal(h.state.Root, cp.Root):
		v.found.addf(d, "the log's state has another root than its checkpoint")
	}
}

// inspect verifies the files of a segment: first against the log's own state,
// where that is ahead of the checkpoint and continues it, else against the
// checkpoint alone.
func (v *verification) inspect(ctx context.Context, h head, cp Checkpoint, signed bool) (*inspection, error) {
	size := sizeOf(cp.Size)
	if h.stateErr == nil && (!signed || h.state.Size > size) {
		s := newInspection(v.dir, h.epoch, h.state.Size, append(v.marks(h.epoch), size))
		ok, err := s.run(ctx, h.state.Root)
		if err != nil {
			return nil, err
		}
		continues := s.marks[size] != nil && bytes.Equal(s.marks[size], cp.Root)
		if ok && (!signed || continues) {
			v.found.add(s.found.damages...)
			v.found.omitted += s.found.omitted
			return s, nil
		}
		v.found.add(Damage{
			Epoch: h.epoch, First: numberOf(size), Last: lastOf(h.state.Size),
			Path:   filepath.Join(segmentName(h.epoch), stateDirName, stateFileName),
			Reason: "the entries after the checkpoint and the log's state do not belong together",
		})
	}
	s := newInspection(v.dir, h.epoch, size, v.marks(h.epoch))
	if !signed {
		return s, nil // reported; there is nothing to verify against
	}
	ok, err := s.run(ctx, cp.Root)
	if err != nil {
		return nil, err
	}
	v.found.add(s.found.damages...)
	v.found.omitted += s.found.omitted
	if !ok {
		v.found.add(Damage{
			Epoch: h.epoch, First: min(1, cp.Size), Last: cp.Size,
			Path:   filepath.Join(segmentName(h.epoch), layout.CheckpointPath),
			Reason: "the entries on disk do not hash to the root that the checkpoint signs",
		})
	}
	return s, nil
}

// marks are the sizes whose roots earlier statements about an epoch name.
func (v *verification) marks(epoch int64) []uint64 {
	var sizes []uint64
	for _, cp := range v.earlier {
		if cp.Epoch == epoch {
			sizes = append(sizes, sizeOf(cp.Size))
		}
	}
	if s, ok := v.manifest.find(epoch); ok {
		sizes = append(sizes, s.size)
	}
	return sizes
}

// checkEarlier compares with what was stated before: by checkpoints that an
// outsider kept, and by the manifest.
func (v *verification) checkEarlier(cp Checkpoint, signed bool, s *inspection) {
	path := filepath.Join(segmentName(cp.Epoch), layout.CheckpointPath)
	check := func(size int64, root []byte, statement string) {
		if signed && size > cp.Size {
			v.found.addf(Damage{Epoch: cp.Epoch, First: cp.Size + 1, Last: size, Path: path},
				"%s covers %d entries, this checkpoint only %d: the log was cut or put back", statement, size, cp.Size)
		}
		if got := s.marks[sizeOf(size)]; got != nil && !bytes.Equal(got, root) {
			v.found.addf(Damage{Epoch: cp.Epoch, First: min(1, size), Last: size, Path: path},
				"%s has another root for the first %d entries: history was rewritten", statement, size)
		}
	}
	for _, e := range v.earlier {
		if e.Epoch != cp.Epoch {
			continue
		}
		check(e.Size, e.Root, "an earlier checkpoint")
		if signed && e.Fence > cp.Fence {
			v.found.addf(Damage{Epoch: cp.Epoch, Path: path}, "an earlier checkpoint was signed under the later fencing number %d, this one under %d", e.Fence, cp.Fence)
		}
	}
	if m, ok := v.manifest.find(cp.Epoch); ok {
		check(lastOf(m.size), m.root, "the manifest")
	}
}

// checkVersion: the log's format version decides how the rest is read.
func (v *verification) checkVersion(epoch int64) {
	path := filepath.Join(segmentName(epoch), stateDirName, versionFileName)
	raw, err := os.ReadFile(filepath.Join(v.dir, path)) //nolint:gosec // the ledger to verify
	if err == nil && string(raw) != "1" {
		err = fmt.Errorf("version %q, want 1", raw)
	}
	if err != nil {
		v.found.addf(Damage{Epoch: epoch, Path: path}, "the log's format: %v", err)
	}
}
