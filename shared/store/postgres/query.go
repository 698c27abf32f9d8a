package postgres

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/curfew-project/curfew/shared/store"
)

const defaultLimit = 1000

// selection is the common part of Find and Count.
type selection struct {
	where []string
	args  []any
}

// and adds a condition on one value.
func (s *selection) and(condition string, arg any) {
	s.args = append(s.args, arg)
	s.where = append(s.where, fmt.Sprintf(condition, len(s.args)))
}

// selectionOf makes the most selective field that q has a condition on its
// column and the others conditions that no index serves: a planner that knows
// nothing of the values cannot choose a worse one. What has ended stands in the
// index of accounts, and behind its id.
func selectionOf(q store.Query) (s selection, err error) {
	if err := q.Check(); err != nil {
		return s, err
	}
	switch {
	case revoking(q): // they are few; only an account or a token has fewer
		s.where = append(s.where, "state = 'revoking'") // as the index has it
	case q.Open():
		s.where = append(s.where, "NOT ended")
	}
	served := revoking(q)
	for _, c := range []struct{ column, value string }{
		{"account", q.Account}, {"token_id", string(q.Token)}, {"target", q.Target}, {"mount_id", q.MountID},
	} {
		switch {
		case c.value == "":
		case served || c.column != "account" && !q.Open():
			s.and(c.column+" || '' = $%d", c.value)
		default:
			s.and(c.column+" = $%d", c.value)
			served = true
		}
	}
	if q.Prefix != "" {
		s.and("id >= $%d", q.Prefix)
		if end, ok := prefixEnd(q.Prefix); ok {
			s.and("id < $%d", end)
		}
	}
	if q.Kind != "" {
		s.and("kind = $%d", string(q.Kind))
	}
	if q.Parked {
		s.where = append(s.where, "parked")
	}
	if len(q.States) > 0 && !revoking(q) {
		states := make([]string, len(q.States))
		for i := range q.States {
			states[i] = string(q.States[i])
		}
		s.and("state = ANY($%d)", states)
	}
	if q.Before != 0 {
		s.and("position < $%d", q.Before)
	}
	return s, nil
}

// revoking reports whether a query goes by the index of what is in revocation.
func revoking(q store.Query) bool { return q.InRevocation() && q.Account == "" && q.Token == "" }

// find is the statement of Find: one walk of an index.
func find(q store.Query) (query string, args []any, err error) {
	s, err := selectionOf(q)
	if err != nil {
		return "", nil, err
	}
	if q.After != "" {
		s.and("id > $%d", string(q.After))
	}
	limit := q.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	s.args = append(s.args, limit)
	return fmt.Sprintf("SELECT id, position, body FROM {s}.leases WHERE %s ORDER BY id LIMIT $%d", strings.Join(s.where, " AND "), len(s.args)), s.args, nil
}

// count is the statement of Count.
func count(q store.Query) (query string, args []any, err error) {
	s, err := selectionOf(q)
	if err != nil {
		return "", nil, err
	}
	return "SELECT count(*) FROM {s}.leases WHERE " + strings.Join(s.where, " AND "), s.args, nil
}

// prefixEnd is the least text above all that begin with prefix; none if there
// is no such. It counts in characters: the bytes of one, counted up, may be
// none, and in UTF-8 both have the same order.
func prefixEnd(prefix string) (string, bool) {
	for prefix != "" {
		r, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		switch {
		case r == utf8.RuneError && size == 1: // no text of Postgres begins so
			return "", false
		case r == utf8.MaxRune:
			continue
		case r+1 == surrogates:
			return prefix + string(rune(afterSurrogates)), true
		}
		return prefix + string(r+1), true
	}
	return "", false
}

// The code points that are no characters.
const surrogates, afterSurrogates = 0xD800, 0xE000
