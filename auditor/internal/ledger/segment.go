package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

// never is an interval that does not pass: the library has no "off" for it.
const never = time.Duration(math.MaxInt64)

// segment appends to one epoch's log. It is used under the Ledger's mutex.
type segment struct {
	epoch  int64
	path   string
	size   uint64 // integrated and durable; the next entry has this leaf index
	broken error  // sticky: the first failed write

	driver    tessera.Driver
	publisher *publisher
	interval  time.Duration      // between checkpoints
	stop      context.CancelFunc // ends the library's goroutines
}

// openSegment opens an existing log or begins one, and starts publishing its
// checkpoints. What exists is checked first (checkEnd): the library itself
// would take a missing state file for a new log and sign an empty tree over it.
func openSegment(ctx context.Context, path string, epoch int64, cfg Config, signers *publisher) (*segment, error) {
	size, err := checkEnd(ctx, path, epoch, signers.public)
	if err != nil {
		return nil, err
	}
	if err := dropUncommitted(path, size); err != nil {
		return nil, fmt.Errorf("drop what a crash left: %w", err)
	}
	if size == 0 {
		if err := dropUnsigned(path); err != nil {
			return nil, fmt.Errorf("drop what a crash left: %w", err)
		}
	}
	if err := makeDir(path); err != nil {
		return nil, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: path})
	if err != nil {
		return nil, err
	}
	// The library's goroutines live until stop, not as long as one Append.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(signers.plain(), signers.fenced()).
		WithCheckpointInterval(cfg.CheckpointInterval).
		WithCheckpointRepublishInterval(0).
		WithGarbageCollectionInterval(cfg.CollectInterval)
	if _, _, _, err := tessera.NewAppender(running, driver, options); err != nil {
		stop()
		return nil, err
	}
	s := &segment{epoch: epoch, path: path, size: size, driver: driver, publisher: signers, interval: cfg.CheckpointInterval, stop: stop}
	s.unstick()
	return s, nil
}

// write makes up to batchSize entries durable, all or (after an error, as far
// as this process is concerned) none.
//
// The library's queue flushes by size or by age. Flushing by age could cut a
// batch in two, and if the first part then failed and the second did not, the
// log would have a hole in its numbers. So each batch gets an appender that
// flushes at exactly its size and never by age, and is waited for before the
// next one. The appender costs microseconds beside the fsyncs of the batch.
func (s *segment) write(ctx context.Context, entries [][]byte) error {
	if s.broken != nil {
		return s.broken
	}
	if err := s.publisher.lock.check(); err != nil {
		return err
	}
	if err := s.flush(ctx, entries); err != nil {
		s.broken = fmt.Errorf("%w: %w", ErrBroken, err)
		s.publisher.close() // whether it was applied is for the next Open to read
		return s.broken
	}
	s.size += uint64(len(entries))
	s.unstick()
	return nil
}

// unstick keeps the library publishing when the machine's clock was put back,
// or the files come from a backup: it waits for the checkpoint file to be older
// than the interval by the clock, which can take as long as the step was wide.
// A checkpoint that is younger than the state which was written just now is
// given the state's time.
func (s *segment) unstick() {
	s.redate(func(checkpoint, state time.Time) time.Time {
		if checkpoint.After(state) {
			return state
		}
		return checkpoint
	})
}

// hasten makes the library publish at its next look, however young the
// checkpoint is.
func (s *segment) hasten() {
	s.redate(func(_, state time.Time) time.Time { return state.Add(-s.interval) })
}

// redate sets the checkpoint file's time. If that fails, checkpoints are late
// and nothing else.
func (s *segment) redate(change func(checkpoint, state time.Time) time.Time) {
	path := filepath.Join(s.path, layout.CheckpointPath)
	checkpoint, err1 := os.Stat(path) //nolint:gosec // within the configured ledger
	state, err2 := os.Stat(statePath(s.path))
	if errors.Join(err1, err2) != nil {
		return
	}
	if to := change(checkpoint.ModTime(), state.ModTime()); !to.Equal(checkpoint.ModTime()) {
		_ = os.Chtimes(path, to, to)
	}
}

