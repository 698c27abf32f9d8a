package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/transparency-dev/merkle/rfc6962"
)

const (
	lockFileName     = "lock"
	keyFileName      = "checkpoint.key"
	publicFileName   = "checkpoint.pub"
	manifestFileName = "manifest"
	stateDirName     = ".state"
	stateFileName    = "treeState"
	versionFileName  = "version"

	dirMode    fs.FileMode = 0o750
	secretMode fs.FileMode = 0o600
	publicMode fs.FileMode = 0o640
)

// makeDir creates a directory with its parents and makes each name durable.
func makeDir(path string) error {
	path = filepath.Clean(path)
	info, err := os.Stat(path) //nolint:gosec // within the configured ledger
	if err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: path, Err: errors.New("not a directory")}
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := makeDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, dirMode); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // within the configured ledger
		return err
	}
	return syncDir(parent)
}

func syncDir(path string) error {
	d, err := os.Open(path) //nolint:gosec // a directory of the configured ledger
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// replaceFile gives path new content, durably and all or nothing. The caller
// holds the ledger's lock, so the temporary name is its own.
func replaceFile(path string, content []byte, mode fs.FileMode) error {
	temporary := path + ".new"
	if err := writeDurably(temporary, content, mode); err != nil {
		return errors.Join(err, removeIfPresent(temporary))
	}
	if err := os.Rename(temporary, path); err != nil { //nolint:gosec // within the configured ledger
		return errors.Join(err, removeIfPresent(temporary))
	}
	return syncDir(filepath.Dir(path))
}

// createFile is replaceFile for a path that must not exist yet (fs.ErrExist).
func createFile(path string, content []byte, mode fs.FileMode) error {
	temporary := path + ".new"
	if err := writeDurably(temporary, content, mode); err != nil {
		return errors.Join(err, removeIfPresent(temporary))
	}
	// A link fails when the name is taken; a rename would replace a key.
	if err := errors.Join(os.Link(temporary, path), os.Remove(temporary)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func writeDurably(path string, content []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode) //nolint:gosec // a file of the configured ledger
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

func removeIfPresent(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { //nolint:gosec // within the configured ledger
		return err
	}
	return nil
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path) //nolint:gosec // within the configured ledger
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// treeState is what the POSIX driver says is integrated and durable. It is
// never believed alone: an appender and Verify recompute the root from the
// log itself (D5: "next" is read from the log).
type treeState struct {
	Size uint64 `json:"size"`
	Root []byte `json:"root"`
}

func statePath(segment string) string { return filepath.Join(segment, stateDirName, stateFileName) }

// readTreeState reads the driver's state; fs.ErrNotExist when there is none.
func readTreeState(segment string) (treeState, error) {
	raw, err := os.ReadFile(statePath(segment))
	if err != nil {
		return treeState{}, err
	}
	var s treeState
	if err := json.Unmarshal(raw, &s); err != nil {
		return treeState{}, fmt.Errorf("parse tree state: %w", err)
	}
	// One state has one encoding: what the JSON decoder would overlook (the
	// case of a key, say) is a changed byte all the same.
	if canonical, err := json.Marshal(s); err != nil || !bytes.Equal(canonical, raw) {
		return treeState{}, errors.New("parse tree state: not in its canonical form")
	}
	if len(s.Root) != rfc6962.DefaultHasher.Size() || s.Size != sizeOf(lastOf(s.Size)) {
		return treeState{}, errors.New("parse tree state: not a tree size with its root")
	}
	return s, nil
}

// listEpochs returns the epochs that have a segment directory, ascending.
func listEpochs(dir string) ([]int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var epochs []int64
	for _, e := range entries {
		if epoch, ok := parseSegmentName(e.Name()); ok {
			epochs = append(epochs, epoch)
		}
	}
	slices.Sort(epochs)
	return epochs, nil
}
