package sqlite

import (
	"errors"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	guardEntry = `SELECT 1 FROM entries WHERE kind = ? AND id = ? AND withdrawn = 0`
	// The due time of an active token is its expiry.
	//nolint:gosec // no credential: the statement is about tokens
	guardToken    = `SELECT 1 FROM leases WHERE id = ? AND kind = ? AND state = ? AND (due_at IS NULL OR due_at > ?)`
	guardBarriers = `SELECT position, prefix FROM barriers WHERE position > ?`
)

// withdrawn evaluates the guard of item in this transaction (A3). It returns
// the name of the first thing that was withdrawn.
func (t *tx) withdrawn(item *store.Transition, row *lease.Lease) (string, error) {
	for _, ref := range item.Guard.Entries {
		found, err := t.exists(guardEntry, string(ref.Kind), ref.ID)
		if err != nil {
			return "", err
		}
		if !found {
			return string(ref.Kind), nil
		}
	}
	if item.Guard.Token != "" {
		found, err := t.exists(guardToken, string(item.Guard.Token), string(lease.Token), string(lease.Active), nanos(t.now))
		if err != nil {
			return "", err
		}
		if !found {
			return store.WithdrawnToken, nil
		}
	}
	// What is only beginning comes after every barrier (A4).
	if item.Guard.Barriers && row.State != "" {
		found, err := t.barred(row)
		if err != nil {
			return "", err
		}
		if found {
			return store.WithdrawnPrefix, nil
		}
	}
	return "", nil
}

func (t *tx) exists(query string, args ...any) (bool, error) {
	var one int
	return t.one(query, args, &one)
}

// barred reports whether a barrier that was raised after row began takes it.
func (t *tx) barred(row *lease.Lease) (found bool, err error) {
	rows, err := t.query(guardBarriers, row.Position)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() && !found {
		var b store.Barrier
		if err := rows.Scan(&b.Position, &b.Prefix); err != nil {
			return false, err
		}
		found = b.Covers(row.ID, row.Position)
	}
	return found, rows.Err()
}
