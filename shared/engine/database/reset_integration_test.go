//go:build integration

package database

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/testkit"
)

// backends are the process ids of the admin's sessions.
func (s *site) backends() []int {
	s.tb.Helper()
	conn := testkit.Connect(s.tb, s.admin.Cluster().AdminURL("postgres"))
	rows, err := conn.Query(s.tb.Context(), `SELECT pid FROM pg_stat_activity WHERE usename = $1`, s.admin.User)
	if err != nil {
		s.tb.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		s.tb.Fatal(err)
	}
	return pids
}

// The sessions of all lanes are closed and opened anew, in every process.
func TestResetOpensNewSessionsEverywhere(t *testing.T) {
	t.Parallel()
	for _, kind := range testkit.AdminKinds() { // (C4)
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, testkit.SharedPostgres(t).CreateAdmin(t, kind))
			revoker := s.another()
			first := s.issue("good")
			if o := revoker.Disable(t.Context(), s.id(), []lease.Lease{first.Lease})[0]; o.Err != nil {
				t.Fatal(o.Err)
			}
			before := s.backends()
			if len(before) < 3 {
				t.Fatalf("%d sessions, want those of several lanes of two processes", len(before))
			}
			if r := s.must(engine.Write, "reset/db", nil); r != nil {
				t.Errorf("reset says %+v, want nothing", r)
			}
			second := s.issue("good")
			if o := revoker.Disable(t.Context(), s.id(), []lease.Lease{second.Lease})[0]; o.Err != nil {
				t.Fatal(o.Err)
			}
			for end := time.Now().Add(soon); ; time.Sleep(5 * time.Millisecond) {
				now := s.backends()
				if !slices.ContainsFunc(now, func(pid int) bool { return slices.Contains(before, pid) }) {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("sessions %v before, %v after", before, now)
				}
			}
			s.remove(first.Lease)
			s.remove(second.Lease)
		})
	}
}
