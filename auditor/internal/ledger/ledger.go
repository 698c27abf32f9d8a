package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/transparency-dev/tessera/api/layout"
)

// Ledger appends to a ledger directory. One process holds it at a time; reading
// needs no lock (Reader). All methods are safe for concurrent use; appends are
// serialised.
type Ledger struct {
	*Reader
	cfg  Config
	key  signingKey
	lock *lock

	mu       sync.Mutex
	closed   bool
	manifest manifest
	segments map[int64]*segment // opened for appending
}

// Open takes the directory's lock and a new fencing number, and creates what a
// new ledger needs. It fails with ErrLocked while another appender has it and
// with a *DamagedError when the manifest is not the one that was signed; a
// damaged segment is reported when it is used. Close releases it.
func Open(ctx context.Context, cfg Config) (*Ledger, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := redirectLibraryLog(cfg.Log); err != nil {
		return nil, err
	}
	if err := makeDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	held, err := acquireLock(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	l := &Ledger{Reader: NewReader(cfg.Dir), cfg: cfg, lock: held, segments: map[int64]*segment{}}
	if err := l.begin(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open ledger %s: %w", cfg.Dir, err), held.release())
	}
	return l, nil
}

// begin loads key and manifest and makes the new fencing number count.
func (l *Ledger) begin(ctx context.Context) error {
	begun, err := exists(filepath.Join(l.cfg.Dir, manifestFileName))
	if err != nil {
		return err
	}
	epochs, err := listEpochs(l.cfg.Dir)
	if err != nil {
		return err
	}
	if l.key, err = openKey(l.cfg, !begun && len(epochs) == 0); err != nil {
		return err
	}
	if err := writePublicKey(l.cfg.Dir, l.key.public); err != nil {
		return err
	}
	if l.manifest, err = openManifest(l.cfg.Dir, l.key.public); err != nil {
		return err
	}
	highest := l.recordCheckpoints()
	if err := l.lock.stamp(max(highest, l.manifest.fence) + 1); err != nil {
		return err
	}
	l.manifest.fence = l.lock.fence
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.manifest.write(l.cfg.Dir, l.key)
}

// writePublicKey puts the public key beside the ledger; another key's ledger
// is refused, whatever the key file says.
func writePublicKey(dir string, key PublicKey) error {
	path := filepath.Join(dir, publicFileName)
	want := key.String() + "\n"
	have, err := os.ReadFile(path) //nolint:gosec // the configured ledger
	if errors.Is(err, fs.ErrNotExist) {
		return replaceFile(path, []byte(want), publicMode)
	}
	if err == nil && string(have) != want {
		err = damaged(Damage{Path: publicFileName, Reason: "it is not the public half of the key file"})
	}
	return err
}

// recordCheckpoints brings the manifest up to the checkpoints that are there
// and returns the highest fencing number in them. One that cannot be read is
// left as the manifest has it, for the segment's use and Verify to report.
func (l *Ledger) recordCheckpoints() uint64 {
	var highest uint64
	for i := range l.manifest.segments {
		s := &l.manifest.segments[i]
		raw, err := os.ReadFile(filepath.Join(l.segment(s.epoch), layout.CheckpointPath))
		if err != nil {
			continue
		}
		cp, err := parseOwnCheckpoint(l.key.public, s.epoch, raw)
		if err != nil {
			continue
		}
		l.manifest.record(s.epoch, sizeOf(cp.Size), cp.Root)
		highest = max(highest, cp.Fence)
	}
	return highest
}

// Fence is the fencing number under which this Ledger signs.
func (l *Ledger) Fence() uint64 { return l.lock.fence }

// Key is the public key of the ledger.
func (l *Ledger) Key() PublicKey { return l.key.public }

// Next is the number of the entry that Append wants next: one more than the
// last in the epoch's segment, 1 where there is none (D5).
func (l *Ledger) Next(ctx context.Context, epoch int64) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, listed := l.manifest.find(epoch); !listed {
		there, err := exists(l.segment(epoch))
		if err != nil {
			return 0, fmt.Errorf("read next of epoch %d: %w", epoch, err)
		}
		if !there {
			return 1, nil
		}
	}
	s, err := l.open(ctx, epoch)
	if err != nil {
		return 0, fmt.Errorf("read next of epoch %d: %w", epoch, err)
	}
	return numberOf(s.size), nil
}

