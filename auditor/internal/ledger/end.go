package ledger

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/transparency-dev/tessera/api/layout"
)

// checkEnd reads how far a segment's log goes, from the log itself (D5): the
// driver's state is believed when the tiles have its root, the last bundle
// hashes to the last tile, and the signed checkpoint is a prefix of it. It
// returns 0 for a log that has not begun. Cost: a few files, whatever the size.
func checkEnd(ctx context.Context, path string, epoch int64, key PublicKey) (uint64, error) {
	name := filepath.Base(path)
	state, err := readTreeState(path)
	begun := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, damaged(Damage{Epoch: epoch, Path: filepath.Join(name, stateDirName, stateFileName), Reason: err.Error()})
	}
	raw, err := os.ReadFile(filepath.Join(path, layout.CheckpointPath)) //nolint:gosec // the configured ledger
	switch {
	case errors.Is(err, fs.ErrNotExist) && state.Size == 0:
		// New, or a crash before the first checkpoint; with neither state
		// nor checkpoint there must be no entries either.
		return 0, checkNoEntries(path, epoch)
	case err != nil:
		return 0, damaged(Damage{Epoch: epoch, Path: filepath.Join(name, layout.CheckpointPath), Reason: err.Error()})
	}
	cp, err := parseOwnCheckpoint(key, epoch, raw)
	if err != nil {
		return 0, damaged(Damage{Epoch: epoch, Path: filepath.Join(name, layout.CheckpointPath), Reason: err.Error()})
	}
	if !begun || state.Size < sizeOf(cp.Size) {
		return 0, damaged(Damage{
			Epoch: epoch, First: lastOf(state.Size) + 1, Last: cp.Size, Path: filepath.Join(name, stateDirName, stateFileName),
			Reason: "the log's state is behind its checkpoint; appending would replace signed entries",
		})
	}
	return state.Size, checkEndRoots(ctx, path, epoch, state, cp)
}

func checkEndRoots(ctx context.Context, path string, epoch int64, state treeState, cp Checkpoint) error {
	name := filepath.Base(path)
	v := newView(path, state.Size)
	root, err := v.rootAt(ctx, state.Size)
	if err == nil && !bytes.Equal(root, state.Root) {
		err = errors.New("the tiles do not have the root of the log's state")
	}
	if err == nil {
		err = v.checkLastBundle(ctx)
	}
	if err == nil {
		root, err = v.rootAt(ctx, sizeOf(cp.Size))
	}
	if err == nil && !bytes.Equal(root, cp.Root) {
		err = errors.New("the tiles do not have the root of the checkpoint")
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return damaged(Damage{
			Epoch: epoch, First: 1, Last: lastOf(state.Size), Path: name,
			Reason: "the end of the log is inconsistent (Verify names the place): " + err.Error(),
		})
	}
	return nil
}

// checkNoEntries: the state file is written before the first entry, so entries
// without one are a log whose state and checkpoint were removed.
func checkNoEntries(path string, epoch int64) error {
	if state, err := exists(statePath(path)); state || err != nil {
		return err
	}
	for _, first := range []string{layout.EntriesPath(0, 0), layout.EntriesPath(0, 0) + ".p"} {
		there, err := exists(filepath.Join(path, first))
		if err != nil {
			return err
		}
		if there {
			return damaged(Damage{
				Epoch: epoch, Path: filepath.Join(filepath.Base(path), layout.CheckpointPath),
				Reason: "there are entries but neither checkpoint nor state",
			})
		}
	}
	return nil
}

// dropUnsigned deletes the state of an empty log that has no checkpoint: a crash
// came between the two. The library signs an empty log where it finds no state
// and never else; so with this one, entries would come before any checkpoint, and
// a crash then would leave what looks like a log whose checkpoint was removed.
func dropUnsigned(path string) error {
	signed, err := exists(filepath.Join(path, layout.CheckpointPath))
	if err != nil || signed {
		return err
	}
	if err := os.Remove(statePath(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// dropUncommitted deletes what a crash left beyond the durable size: files that
// a batch wrote before the state that makes it count. The entries come again;
// were their bytes different then, a leftover would look like tampering.
func dropUncommitted(path string, size uint64) error {
	drop := func(name func(partial uint8) string, width uint64) (bool, error) {
		full := filepath.Join(path, name(0))
		found, err := exists(full)
		if err != nil {
			return false, err
		}
		if found {
			if err := os.Remove(full); err != nil { //nolint:gosec // within the configured ledger
				return false, err
			}
		}
		partials, err := os.ReadDir(full + ".p")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		for _, p := range partials {
			if n, err := strconv.ParseUint(p.Name(), 10, 8); err == nil && n > width {
				found = true
				if err := os.Remove(filepath.Join(full+".p", p.Name())); err != nil { //nolint:gosec // within the configured ledger
					return false, err
				}
			}
		}
		return found, nil
	}
	// From the first unit that the size leaves incomplete, as far as there is
	// something: a batch reaches at most into the next bundle.
	sweep := func(nodes uint64, name func(index uint64, partial uint8) string) error {
		for index, width := nodes/batchSize, nodes%batchSize; ; index, width = index+1, 0 {
			found, err := drop(func(p uint8) string { return name(index, p) }, width)
			if err != nil || (!found && index > nodes/batchSize) {
				return err
			}
		}
	}
	if err := sweep(size, layout.EntriesPath); err != nil {
		return err
	}
	for level := uint64(0); level < 8; level++ {
		err := sweep(size>>(layout.TileHeight*level), func(index uint64, p uint8) string { return layout.TilePath(level, index, p) })
		if err != nil {
			return err
		}
	}
	return nil
}
