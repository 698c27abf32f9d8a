package catalog

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/event"
)

// Query selects entries; empty fields do not restrict.
type Query struct {
	Subject      string // lease id
	Type         string
	Since, Until time.Time // from, and before
	After        event.Position
	Limit        int
}

// Find returns the positions of the first matching entries in order.
func (c *Catalog) Find(ctx context.Context, q Query) ([]event.Position, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !q.Since.IsZero() {
		first, err := c.first(ctx, q.Since)
		if errors.Is(err, sql.ErrNoRows) {
			return nil, nil
		}
		if err != nil {
			return nil, c.failed("search catalogue", err)
		}
		if first.Number--; q.After.Before(first) {
			q.After = first
		}
	}
	text, args := statement(q)
	found, err := c.positions(ctx, text, args)
	if err != nil {
		return nil, c.failed("search catalogue", err)
	}
	return found, nil
}

const selectFirst = "SELECT epoch, number FROM entries WHERE high >= ? ORDER BY high, epoch, number LIMIT 1"

// first is the place before which no entry is as late as t.
func (c *Catalog) first(ctx context.Context, t time.Time) (p event.Position, err error) {
	err = c.db.QueryRowContext(ctx, selectFirst, nanoseconds(t)).Scan(&p.Epoch, &p.Number)
	return p, err
}

// statement names its index: without statistics SQLite might go through all
// entries of a type to find those of one lease.
func statement(q Query) (text string, args []any) {
	from := "entries"
	where := []string{"(epoch, number) > (?, ?)"}
	args = []any{q.After.Epoch, q.After.Number}
	add := func(cond string, arg any) { where, args = append(where, cond), append(args, arg) }
	if q.Type != "" {
		from = "entries INDEXED BY entries_type"
		add("type = ?", q.Type)
	}
	if q.Subject != "" {
		from = "entries INDEXED BY entries_subject"
		add("subject = ?", q.Subject)
	}
	if !q.Since.IsZero() {
		add("time >= ?", nanoseconds(q.Since))
	}
	if !q.Until.IsZero() {
		add("time < ?", nanoseconds(q.Until))
	}
	return "SELECT epoch, number FROM " + from + " WHERE " + strings.Join(where, " AND ") +
		" ORDER BY epoch, number LIMIT ?", append(args, q.Limit)
}

func (c *Catalog) positions(ctx context.Context, text string, args []any) ([]event.Position, error) {
	rows, err := c.db.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []event.Position
	for rows.Next() {
		var p event.Position
		if err := rows.Scan(&p.Epoch, &p.Number); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, rows.Err()
}

var (
	earliest = time.Unix(0, math.MinInt64)
	latest   = time.Unix(0, math.MaxInt64)
)

// nanoseconds is t since 1970, or the nearest that fits.
func nanoseconds(t time.Time) int64 {
	switch {
	case t.Before(earliest):
		return math.MinInt64
	case t.After(latest):
		return math.MaxInt64
	}
	return t.UnixNano()
}
