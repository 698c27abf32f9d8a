package catalog

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"

	"github.com/curfew-project/curfew/shared/event"
)

// errOrder: entries are added one by one, as they are in the ledger.
var errOrder = errors.New("entry is not the next one")

// add takes over the entries that follow the last; line is the ledger's of the
// last of them.
func (c *Catalog) add(ctx context.Context, events []event.Event, line []byte) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	hash := sha256.Sum256(line)
	p := place{at: c.place.at, high: c.place.high, hash: hash[:]}
	err := c.transact(ctx, func(tx *sql.Tx) error { return insert(ctx, tx, events, &p) })
	if err != nil {
		return c.failed("write catalogue", err)
	}
	c.place = p
	c.reached.Set(p.at)
	return nil
}

func (c *Catalog) transact(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it has nothing to do
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func insert(ctx context.Context, tx *sql.Tx, events []event.Event, p *place) error {
	add, err := tx.PrepareContext(ctx, "INSERT INTO entries (epoch, number, time, high, type, subject) VALUES (?, ?, ?, ?, ?, ?)")
	if err != nil {
		return err
	}
	defer add.Close()
	for _, e := range events {
		if q := e.Position; q.Epoch == p.at.Epoch && q.Number != p.at.Number+1 || q.Epoch > p.at.Epoch && q.Number != 1 || q.Epoch < p.at.Epoch {
			return fmt.Errorf("%w: %s after %s", errOrder, q, p.at)
		}
		at := nanoseconds(e.Time)
		if e.Type == Unreadable {
			at = p.high // where its neighbours are
		}
		p.at, p.high = e.Position, max(p.high, at)
		if _, err := add.ExecContext(ctx, p.at.Epoch, p.at.Number, at, p.high, string(e.Type), e.Subject); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO place VALUES (1, ?, ?, ?, ?)
		ON CONFLICT (one) DO UPDATE SET epoch = excluded.epoch, number = excluded.number,
			high = excluded.high, hash = excluded.hash`, p.at.Epoch, p.at.Number, p.high, p.hash)
	return err
}
