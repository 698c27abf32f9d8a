package sqlite

import (
	"fmt"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// plan is how SQLite runs a statement.
func plan(t *testing.T, s *Store, query string, args ...any) string {
	t.Helper()
	rows, err := s.readers.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer func() { _ = rows.Close() }()
	var all []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		all = append(all, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "\n")
}

// Law: nothing on a hot path walks a table or sorts (architecture: work grows
// with leases due, never with leases alive).
func TestNoStatementScans(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), t.TempDir(), storetest.NewClock(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	check := func(name, query string, args []any, wants ...string) {
		t.Helper()
		p := plan(t, s, query, args...)
		for line := range strings.Lines(p) {
			line = strings.TrimSpace(line)
			listed := line == "SCAN CONSTANT ROW" || strings.HasPrefix(line, "SCAN json_each")
			if strings.HasPrefix(line, "SCAN") && !listed || strings.Contains(line, "TEMP B-TREE") {
				t.Errorf("%s: %s\n%s", name, query, p)
			}
		}
		for _, want := range wants {
			if !strings.Contains(p, want) {
				t.Errorf("%s: the plan lacks %q:\n%s", name, want, p)
			}
		}
	}
	n := func(n int) []any { return make([]any, n) }
	check("get", selectLease, n(1), "SEARCH leases USING INDEX sqlite_autoindex_leases_1 (id=?)")
	check("get many", selectLeases, n(1), "SEARCH leases USING INDEX sqlite_autoindex_leases_1 (id=?)")
	check("due", selectDue, []any{1, 1, "", 10}, "SEARCH leases USING COVERING INDEX leases_due")
	// Sums sort: there are few of them.
	if p := plan(t, s, selectRevoking); !strings.Contains(p, "USING COVERING INDEX leases_revoking") {
		t.Errorf("revoking: %s", p)
	}
	check("recount", selectCounted, n(2), "USING INDEX leases_path (id>?)")
	check("next child", nextFrom, n(1), "COVERING INDEX leases_path (id>?)")
	check("next child", nextAfter, n(1), "COVERING INDEX leases_path (id>?)")
	check("ended", selectEnded, n(2), "COVERING INDEX leases_ended (ended_at<?)")
	check("events", selectEvents, n(2), "SEARCH events USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)")
	check("changed tokens", selectChanged, n(2), "SEARCH e USING INDEX events_token (seq>?)", "SEARCH m USING INTEGER PRIMARY KEY")
	check("counters", selectMeta, nil, "SEARCH meta USING INTEGER PRIMARY KEY")
	check("confirmed", selectConfirmed, n(1))
	check("entry by key", selectByKey, n(2), "USING INDEX entries_key (kind=? AND key=?)")
	check("entry by id", selectByID, n(2))
	check("quotas", selectQuotas, n(1), "USING INDEX entries_key (kind=?)")
	check("living", selectLiving, n(1), "SEARCH living USING PRIMARY KEY (path=?)")
	check("guard of an entry", guardEntry, n(2))
	check("guard of a token", guardToken, n(4), "USING INDEX sqlite_autoindex_leases_1 (id=?)")
	check("guard of a prefix", guardBarriers, n(1), "COVERING INDEX barriers_position (position>?)")
	for _, withdrawn := range []bool{false, true} {
		query, args := list(store.KindRole, "m/", "m/a", withdrawn)
		check("list", query+" ORDER BY key, id LIMIT 5", args)
	}
	for _, q := range []store.Query{
		{}, {MountID: "m"}, {Target: "t", MountID: "m"}, {Prefix: "a/"}, {Parked: true}, {Parked: true, Target: "t", Before: 7}, {After: "a/b"},
	} {
		q.States = []lease.State{lease.Revoking}
		query, args, err := find(q)
		if err != nil {
			t.Fatal(err)
		}
		if p := plan(t, s, query, args...); !strings.Contains(p, "INDEX leases_revoking") || strings.Contains(p, "TEMP B-TREE") {
			t.Errorf("find %+v: %s", q, p)
		}
	}
	for _, q := range []struct {
		store.Query
		open, ended string // "": refused
	}{
		{store.Query{Prefix: "a/"}, "leases_path (id>? AND id<?)", "sqlite_autoindex_leases_1 (id>? AND id<?)"},
		{store.Query{Token: "k"}, "leases_token (token_id=?", ""},
		{store.Query{Account: "a"}, "leases_account (account=?", "leases_account (account=?"},
		{store.Query{MountID: "m"}, "leases_mount (mount_id=?", ""},
		{store.Query{Target: "t"}, "leases_target (target=?", ""},
		{store.Query{Prefix: "a/", Token: "k", Account: "a", MountID: "m", Target: "t"}, "leases_account (account=?", "leases_account (account=?"},
	} {
		for index, states := range map[string][][]lease.State{
			q.open:  {{lease.Intent, lease.Active}, {lease.Revoking, lease.Active}},
			q.ended: {nil, {lease.Revoked}, {lease.Revoked, lease.Active}},
		} {
			for _, q.States = range states {
				for _, q.After = range []lease.ID{"", "a/b"} {
					q.Before, q.Kind = 7, lease.Secret
					for name, statement := range map[string]func(store.Query) (string, []any, error){"find": find, "count": count} {
						query, args, err := statement(q.Query)
						switch {
						case (err != nil) != (index == ""):
							t.Errorf("%s %+v: %v", name, q, err)
						case err == nil:
							check(fmt.Sprintf("%s %+v", name, q), query, args, index)
						}
					}
				}
			}
		}
	}
}

// The test above can fail: this is what it looks for.
func TestAScanIsSeen(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), t.TempDir(), storetest.NewClock(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if p := plan(t, s, `SELECT id FROM leases WHERE version = 1`); !strings.Contains(p, "SCAN") {
		t.Error(p)
	}
	if p := plan(t, s, `SELECT body FROM leases WHERE token_id = 'k' ORDER BY position`); !strings.Contains(p, "TEMP B-TREE") {
		t.Error(p)
	}
}
