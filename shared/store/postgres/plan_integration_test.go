//go:build integration

package postgres

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// populate fills a schema so that the planner has something to choose: 60,000
// leases, most of which have ended, of few mounts and targets; events, runs.
const populate = `
	INSERT INTO {s}.leases
		SELECT 'database/creds/r' || n % 50 || '/' || lpad(n::text, 24, '0'), 'secret', CASE WHEN n % 4 = 0 THEN 'active' ELSE 'revoked' END,
			2, n, 'mount' || n % 50, 'target' || n % 70, 'auth/token/' || n % 500, 'account' || n,
			CASE WHEN n % 4 = 0 THEN 1900000000000000000 + n END, CASE WHEN n % 4 > 0 THEN 1800000000000000000 + n END, n % 4 > 0, n, repeat('x', 700)
		FROM generate_series(1, 60000) n;
	INSERT INTO {s}.events SELECT n, repeat('x', 500) FROM generate_series(1, 60000) n;
	INSERT INTO {s}.runs SELECT 1, n * 50 + 1, n * 50 + 1, 50 FROM generate_series(0, 999) n;
	UPDATE {s}.head SET number = 50000, examined = 50000, stored = 50000, gap_from = '{7}', gap_to = '{9}', gap_xid = '{1}';
	INSERT INTO {s}.entries SELECT 'role', 'id' || n, 'm/' || n, 1, '', n % 2 = 0, 0 FROM generate_series(1, 20000) n;
	INSERT INTO {s}.barriers SELECT 'id' || n, n, 'database/' FROM generate_series(1, 5000) n;
	INSERT INTO {s}.consumers VALUES ('ledger', 1, 40000); INSERT INTO {s}.consumers SELECT n::text, 1, 0 FROM generate_series(1, 2000) n;
	INSERT INTO {s}.writers SELECT n::text, 1, 0 FROM generate_series(1, 2000) n;
	INSERT INTO {s}.locks SELECT n::text, '', 1, 0 FROM generate_series(1, 2000) n;
	ANALYZE {s}.leases, {s}.events, {s}.runs, {s}.entries, {s}.barriers, {s}.consumers, {s}.writers, {s}.locks`

// plan is how Postgres runs a statement whatever the values: as a prepared
// statement that has been run often.
func plan(t *testing.T, c *pgx.Conn, query string) string {
	t.Helper()
	n := 0
	for strings.Contains(query, fmt.Sprint("$", n+1)) {
		n++
	}
	args := ""
	if n > 0 {
		args = "(" + strings.TrimSuffix(strings.Repeat("NULL, ", n), ", ") + ")"
	}
	if _, err := c.PgConn().Exec(t.Context(), "PREPARE p AS "+query).ReadAll(); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	results, err := c.PgConn().Exec(t.Context(), "EXPLAIN (COSTS OFF) EXECUTE p"+args+"; DEALLOCATE p").ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	var lines []string
	for _, row := range results[0].Rows {
		lines = append(lines, string(row[0]))
	}
	return strings.Join(lines, "\n")
}

