// Package catalog finds ledger entries by lease, type and time.
//
// What holds: it is derived from the ledger, entry by entry in order, and its
// own last row says how far it is; lost or made by another version, it is
// rebuilt. It stores positions and search keys; the answer is read from the
// ledger.
//
// What can fail: it lags the ledger by moments ([Catalog.Position]); an I/O
// error makes the caller try again, and its file can be deleted at any time
// while no process has it open.
package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/curfew-project/curfew/shared/event"
)

// version of the schema; a file of another one is rebuilt.
const version = 1

const schema = `
CREATE TABLE entries (
	epoch   INTEGER NOT NULL,
	number  INTEGER NOT NULL,
	time    INTEGER NOT NULL, -- Unix nanoseconds
	type    TEXT NOT NULL,
	subject TEXT NOT NULL,    -- lease id, or request path
	PRIMARY KEY (epoch, number)
) WITHOUT ROWID;
CREATE INDEX entries_subject ON entries (subject, epoch, number);
CREATE INDEX entries_type ON entries (type, epoch, number);
CREATE INDEX entries_time ON entries (time, epoch, number);
`

// Catalog is the open file.
type Catalog struct{ db *sql.DB }

// Open opens or makes the catalogue file in dir.
func Open(ctx context.Context, dir string) (*Catalog, error) {
	path := filepath.Join(dir, "catalogue.db")
	c, err := open(ctx, path)
	if err == nil {
		return c, nil
	}
	for _, suffix := range []string{"", "-wal", "-shm"} { // derived data: begin anew
		if gone := os.Remove(path + suffix); gone != nil && !errors.Is(gone, os.ErrNotExist) {
			return nil, errors.Join(err, gone)
		}
	}
	return open(ctx, path)
}

func open(ctx context.Context, path string) (*Catalog, error) {
	// Losing the last moments in a crash is harmless: they are read again.
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, fmt.Errorf("open catalogue: %w", err)
	}
	c := &Catalog{db: db}
	if err := c.migrate(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return c, os.Chmod(path, 0o600)
}

func (c *Catalog) migrate(ctx context.Context) error {
	var have int
	if err := c.db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
		return fmt.Errorf("open catalogue: %w", err)
	}
	switch have {
	case version:
		return nil
	case 0:
		if _, err := c.db.ExecContext(ctx, schema+fmt.Sprintf("PRAGMA user_version = %d", version)); err != nil {
			return fmt.Errorf("make catalogue: %w", err)
		}
		return nil
	}
	return fmt.Errorf("open catalogue: version %d, want %d", have, version)
}

// Position is the last entry of an epoch in the catalogue.
func (c *Catalog) Position(ctx context.Context, epoch int64) (event.Position, error) {
	p := event.Position{Epoch: epoch}
	err := c.db.QueryRowContext(ctx, "SELECT coalesce(max(number), 0) FROM entries WHERE epoch = ?", epoch).Scan(&p.Number)
	if err != nil {
		return p, fmt.Errorf("read catalogue: %w", err)
	}
	return p, nil
}

// Add takes entries over; ones that it has are left as they are.
func (c *Catalog) Add(ctx context.Context, events []event.Event) error {
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("write catalogue: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it has nothing to do
	insert, err := tx.PrepareContext(ctx, "INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?, ?)")
	if err != nil {
		return fmt.Errorf("write catalogue: %w", err)
	}
	defer insert.Close() //nolint:errcheck // ends with the transaction
	for _, e := range events {
		if _, err := insert.ExecContext(ctx, e.Position.Epoch, e.Position.Number, e.Time.UnixNano(), string(e.Type), e.Subject); err != nil {
			return fmt.Errorf("write catalogue: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("write catalogue: %w", err)
	}
	return nil
}

// Query selects entries; empty fields do not restrict.
type Query struct {
	Subject      string // lease id
	Type         string
	Since, Until time.Time // from, and before
	After        event.Position
	Limit        int
}

// Find returns the positions of matching entries in order.
func (c *Catalog) Find(ctx context.Context, q Query) ([]event.Position, error) {
	where, args := []string{"(epoch, number) > (?, ?)"}, []any{q.After.Epoch, q.After.Number}
	add := func(cond string, arg any) { where, args = append(where, cond), append(args, arg) }
	if q.Subject != "" {
		add("subject = ?", q.Subject)
	}
	if q.Type != "" {
		add("type = ?", q.Type)
	}
	if !q.Since.IsZero() {
		add("time >= ?", q.Since.UnixNano())
	}
	if !q.Until.IsZero() {
		add("time < ?", q.Until.UnixNano())
	}
	args = append(args, q.Limit)
	//nolint:gosec // the conditions are the constants above; values are bound
	rows, err := c.db.QueryContext(ctx, "SELECT epoch, number FROM entries WHERE "+strings.Join(where, " AND ")+
		" ORDER BY epoch, number LIMIT ?", args...)
	if err != nil {
		return nil, fmt.Errorf("search catalogue: %w", err)
	}
	defer rows.Close() //nolint:errcheck // read-only; Err below tells
	var out []event.Position
	for rows.Next() {
		var p event.Position
		if err := rows.Scan(&p.Epoch, &p.Number); err != nil {
			return nil, fmt.Errorf("search catalogue: %w", err)
		}
		out = append(out, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("search catalogue: %w", err)
	}
	return out, nil
}

// Close closes the file.
func (c *Catalog) Close() error { return c.db.Close() }
