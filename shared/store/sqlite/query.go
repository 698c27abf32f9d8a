package sqlite

import (
	"slices"
	"strings"

	"github.com/curfew-project/curfew/shared/lease"
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
	index string
	where []string
	args  []any
}

func (s *selection) and(condition string, args ...any) {
	s.where, s.args = append(s.where, condition), append(s.args, args...)
}

// selectionOf chooses the most selective index that q allows.
func selectionOf(q store.Query) (selection, error) {
	var s selection
	if err := q.Check(); err != nil {
		return s, err
	}
	// Those in revocation are few; only an account or a token has fewer.
	if q.InRevocation() && q.Account == "" && q.Token == "" {
		s.index = "leases_revoking"
		s.and("state = 'revoking'") // as the index has it
	}
	for _, c := range []struct{ column, index, value string }{
		{"account", "leases_account", q.Account},
		{"token_id", "leases_token", string(q.Token)},
		{"target", "leases_target", q.Target},
		{"mount_id", "leases_mount", q.MountID},
	} {
		switch {
		case c.value == "":
		case s.index == "":
			s.index = c.index
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
	if s.index == "" {
		s.index = "leases_path"
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

// halves are the values of the column ended that q may match. Each index holds
// leases that ended behind those that did not, so that these are found without
// walking over years of those.
func halves(states []lease.State) []int {
	final := func(s lease.State) bool { return s.Final() }
	running := func(s lease.State) bool { return !s.Final() }
	switch {
	case len(states) == 0:
		return []int{0, 1}
	case !slices.ContainsFunc(states, final):
		return []int{0}
	case !slices.ContainsFunc(states, running):
		return []int{1}
	}
	return []int{0, 1}
}

// find is the statement of Find: one index walk a half, merged by id.
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
	var parts []string
	for _, h := range halves(q.States) {
		parts = append(parts, "SELECT id, body FROM leases INDEXED BY "+s.index+
			" WHERE "+strings.Join(s.where, " AND ")+" AND ended = ?")
		args = append(append(args, s.args...), h)
	}
	return strings.Join(parts, " UNION ALL ") + " ORDER BY id LIMIT ?", append(args, limit), nil
}

// count is the statement of Count.
func count(q store.Query) (query string, args []any, err error) {
	s, err := selectionOf(q)
	if err != nil {
		return "", nil, err
	}
	var parts []string
	for _, h := range halves(q.States) {
		parts = append(parts, "(SELECT count(*) FROM leases INDEXED BY "+s.index+
			" WHERE "+strings.Join(s.where, " AND ")+" AND ended = ?)")
		args = append(append(args, s.args...), h)
	}
	return "SELECT " + strings.Join(parts, " + "), args, nil
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
