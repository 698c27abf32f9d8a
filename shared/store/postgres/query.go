package postgres

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/curfew-project/curfew/shared/lease"
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
// nothing of the values cannot choose a worse one.
func selectionOf(q store.Query) (s selection, err error) {
	if err := q.Check(); err != nil {
		return s, err
	}
	// Those in revocation are few; only an account or a token has fewer.
	if revoking(q) {
		s.where = append(s.where, "state = 'revoking'") // as the index has it
	}
	for _, c := range []struct{ column, value string }{
		{"account", q.Account}, {"token_id", string(q.Token)}, {"target", q.Target}, {"mount_id", q.MountID},
	} {
		switch {
		case c.value == "":
		case len(s.where) == 0:
			s.and(c.column+" = $%d", c.value)
		default:
			s.and(c.column+" || '' = $%d", c.value)
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

// halves are the values of the column ended that q may match. Each index holds
// leases that ended behind those that did not, so that these are found without
// walking over years of those.
func halves(states []lease.State) []string {
	final := func(s lease.State) bool { return s.Final() }
	running := func(s lease.State) bool { return !s.Final() }
	switch {
	case len(states) == 0:
		return []string{"NOT ended", "ended"}
	case !slices.ContainsFunc(states, final):
		return []string{"NOT ended"}
	case !slices.ContainsFunc(states, running):
		return []string{"ended"}
	}
	return []string{"NOT ended", "ended"}
}

// find is the statement of Find: one index walk a half, merged by id.
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
	end := fmt.Sprintf(" ORDER BY id LIMIT $%d", len(s.args))
	var parts []string
	for _, h := range halves(q.States) {
		parts = append(parts, "(SELECT id, position, body FROM {s}.leases WHERE "+strings.Join(s.where, " AND ")+" AND "+h+end+")")
	}
	query = parts[0]
	if len(parts) > 1 {
		query = strings.Join(parts, " UNION ALL ") + end
	}
	return query, s.args, nil
}

// count is the statement of Count.
func count(q store.Query) (query string, args []any, err error) {
	s, err := selectionOf(q)
	if err != nil {
		return "", nil, err
	}
	var parts []string
	for _, h := range halves(q.States) {
		parts = append(parts, "(SELECT count(*) FROM {s}.leases WHERE "+strings.Join(s.where, " AND ")+" AND "+h+")")
	}
	return "SELECT " + strings.Join(parts, " + "), s.args, nil
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