func populated(t *testing.T) (*pgx.Conn, schema) {
	t.Helper()
	c, cfg, in := fresh(t)
	s, err := Open(t.Context(), clock.System{}, zerolog.Nop(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{in.in(populate), "SET plan_cache_mode = force_generic_plan"} {
		if _, err := c.PgConn().Exec(t.Context(), q).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	return c, in
}

// walked finds tables that are gone through from end to end; head and meta have
// one row.
var walked = regexp.MustCompile(`Seq Scan on (leases|events|runs|entries|barriers|consumers|locks|writers)`)

// Law: nothing on a hot path walks a table, nor sorts more than a page
// (architecture: work grows with leases due, never with leases alive).
func TestNoStatementWalksATable(t *testing.T) {
	t.Parallel()
	c, in := populated(t)
	check := func(name, query string, wants ...string) {
		t.Helper()
		p := plan(t, c, in.in(query))
		if walked.MatchString(p) {
			t.Errorf("%s: %s\n%s", name, query, p)
		}
		for _, want := range wants {
			if !strings.Contains(p, want) {
				t.Errorf("%s: the plan lacks %q:\n%s", name, want, p)
			}
		}
	}
	unsorted := func(name, query string, wants ...string) {
		t.Helper()
		check(name, query, wants...)
		if p := plan(t, c, in.in(query)); strings.Contains(p, "Sort") {
			t.Errorf("%s: the plan sorts:\n%s", name, p)
		}
	}
	unsorted("get", selectLease, "using leases_pkey")
	check("get many", selectLeases, "using leases_pkey")
	unsorted("due", selectDue, "Index Only Scan using leases_due")
	check("revoking", selectRevoking, "Index Only Scan using leases_revoking")
	unsorted("recount", selectCounted, "using leases_path")
	for _, q := range []store.Query{
		{}, {MountID: "m"}, {Target: "t", MountID: "m"}, {Prefix: "a/"}, {Parked: true}, {Parked: true, Target: "t", Before: 7}, {After: "a/b"},
	} {
		q.States = []lease.State{lease.Revoking}
		query, _, err := find(q)
		if err != nil {
			t.Fatal(err)
		}
		unsorted(fmt.Sprintf("find %+v", q), query, "Index Scan using leases_revoking")
	}
	unsorted("next child", nextFrom, "Index Only Scan using leases_path")
	unsorted("next child", nextAfter, "Index Only Scan using leases_path")
	unsorted("confirmed", selectConfirmed)
	unsorted("entry by key", selectByKey, "using entries_key")
	unsorted("entry by id", selectByID)
	unsorted("rest of a page", selectRest, "using entries_removed")
	unsorted("serial", selectSerial)
	unsorted("lock", selectLock)
	unsorted("fence", holdsLock)
	check("rows of a batch", lockLeases, "leases_pkey")
	check("guard of entries", guardEntries, "entries_pkey")
	check("guard of tokens", guardTokens, "leases_pkey")
	check("guard of a prefix", guardBarriers, "barriers_position")
	check("write", writeLeases, "leases_pkey")
	check("what a write touches", selectTouched, "entries_pkey", "entries_key")
	check("what waits for numbers", waiting, "events_pkey")
	check("events", selectEvents, "runs_pkey", "events_pkey")
	check("changed tokens", selectChanged, "runs_pkey", "events_token")
	check("runs", selectRuns, "runs_pkey")
	check("backlog", selectBacklog, "events_pkey")
	check("trim", deleteEvents, "events_pkey")
	check("trim runs", deleteRuns, "runs_pkey")
	check("prunable", selectPrunable, "Index Only Scan using leases_ended")
	check("prune", deleteLeases, "leases_pkey")
	check("advance", advance)
	for _, withdrawn := range []bool{false, true} {
		query, _ := list(store.KindRole, "m/", "m/a", withdrawn, 5)
		check("list", query, "entries_")
	}
	for _, q := range []struct {
		store.Query
		open, ended string // "": refused
	}{
		{store.Query{Prefix: "a/"}, "leases_path", "leases_pkey"},
		{store.Query{Token: "k"}, "leases_token", ""},
		{store.Query{Account: "a"}, "leases_account", "leases_account"},
		{store.Query{MountID: "m"}, "leases_mount", ""},
		{store.Query{Target: "t"}, "leases_target", ""},
		{store.Query{Prefix: "a/", Token: "k", Account: "a", MountID: "m", Target: "t"}, "leases_account", "leases_account"},
	} {
		for index, states := range map[string][][]lease.State{
			q.open:  {{lease.Intent, lease.Active}, {lease.Revoking, lease.Active}},
			q.ended: {nil, {lease.Revoked}, {lease.Revoked, lease.Active}},
		} {
			for _, q.States = range states {
				for _, q.After = range []lease.ID{"", "a/b"} {
					q.Before, q.Kind = 7, lease.Secret
					for name, statement := range map[string]func(store.Query) (string, []any, error){"find": find, "count": count} {
						query, _, err := statement(q.Query)
						switch {
						case (err != nil) != (index == ""):
							t.Errorf("%s %+v: %v", name, q, err)
						case err == nil && name == "find":
							unsorted(fmt.Sprintf("%s %+v", name, q), query, index)
						case err == nil:
							check(fmt.Sprintf("%s %+v", name, q), query, index)
						}
					}
				}
			}
		}
	}
}

// The test above can fail: this is what it looks for.
func TestAWalkIsSeen(t *testing.T) {
	t.Parallel()
	c, in := populated(t)
	for _, query := range []string{`SELECT id FROM {s}.leases WHERE version = 1`, `SELECT * FROM {s}.events ORDER BY body`} {
		if p := plan(t, c, in.in(query)); !walked.MatchString(p) {
			t.Error(p)
		}
	}
}
