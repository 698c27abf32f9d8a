package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/transparency-dev/tessera/api/layout"
)

// Entry is one entry of a segment: event Number of its epoch.
type Entry struct {
	Number int64
	Data   []byte
}

// Reader reads a ledger without its lock, also while another process appends.
// It does not verify what it reads; Verify and proofs do that.
type Reader struct{ dir string }

// NewReader returns a reader of the ledger in dir. It opens nothing yet.
func NewReader(dir string) *Reader { return &Reader{dir: dir} }

func (r *Reader) segment(epoch int64) string { return filepath.Join(r.dir, segmentName(epoch)) }

// Epochs lists the epochs that have a segment, ascending.
func (r *Reader) Epochs() ([]int64, error) {
	epochs, err := listEpochs(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	return epochs, nil
}

// Size is the number of durable entries of an epoch's segment, which is the
// number of the last one; 0 without a segment. It may be ahead of the
// checkpoint by what arrived in the last checkpoint interval.
func (r *Reader) Size(epoch int64) (int64, error) {
	s, err := readTreeState(r.segment(epoch))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read size of epoch %d: %w", epoch, err)
	}
	return lastOf(s.Size), nil
}

// Checkpoint returns the latest checkpoint of an epoch's segment as the signed
// note that it is, or ErrNoSegment.
func (r *Reader) Checkpoint(epoch int64) ([]byte, error) {
	raw, err := os.ReadFile(filepath.Join(r.segment(epoch), layout.CheckpointPath))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read checkpoint: epoch %d: %w", epoch, ErrNoSegment)
	}
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	return raw, nil
}

// PublicKey returns the key that lies beside the ledger. It is a convenience
// for its owner: who doubts the ledger takes the key from elsewhere.
func (r *Reader) PublicKey() (PublicKey, error) {
	raw, err := os.ReadFile(filepath.Join(r.dir, publicFileName))
	if err != nil {
		return PublicKey{}, fmt.Errorf("read public key: %w", err)
	}
	return ParsePublicKey(string(raw))
}

// Entries yields the entries from..to of an epoch in order, bundle by bundle.
// It ends early, without an error, at the last entry that was durable when the
// iteration began. An error is yielded once and ends the iteration.
func (r *Reader) Entries(ctx context.Context, epoch, from, to int64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		size, err := r.Size(epoch)
		if err == nil && from < 1 {
			err = fmt.Errorf("read entries from %d: numbers begin at 1", from)
		}
		if err != nil {
			yield(Entry{}, err)
			return
		}
		v := newView(r.segment(epoch), sizeOf(size))
		to := min(to, size)
		for from <= to {
			if err := ctx.Err(); err != nil {
				yield(Entry{}, err)
				return
			}
			index := sizeOf(from-1) / batchSize
			entries, err := v.bundle(ctx, index)
			if err != nil {
				yield(Entry{}, fmt.Errorf("read entries from %d of epoch %d: %w", from, epoch, err))
				return
			}
			first := numberOf(index * batchSize)
			for i := from - first; i < int64(len(entries)) && from <= to; i++ {
				if !yield(Entry{Number: from, Data: entries[i]}, nil) {
					return
				}
				from++
			}
		}
	}
}
