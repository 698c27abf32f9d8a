package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"modernc.org/sqlite" // also the driver "sqlite"
	codes "modernc.org/sqlite/lib"

	"github.com/curfew-project/curfew/auditor/internal/watermark"
	"github.com/curfew-project/curfew/shared/event"
)

// version of the schema; a file of another one is made anew.
const version = 2

// FileName is that of the catalogue in its directory.
const FileName = "catalogue.db"

const schema = `
CREATE TABLE entries (
	epoch   INTEGER NOT NULL,
	number  INTEGER NOT NULL,
	time    INTEGER NOT NULL, -- Unix nanoseconds
	high    INTEGER NOT NULL, -- highest time up to here
	type    TEXT NOT NULL,
	subject TEXT NOT NULL,    -- lease id, or request path
	PRIMARY KEY (epoch, number)
) WITHOUT ROWID;
CREATE INDEX entries_subject ON entries (subject, epoch, number);
CREATE INDEX entries_type ON entries (type, epoch, number);
CREATE INDEX entries_high ON entries (high, epoch, number);
CREATE TABLE place (
	one    INTEGER PRIMARY KEY CHECK (one = 1),
	epoch  INTEGER NOT NULL,
	number INTEGER NOT NULL,
	high   INTEGER NOT NULL,
	hash   BLOB NOT NULL  -- SHA-256 of the last line
);
`

// errUnusable: the file is no catalogue that this version can go on with.
var errUnusable = errors.New("catalogue is unusable")

// place is how far the catalogue is.
type place struct {
	at   event.Position
	high int64
	hash []byte
}

// Catalog is the open file. Its methods are safe for concurrent use; one
// [Follower] adds to it.
type Catalog struct {
	path    string
	reached *watermark.Mark
	damaged atomic.Bool // a statement found out
	place   place       // the follower's

	mu sync.RWMutex // of db: held while it is used
	db *sql.DB
}

// Open opens or makes the catalogue file in dir.
func Open(ctx context.Context, dir string) (*Catalog, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open catalogue: %w", err)
	}
	c := &Catalog{path: filepath.Join(dir, FileName), reached: watermark.New()}
	err := c.open(ctx)
	if errors.Is(err, errUnusable) {
		err = c.anew(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("open catalogue: %w", err)
	}
	return c, nil
}

// open opens what is there; the caller holds mu or has the catalogue alone.
func (c *Catalog) open(ctx context.Context) error {
	// SQLite gives its further files the mode of this one.
	f, err := os.OpenFile(c.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return err
	}
	// Losing the last moments in a crash is harmless: they are read again.
	db, err := sql.Open("sqlite", "file:"+c.path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(8)
	p, err := begin(ctx, db)
	if err != nil {
		return errors.Join(usable(err), db.Close())
	}
	c.db, c.place = db, p
	c.damaged.Store(false)
	c.reached.Set(p.at)
	return nil
}

// begin makes the tables of a new file, and reads how far another one is.
func begin(ctx context.Context, db *sql.DB) (p place, err error) {
	var have int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
		return p, err
	}
	switch have {
	case 0:
		_, err := db.ExecContext(ctx, fmt.Sprintf("BEGIN; %s PRAGMA user_version = %d; COMMIT", schema, version))
		return place{high: math.MinInt64}, err
	case version:
		err := db.QueryRowContext(ctx, "SELECT epoch, number, high, hash FROM place").
			Scan(&p.at.Epoch, &p.at.Number, &p.high, &p.hash)
		if errors.Is(err, sql.ErrNoRows) {
			return place{high: math.MinInt64}, nil
		}
		return p, err
	}
	return p, fmt.Errorf("%w: version %d, want %d", errUnusable, have, version)
}

// usable marks the errors that mean that the file has to be made anew.
func usable(err error) error {
	var failed *sqlite.Error
	if !errors.As(err, &failed) {
		return err
	}
	switch failed.Code() & 0xff { // the rest says where
	case codes.SQLITE_CORRUPT, codes.SQLITE_NOTADB, codes.SQLITE_ERROR: // the last: a table that is not as it should be
		return fmt.Errorf("%w: %w", errUnusable, err)
	}
	return err
}

// anew begins with an empty file; as open.
func (c *Catalog) anew(ctx context.Context) error {
	if c.db != nil {
		if err := c.db.Close(); err != nil {
			return err
		}
	}
	for _, suffix := range []string{"-wal", "-shm", ""} { // derived data
		if err := os.Remove(c.path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return c.open(ctx)
}

// rebuild empties the catalogue.
func (c *Catalog) rebuild(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.anew(ctx); err != nil {
		return fmt.Errorf("make the catalogue anew: %w", err)
	}
	return nil
}

// Reached is the last entry in the catalogue, to be waited for.
func (c *Catalog) Reached() *watermark.Mark { return c.reached }

// failed notes damage, and says what was being done.
func (c *Catalog) failed(act string, err error) error {
	if err = usable(err); errors.Is(err, errUnusable) {
		c.damaged.Store(true)
	}
	return fmt.Errorf("%s: %w", act, err)
}

// Close closes the file.
func (c *Catalog) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.db.Close()
}
