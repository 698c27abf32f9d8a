//go:build integration

package postgres_test

import (
	"strconv"
	"sync"
	"testing"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/testkit"
)

func (w *world) wantMark(connection, want string) {
	w.t.Helper()
	if mark, err := w.Mark(w.t.Context(), connection); mark != want || err != nil {
		w.t.Fatalf("mark %q, %v; want %q", mark, err, want)
	}
}

func (w *world) mark(connection, was, now string) {
	w.t.Helper()
	if err := w.SetMark(w.t.Context(), connection, was, now); err != nil {
		w.t.Fatalf("set mark %q after %q: %v", now, was, err)
	}
	w.wantMark(connection, now)
}

// Eight processes replace one mark, half of them from another database of the
// cluster, where advisory locks of the others are not seen: one succeeds.
func TestMarkHasOneWriterAtATime(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		elsewhere := w.admin.NewDatabase(t)
		worlds := make([]*world, 8)
		for n := range worlds {
			worlds[n] = settle(t, w.admin, func(s *postgres.Settings) {
				if n%2 == 1 {
					s.URL = replace(s.URL, "/"+w.admin.Database, "/"+elsewhere)
				}
			})
			if _, err := worlds[n].Identify(t.Context()); err != nil { // the connection stands
				t.Fatal(err)
			}
		}
		connection, was := lease.RandomBase62(20), ""
		for round := range 10 {
			won := ""
			for n, err := range race(t, worlds, connection, was, round) {
				if err == nil {
					if won != "" {
						t.Fatalf("round %d has two winners", round)
					}
					won = markOf(round, n)
					continue
				}
				kind(t, err, engine.Conflict)
			}
			if won == "" {
				t.Fatalf("round %d has no winner", round)
			}
			w.wantMark(connection, won)
			was = won
		}
		if err := w.Unmark(t.Context(), connection); err != nil {
			t.Fatal(err)
		}
	})
}

func markOf(round, n int) string { return strconv.Itoa(round) + ":" + strconv.Itoa(n) }

// race lets all set a mark at once; who hears that the target is busy asks
// again.
func race(tb testing.TB, worlds []*world, connection, was string, round int) []error {
	tb.Helper()
	errs := make([]error, len(worlds))
	start := make(chan struct{})
	var all sync.WaitGroup
	for n, w := range worlds {
		all.Go(func() {
			<-start
			for again := true; again && tb.Context().Err() == nil; {
				errs[n] = w.SetMark(tb.Context(), connection, was, markOf(round, n))
				again = errs[n] != nil && engine.AsError(errs[n]).Kind == engine.Busy
			}
		})
	}
	close(start)
	all.Wait()
	return errs
}

// The role that bears the mark can do nothing, has nothing and is no account.
func TestMarkRoleCanDoNothing(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		connection := lease.RandomBase62(20)
		name := postgres.MarkRole(connection)
		w.mark(connection, "", "first")
		run(t, w.super(), `ALTER ROLE "`+name+`" LOGIN`) // somebody who means it badly
		w.mark(connection, "first", "second")
		if n := value[int](t, w.super(), `SELECT count(*) FROM pg_authid WHERE rolname = $1 AND NOT (rolcanlogin OR rolsuper OR
 rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls) AND rolpassword IS NULL`, name); n != 1 {
			t.Error("the role can log in, or has attributes or a password")
		}
		if n := value[int](t, w.super(), `SELECT count(*) FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
 WHERE d.refclassid = 'pg_authid'::regclass AND r.rolname = $1`, name); n != 0 {
			t.Errorf("%d things belong to the role or name it", n)
		}
		if n := value[int](t, w.super(), `SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = $1`, name); n != 0 {
			t.Errorf("the role is a member of %d others", n)
		}
		after := ""
		for {
			names, err := w.Accounts(t.Context(), after, 100)
			if err != nil {
				t.Fatal(err)
			}
			if len(names) == 0 {
				break
			}
			for _, after = range names {
				if after == name {
					t.Error("the role is listed as an account")
				}
			}
		}
		for range 2 { // again is success
			if err := w.Unmark(t.Context(), connection); err != nil {
				t.Fatal(err)
			}
		}
		w.wantMark(connection, "")
		if w.exists(name) {
			t.Error("the role is left")
		}
	})
}

// A standby takes no mark and tells of none; one that was promoted has that of
// its primary, as every copy of a target has (C6).
func TestMarkOnAStandby(t *testing.T) {
	t.Parallel()
	primary := testkit.Postgres(t)
	standby := primary.Standby(t)
	w := settle(t, primary.CreateAdmin(t, testkit.CreateRoleAdmin))
	connection := lease.RandomBase62(20)
	w.mark(connection, "", "first")
	standby.WaitReplay(t, primary)
	there := settle(t, w.admin, func(s *postgres.Settings) {
		s.URL = replace(s.URL, ":"+strconv.Itoa(primary.Port()), ":"+strconv.Itoa(standby.Port()))
	})
	_, err := there.Mark(t.Context(), connection)
	kind(t, err, engine.Unreachable, "standby")
	kind(t, there.SetMark(t.Context(), connection, "first", "second"), engine.Unreachable, "standby")
	kind(t, there.Unmark(t.Context(), connection), engine.Unreachable, "standby")
	w.wantMark(connection, "first")

	standby.Promote(t)
	there.wantMark(connection, "first")
	there.mark(connection, "first", "of the copy")
	w.wantMark(connection, "first")
}

// On another system than the recorded one no mark counts (C6).
func TestMarkOfAnotherSystem(t *testing.T) {
	t.Parallel()
	w := settle(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin), func(s *postgres.Settings) {
		s.Identity = postgres.Identity{SystemID: "1"}
	})
	_, err := w.Mark(t.Context(), "x")
	kind(t, err, engine.Refused, "target moved")
	kind(t, w.SetMark(t.Context(), "x", "", "first"), engine.Refused, "target moved")
}

// A missing privilege is named, and a role that somebody holds makes nobody wait
// for long: the lane ends sessions of revoked accounts.
func TestMarkThatTheTargetRefuses(t *testing.T) {
	t.Parallel()
	w := settle(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	connection := lease.RandomBase62(20)
	w.mark(connection, "", "first")
	conn := w.super()
	run(t, conn, `BEGIN`)
	run(t, conn, `COMMENT ON ROLE "`+postgres.MarkRole(connection)+`" IS 'mine'`)
	kind(t, w.SetMark(t.Context(), connection, "first", "second"), engine.Busy)
	run(t, conn, `ROLLBACK`)
	w.mark(connection, "first", "second")
	if err := w.Unmark(t.Context(), connection); err != nil {
		t.Fatal(err)
	}
	run(t, conn, `ALTER ROLE "`+w.admin.User+`" NOCREATEROLE`)
	kind(t, w.SetMark(t.Context(), connection, "", "third"), engine.Refused,
		postgres.MarkRole(connection), "SQLSTATE 42501", `ALTER ROLE "`+w.admin.User+`" CREATEROLE`)
	w.wantMark(connection, "")
}