// Append makes entries durable; the first of them is entry number first of the
// epoch. Entries that the ledger already has are dropped, so a repeated call
// does no harm; a gap is an *GapError and changes nothing (D5). It returns the
// number of the last durable entry of the epoch, also beside an error: up to
// that number the caller may confirm. A canceled ctx ends it between batches.
//
// ErrEntryTooLarge refuses the whole call. ErrBroken, ErrFenced and
// *DamagedError last until the ledger is opened anew.
func (l *Ledger) Append(ctx context.Context, epoch, first int64, entries [][]byte) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch < 1 || first < 1 {
		return 0, fmt.Errorf("append entry %d to epoch %d: both are counted from 1", first, epoch)
	}
	for i, data := range entries {
		if len(data) > MaxEntrySize {
			return 0, fmt.Errorf("append entry %d to epoch %d: %w: %d bytes, at most %d", first+int64(i), epoch, ErrEntryTooLarge, len(data), MaxEntrySize)
		}
	}
	s, err := l.open(ctx, epoch)
	if err != nil {
		return 0, fmt.Errorf("append to epoch %d: %w", epoch, err)
	}
	next := numberOf(s.size)
	if first > next {
		return next - 1, &GapError{Epoch: epoch, Want: next, Got: first}
	}
	entries = entries[min(next-first, int64(len(entries))):]
	for len(entries) > 0 {
		if err := ctx.Err(); err != nil {
			return lastOf(s.size), fmt.Errorf("append to epoch %d: %w", epoch, err)
		}
		// A batch ends where a bundle does: no file is then written twice.
		n := min(uint64(len(entries)), batchSize-s.size%batchSize)
		if err := s.write(ctx, entries[:n]); err != nil {
			return lastOf(s.size), fmt.Errorf("append to epoch %d: %w", epoch, err)
		}
		entries = entries[n:]
	}
	return lastOf(s.size), nil
}

// open returns the segment, opened for appending. A new one is listed in the
// manifest before it gets its first entry, and exists before it is listed: so
// a listed segment that is missing was removed, and an unlisted one is empty.
func (l *Ledger) open(ctx context.Context, epoch int64) (*segment, error) {
	if l.closed {
		return nil, ErrClosed
	}
	if s, ok := l.segments[epoch]; ok {
		return s, nil
	}
	if err := l.lock.check(); err != nil {
		return nil, err
	}
	path := l.segment(epoch)
	listed, isListed := l.manifest.find(epoch)
	if isListed {
		if err := checkListed(path, *listed); err != nil {
			return nil, err
		}
	}
	s, err := openSegment(ctx, path, epoch, l.cfg, newPublisher(l.key, epoch, l.lock))
	if err != nil {
		return nil, err
	}
	if !isListed {
		if err := l.list(ctx, s); err != nil {
			s.publisher.close()
			s.stop()
			return nil, err
		}
	}
	l.segments[epoch] = s
	return s, nil
}

// checkListed refuses to begin a segment anew over one that was removed or cut.
func checkListed(path string, listed manifestSegment) error {
	d := Damage{Epoch: listed.epoch, First: 1, Last: lastOf(listed.size), Path: filepath.Base(path)}
	state, err := readTreeState(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.Reason = "the manifest lists the segment but its log is missing"
	case err == nil && state.Size < listed.size:
		d.First, d.Reason = numberOf(state.Size), "the log is shorter than the manifest says"
	default:
		return nil // checkEnd says what is wrong with a state that cannot be read
	}
	return damaged(d)
}

func (l *Ledger) list(ctx context.Context, s *segment) error {
	if s.size > 0 {
		return damaged(Damage{Epoch: s.epoch, First: 1, Last: lastOf(s.size), Path: manifestFileName, Reason: "a segment with entries is not listed"})
	}
	root, err := newView(s.path, 0).rootAt(ctx, 0)
	if err != nil {
		return err
	}
	next := manifest{fence: l.manifest.fence, segments: append([]manifestSegment(nil), l.manifest.segments...)}
	next.record(s.epoch, 0, root)
	if err := next.write(l.cfg.Dir, l.key); err != nil {
		return err
	}
	l.manifest = next
	return nil
}

// Close waits until checkpoints cover what was appended (at most CloseTimeout,
// or ctx), records them in the manifest and releases the lock. Entries are
// durable without it; after a kill the next Open signs what is not yet signed.
func (l *Ledger) Close(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	ctx, cancel := context.WithTimeout(ctx, l.cfg.CloseTimeout)
	defer cancel()
	var errs []error
	for _, s := range l.segments {
		errs = append(errs, s.close(ctx))
	}
	if err := l.lock.check(); err != nil {
		errs = append(errs, err) // the manifest is the other appender's now
	} else {
		l.recordCheckpoints()
		errs = append(errs, l.manifest.write(l.cfg.Dir, l.key))
	}
	if err := errors.Join(append(errs, l.lock.release())...); err != nil {
		return fmt.Errorf("close ledger: %w", err)
	}
	return nil
}
