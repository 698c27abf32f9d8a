package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/gather"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

// The errors of [Open] and [Migrate], beside those of the database.
var (
	// ErrNewer: the database was written by a newer program.
	ErrNewer = errors.New("store was written by a newer program")
	// ErrOlder: the schema has to be migrated by its owner first.
	ErrOlder = errors.New("the schema of the store is not migrated")
	// ErrUnfit: the server is set up so that it may lose commits, or cannot
	// hold the store (A7).
	ErrUnfit = errors.New("the database server is not fit for the store")

	errClosed = errors.New("store is closed")
)

// Config says where the store is and tunes it. URL is required.
type Config struct {
	// URL is a connection string as libpq takes it, of one host or several
	// (the one that takes writes is chosen). It usually holds the password.
	URL secret.Value
	// Schema has the tables; "curfew".
	Schema string
	// Pooled: URL leads to a pooler that gives a server connection to each
	// transaction (PgBouncer). No setting and no prepared statement outlives a
	// transaction then.
	Pooled bool
	// ListenURL is where [Store.Listen] listens: past the pooler, since there
	// notifications reach nobody. Empty: URL, or nowhere where that is pooled.
	ListenURL secret.Value
	// ReadOnly: who opens it only looks; the server refuses every change, but
	// behind a pooler.
	ReadOnly bool
	// Recorded: an auditor compares the store with its record. After each start
	// of the server the store is suspended until one has (A7): its files may be
	// those of a backup, and nothing in them says so.
	Recorded bool
	Writers  int           // transactions at a time that write, at least 3; 4
	Lanes    int           // of them, group commits of leases; 2
	Readers  int           // connections that read; 8
	Timeout  time.Duration // of a statement; 10 s
	// Settle bounds how long the fate of a commit is looked for whose answer was
	// lost, and how long a commit is tried again; 20 s.
	Settle time.Duration
	Gather gather.Config // bounds of each group commit (A6, section E)
}

func (c Config) withDefaults() Config {
	c.Schema = cmp.Or(c.Schema, "curfew")
	c.Writers = max(3, cmp.Or(c.Writers, 4))
	c.Lanes = min(cmp.Or(c.Lanes, 2), c.Writers-2)
	c.Readers = cmp.Or(c.Readers, 8)
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	c.Settle = cmp.Or(c.Settle, 20*time.Second)
	return c
}

// Store is the durable store in one Postgres database, of any number of
// processes.
type Store struct {
	cfg    Config
	local  clock.Clock
	log    zerolog.Logger
	schema schema
	clock  *storeClock
	// instance tells this store's own notifications.
	instance string

	writes, reads *pgxpool.Pool
	slots         chan *slot
	answered      answered
	lanes         []*gather.Gatherer[[]*unit, struct{}]
	turn          atomic.Uint64 // of the lanes
	watch         step.Watchers // told of commits with events
	hooks         hooks
	blind         atomic.Bool // the system identifier may not be read

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup // calls under way; entered under mu
}

// hooks let tests break a commit in each of its two ways.
type hooks struct {
	beforeCommit func(units int) error // the commit does not happen
	afterCommit  func(units int) error // it happened, the answer is lost
}

// Open connects, brings the schema up to date where it may, and checks that
// server and database are fit (A7). ErrNewer, ErrOlder and ErrUnfit say what a
// person has to do.
func Open(ctx context.Context, c clock.Clock, log zerolog.Logger, cfg Config) (*Store, error) {
	return open(ctx, &storeClock{clock: c}, log, cfg)
}

func open(ctx context.Context, c *storeClock, log zerolog.Logger, cfg Config) (_ *Store, err error) {
	cfg = cfg.withDefaults()
	s := &Store{cfg: cfg, local: c.clock, log: log, clock: c, instance: lease.RandomBase62(12)}
	defer func() {
		if err != nil {
			s.release()
			err = fmt.Errorf("open store: %w", err)
		}
	}()
	if s.schema, err = newSchema(cfg.Schema); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	s.slots = make(chan *slot, cfg.Writers)
	for range cfg.Writers {
		s.slots <- newSlot()
	}
	for range cfg.Lanes {
		s.lanes = append(s.lanes, gather.New(cfg.Gather, s.batch))
	}
	if s.writes, err = s.pool(ctx, cfg.Writers); err != nil {
		return nil, err
	}
	if s.reads, err = s.pool(ctx, cfg.Readers); err != nil {
		return nil, err
	}
	// Makes a connection, with all that is checked there.
	if err := s.reads.Ping(ctx); err != nil {
		return nil, err
	}
	if s.blind.Load() {
		log.Warn().Msg("the store's user may not call pg_control_system(): a database restored into another cluster is not recognised")
	}
	if cfg.ReadOnly {
		return s, nil
	}
	if err := s.sweepSlots(ctx); err != nil {
		log.Warn().Err(err).Msg("the store takes no writes now")
	}
	return s, nil
}

// enter admits a call, which has to end with calls.Done.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.calls.Add(1)
	return nil
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
	s.retire()
	s.release()
	return nil
}

// release gives back what open took.
func (s *Store) release() {
	for _, p := range []*pgxpool.Pool{s.reads, s.writes} {
		if p != nil {
			p.Close()
		}
	}
}

var (
	_ store.Store   = (*Store)(nil)
	_ store.Watcher = (*Store)(nil)
)
