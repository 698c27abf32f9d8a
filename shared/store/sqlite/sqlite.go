package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/gather"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

// The errors of [Open], beside those of the system.
var (
	ErrLocked = errors.New("store is in use")
	ErrNewer  = errors.New("store was written by a newer program")
	ErrOlder  = errors.New("store was written by an older program")
	// ErrReadOnly refuses what would change a store that [Inspect] opened.
	ErrReadOnly = errors.New("store is only looked at")
	errClosed   = errors.New("store is closed")
)

const (
	databaseName = "curfew.db"
	lockName     = "curfew.lock"
)

// Config tunes a [Store]; the zero value works.
type Config struct {
	Readers int // connections that read; 4
	// Recorded: an auditor compares the store with its record. From Open on the
	// store is suspended until it has (A7): its files may be those of a backup,
	// and nothing in them says so.
	Recorded bool
	Gather   gather.Config // bounds of the group commit (A6, section E)
}

// Store is the durable store in one directory.
type Store struct {
	clock   *storeClock
	lock    *os.File
	readers *sql.DB
	// statements of readers.
	statements statements
	writer     *writer
	watch      step.Watchers             // told of commits with events
	started    atomic.Pointer[time.Time] // when it was opened, where it was not compared since
	fatal      chan struct{}

	// epochs are replaced under epochsMu, held over the commit that begins one;
	// the writer alone does it.
	epochsMu sync.RWMutex
	epochs   epochs

	mu     sync.Mutex
	cause  error // why the store is poisoned
	closed bool
	calls  sync.WaitGroup // calls under way; entered under mu
}

// Open opens the store in dir and makes it if there is none. [ErrLocked] if
// another process has it, [ErrNewer] if a newer program wrote it.
func Open(ctx context.Context, dir string, c clock.Clock, cfg Config) (_ *Store, err error) {
	cfg.Readers = cmp.Or(cfg.Readers, 4)
	s := &Store{fatal: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open store: %w", err), s.release(ctx))
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if s.lock, err = lockFile(filepath.Join(dir, lockName)); err != nil {
		return nil, err
	}
	path, err := prepareFile(dir)
	if err != nil {
		return nil, err
	}
	if s.writer, err = openWriter(ctx, s, path, c, cfg); err != nil {
		return nil, err
	}
	if s.readers, err = openReaders(dsn(path, "busy_timeout(10000)", "query_only(1)"), cfg.Readers); err != nil {
		return nil, err
	}
	if err := s.load(ctx, c); err != nil {
		return nil, err
	}
	if cfg.Recorded {
		now := s.clock.now()
		s.started.Store(&now)
	}
	return s, nil
}

// load reads what the store knows of itself besides its rows: epochs and time.
func (s *Store) load(ctx context.Context, c clock.Clock) (err error) {
	if s.epochs, err = readEpochs(ctx, s.readers); err != nil {
		return err
	}
	m, err := readMeta(s.readers.QueryRowContext(ctx, selectMeta))
	if err != nil {
		return err
	}
	s.clock = newStoreClock(c, fromNanos(m.now))
	return nil
}

// prepareFile makes the database file before the driver does, so that it and
// the files SQLite puts beside it, which take its mode, are for the owner only.
func prepareFile(dir string) (path string, err error) {
	path, err = filepath.Abs(filepath.Join(dir, databaseName))
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the path is the operator's data directory
	if err != nil {
		return "", err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return "", err
	}
	d, err := os.Open(dir) //nolint:gosec // see above
	if err != nil {
		return "", err
	}
	// A crash must not lose the name of a file whose content was synced.
	return path, errors.Join(d.Sync(), d.Close())
}

func dsn(path string, pragmas ...string) string {
	q := url.Values{"_pragma": pragmas, "_dqs": {"0"}}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

func openReaders(source string, n int) (*sql.DB, error) {
	db, err := sql.Open("sqlite", source)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// Fatal is closed when the store has lost trust in its disk: every call fails
// with an error that wraps [step.ErrFatal] from then on, and the process has to
// stop (A6).
func (s *Store) Fatal() <-chan struct{} { return s.fatal }

// poison makes every later call fail.
func (s *Store) poison(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil {
		s.cause = fmt.Errorf("%w: the store cannot trust its disk: %w", step.ErrFatal, err)
		close(s.fatal)
	}
	return s.cause
}

// enter admits a call, which has to end with calls.Done.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return s.cause
	}
	if s.closed {
		return errClosed
	}
	s.calls.Add(1)
	return nil
}

// poisoned is the error of every call since the store lost trust in its disk.
func (s *Store) poisoned() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// judge passes an error of reading on, poisoning the store if it has to.
func (s *Store) judge(err error) error {
	if err != nil && fateOf(err) == stop {
		return s.poison(err)
	}
	return unavailable(err)
}

// Close implements [store.Store]. Calls under way finish; later ones fail.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.calls.Wait()
	s.watch.Close()
	if err := s.release(context.Background()); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// release gives back what Open took, in reverse order; the lock last.
func (s *Store) release(ctx context.Context) error {
	var errs []error
	if s.readers != nil {
		errs = append(errs, s.readers.Close())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.close(ctx))
	}
	if s.lock != nil {
		errs = append(errs, unlockFile(s.lock))
	}
	return errors.Join(errs...)
}

var (
	_ store.Store   = (*Store)(nil)
	_ store.Watcher = (*Store)(nil)
)