func (s *segment) flush(ctx context.Context, entries [][]byte) error {
	// A batch that was handed over is awaited to its end.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(silentSigner(s.publisher.plain())).
		WithBatching(uint(len(entries)), never).
		WithPushback(batchSize).
		WithCheckpointInterval(never).
		WithCheckpointRepublishInterval(0).
		WithGarbageCollectionInterval(0)
	appender, _, _, err := tessera.NewAppender(running, s.driver, options)
	if err != nil {
		return err
	}
	futures := make([]tessera.IndexFuture, len(entries))
	for i, data := range entries {
		futures[i] = appender.Add(running, tessera.NewEntry(data))
	}
	var first error
	for i, future := range futures {
		index, err := future()
		if err == nil && index.Index != s.size+uint64(i) {
			err = fmt.Errorf("entry %d was given leaf index %d", numberOf(s.size+uint64(i)), index.Index)
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// close waits until a checkpoint covers every entry and stops. No entry, tile
// or checkpoint of this segment is written once it has returned without an
// error. A round of the library's collector that had begun may still end: it
// removes files that nothing needs any more and notes how far it came, which
// the collector of the next owner does again without harm.
func (s *segment) close(ctx context.Context) error {
	defer s.stop()
	defer s.publisher.close()
	if s.broken != nil || s.publisher.lock.check() != nil {
		return nil // what was acknowledged is durable; the next Open signs it
	}
	s.hasten()
	err := awaitFile(ctx, filepath.Join(s.path, layout.CheckpointPath), func(raw []byte) bool {
		cp, err := parseOwnCheckpoint(s.publisher.public, s.epoch, raw)
		return err == nil && sizeOf(cp.Size) >= s.size
	})
	if err != nil {
		return fmt.Errorf("await the last checkpoint of epoch %d: %w", s.epoch, err)
	}
	// A checkpoint that was signed just now may still be on its way to disk.
	last := s.publisher.close()
	return awaitFile(ctx, filepath.Join(s.path, layout.CheckpointPath), func(raw []byte) bool {
		return bytes.HasPrefix(raw, last)
	})
}

// awaitFile polls: the library says nowhere that it has published.
func awaitFile(ctx context.Context, path string, done func([]byte) bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		raw, err := os.ReadFile(path) //nolint:gosec // a file of the configured ledger
		if err == nil && done(raw) {
			return nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// publisher signs the checkpoints of one segment as long as the lock is held.
type publisher struct {
	key    signingKey
	public PublicKey
	origin string
	lock   *lock

	mu     sync.Mutex
	closed bool
	last   []byte // the text that was signed last
}

func newPublisher(key signingKey, epoch int64, l *lock) *publisher {
	return &publisher{key: key, public: key.public, origin: key.public.Origin(epoch), lock: l}
}

// plain and fenced are the two signers of a checkpoint; the library calls them
// in this order.
func (p *publisher) plain() note.Signer { return p.guard(p.key.plainSigner(p.origin)) }

func (p *publisher) fenced() note.Signer {
	return p.guard(p.key.fenceSigner(p.origin, p.lock.fence))
}

func (p *publisher) guard(s noteSigner) note.Signer {
	sign := s.sign
	s.sign = func(text []byte) ([]byte, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.closed {
			return nil, ErrClosed
		}
		if err := p.lock.check(); err != nil {
			return nil, err
		}
		sig, err := sign(text)
		if err == nil {
			p.last = bytes.Clone(text)
		}
		return sig, err
	}
	return s
}

// close refuses every later signature and returns the text signed last.
func (p *publisher) close() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return p.last
}

// silentSigner names the log for the library but signs nothing.
func silentSigner(s note.Signer) note.Signer {
	return noteSigner{name: s.Name(), hash: s.KeyHash(), sign: func([]byte) ([]byte, error) {
		return nil, errors.New("only the publisher signs")
	}}
}
