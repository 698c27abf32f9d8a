package sqlite

import (
	"strings"

	"github.com/curfew-project/curfew/shared/store"
)

const (
	selectLease  = `SELECT body FROM leases WHERE id = ?`
	selectLeases = `SELECT id, body FROM leases WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id`
	defaultLimit = 1000
)

// selection is the common part of Find and Count: an index that is walked and
// what else has to match. INDEXED BY makes SQLite refuse the statement instead
// of scanning the table.
type selection struct {
	index string // empty: the primary key
	where []string
	args  []any
}

func (s *selection) and(condition string, args ...any) {
	s.where, s.args = append(s.where, condition), append(s.args, args...)
}

// walk names an index, and what holds of everything in it.
func (s *selection) walk(index, condition string) {
	s.index = index
	s.and(condition)
}

// from is the statement behind its SELECT.
func (s *selection) from() string {
	from := " FROM leases "
	if s.index != "" {
		from += "INDEXED BY " + s.index + " "
	}
	return from + "WHERE " + strings.Join(s.where, " AND ")
}

// selectionOf chooses the most selective index that q allows. What has ended
// stands in that of accounts, and behind its id.
func selectionOf(q store.Query) (selection, error) {
	var s selection
	if err := q.Check(); err != nil {
		return s, err
	}
	const open = "ended = 0" // as the indexes have it
	switch {
	case q.Account != "":
		s.walk("leases_account", "account IS NOT NULL")
	case !q.Open():
	case q.Token != "":
		s.walk("leases_token", open)
	case q.InRevocation(): // they are few
		s.walk("leases_revoking", "state = 'revoking'")
	case q.Target != "":
		s.walk("leases_target", open)
	case q.MountID != "":
		s.walk("leases_mount", open)
	default:
		s.walk("leases_path", open)
	}
	for _, c := range []struct{ column, index, value string }{
		{"account", "leases_account", q.Account},
		{"token_id", "leases_token", string(q.Token)},
		{"target", "leases_target", q.Target},
		{"mount_id", "leases_mount", q.MountID},
	} {
		switch {
		case c.value == "":
		case s.index == c.index:
			s.and(c.column+" = ?", c.value)
		default:
			s.and("+"+c.column+" = ?", c.value) // plus: not by an index
		}
	}
	if q.Prefix != "" {
		s.and("id >= ?", q.Prefix)
		if end, ok := prefixEnd(q.Prefix); ok {
			s.and("id < ?", end)
		}
	}
	if q.Kind != "" {
		s.and("+kind = ?", string(q.Kind))
	}
	if q.Parked {
		s.and("+parked")
	}
	if len(q.States) > 0 && s.index != "leases_revoking" {
		s.and("+state IN (?" + strings.Repeat(", ?", len(q.States)-1) + ")")
		for _, state := range q.States {
			s.args = append(s.args, string(state))
		}
	}
	if q.Before != 0 {
		s.and("+position < ?", q.Before)
	}
	return s, nil
}

// find is the statement of Find: one walk of an index.
func find(q store.Query) (query string, args []any, err error) {
	s, err := selectionOf(q)
	if err != nil {
		return "", nil, err
	}
	if q.After != "" {
		s.and("id > ?", string(q.After))
	}
	limit := q.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	return "SELECT id, body" + s.from() + " ORDER BY id LIMIT ?", append(s.args, limit), nil
}

// count is the statement of Count.
func count(q store.Query) (query string, args []any, err error) {
	s, err := selectionOf(q)
	if err != nil {
		return "", nil, err
	}
	return "SELECT count(*)" + s.from(), s.args, nil
}

// prefixEnd is the least string above all that begin with prefix; none if
// prefix is all 0xff.
func prefixEnd(prefix string) (string, bool) {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			return prefix[:i] + string([]byte{prefix[i] + 1}), true
		}
	}
	return "", false
}
