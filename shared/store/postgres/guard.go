package postgres

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// guard is what a batch's guards ask for, read in this transaction after the
// rows were locked (A3).
type guard struct {
	entries  map[store.Ref]bool
	tokens   map[lease.ID]token
	barriers []store.Barrier
}

// token is what is read of a token that is not locked.
type token struct {
	state   lease.State
	expires int64 // 0: never
}

const (
	guardEntries = `SELECT e.kind, e.id FROM unnest($1::text[], $2::text[]) AS g (kind, id)
		JOIN {s}.entries e ON e.kind = g.kind COLLATE "C" AND e.id = g.id COLLATE "C" WHERE NOT e.withdrawn`
	// The due time of an active token is its expiry.
	//nolint:gosec // no credential: the statement is about tokens
	guardTokens   = `SELECT id, state, coalesce(due_at, 0) FROM {s}.leases WHERE id = ANY($1) AND kind = 'token'`
	guardBarriers = `SELECT position, prefix FROM {s}.barriers
		WHERE position > (SELECT min(position) FROM {s}.leases WHERE id = ANY($1))`
)

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// read queues what the guards of units ask for; nothing where there is none.
func (g *guard) read(in schema, b *pgx.Batch, units []*unit) {
	*g = guard{entries: map[store.Ref]bool{}, tokens: map[lease.ID]token{}}
	var kinds, names []string
	tokens, barred := map[string]bool{}, map[string]bool{}
	for _, u := range units {
		if u.item == nil || !guarded(u.item) {
			continue
		}
		for _, ref := range u.item.Guard.Entries {
			if !g.entries[ref] {
				g.entries[ref] = true
				kinds, names = append(kinds, string(ref.Kind)), append(names, ref.ID)
			}
		}
		if id := u.item.Guard.Token; id != "" {
			tokens[string(id)] = true
		}
		if u.item.Guard.Barriers {
			barred[string(u.item.Change.ID)] = true
		}
	}
	clear(g.entries)
	if len(kinds) > 0 {
		var ref store.Ref
		b.Queue(in.in(guardEntries), kinds, names).Query(func(rows pgx.Rows) error {
			_, err := pgx.ForEachRow(rows, []any{&ref.Kind, &ref.ID}, func() error {
				g.entries[ref] = true
				return nil
			})
			return err
		})
	}
	if len(tokens) > 0 {
		var id lease.ID
		var t token
		b.Queue(in.in(guardTokens), sortedKeys(tokens)).Query(func(rows pgx.Rows) error {
			_, err := pgx.ForEachRow(rows, []any{&id, &t.state, &t.expires}, func() error {
				g.tokens[id] = t
				return nil
			})
			return err
		})
	}
	if len(barred) > 0 {
		b.Queue(in.in(guardBarriers), sortedKeys(barred)).Query(func(rows pgx.Rows) (err error) {
			g.barriers, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (b store.Barrier, err error) {
				return b, row.Scan(&b.Position, &b.Prefix)
			})
			return err
		})
	}
}

// guarded reports whether the guard of a transition counts.
func guarded(item *store.Transition) bool {
	switch item.Change.Do.(type) {
	case lease.Begin, lease.Activate:
		return true
	}
	return false
}

// withdrawn evaluates the guard of item. It returns the name of the first thing
// that was withdrawn. A token that this transaction changes counts as it is by
// now.
func (g *guard) withdrawn(item *store.Transition, l *lease.Lease, rows map[lease.ID]*row, now time.Time) string {
	for _, ref := range item.Guard.Entries {
		if !g.entries[ref] {
			return string(ref.Kind)
		}
	}
	if id := item.Guard.Token; id != "" && !g.usable(id, rows, now) {
		return store.WithdrawnToken
	}
	// What is only beginning comes after every barrier (A4).
	if item.Guard.Barriers && l.State != "" {
		for _, b := range g.barriers {
			if b.Covers(l.ID, l.Position) {
				return store.WithdrawnPrefix
			}
		}
	}
	return ""
}

func (g *guard) usable(id lease.ID, rows map[lease.ID]*row, now time.Time) bool {
	if r := rows[id]; r != nil {
		return r.Kind == lease.Token && r.Usable(now)
	}
	t, found := g.tokens[id]
	return found && t.state == lease.Active && (t.expires == 0 || nanos(now) < t.expires)
}
