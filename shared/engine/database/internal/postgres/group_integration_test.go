//go:build integration

package postgres_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/engine/username"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/testkit"
)

// sharing is a group role of the test's own, and the plan of its members.
func sharing(statements ...string) (postgres.Group, postgres.Plan) {
	g := postgres.Group{Name: username.GroupPrefix + strings.ToLower(lease.RandomBase62(12)), Statements: statements}
	p := plan(createLogin)
	p.Group = g.Name
	return g, p
}

// soonMade is a making that nobody waits for.
func soonMade(context.Context) (time.Duration, error) { return time.Minute, nil }

func (w *world) keep(g postgres.Group) {
	w.t.Helper()
	if err := w.KeepGroup(w.t.Context(), g, soonMade); err != nil {
		w.t.Fatalf("keep group: %v", err)
	}
}

// Members of a group read what it is granted, and have nothing of their own: a
// refresh brings what was made since, and the group goes without its members'
// tables (C5).
func TestGroupIsKeptAndDropped(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		g, p := sharing(grantAll, defaultsOf)
		w.keep(g)
		w.keep(g)
		if err := w.DropGroup(t.Context(), g.Name, postgres.Plan{}); err != nil || w.exists(g.Name) {
			t.Fatalf("drop: %v", err)
		}
		w.keep(g)
		a := w.issue(3, p)
		conn := w.login(a[0])
		if n := value[int](t, conn, `SELECT count(*) FROM items`); n != 2 {
			t.Errorf("%d items", n)
		}
		if n := value[int](t, w.super(), `SELECT count(*) FROM pg_shdepend WHERE refobjid = $1::text::regrole`, `"`+a[0].user+`"`); n != 0 {
			t.Errorf("the account has %d privileges of its own", n)
		}
		if version16 := value[int](t, conn, `SELECT current_setting('server_version_num')::int`) >= 160000; version16 {
			if _, err := conn.Exec(t.Context(), `SET ROLE "`+g.Name+`"`); err == nil {
				t.Error("a member can become the group")
			}
		}
		run(t, w.admin.Connect(t), `CREATE TABLE later AS SELECT 7 AS n`)
		run(t, w.super(), `REVOKE SELECT ON items FROM "`+g.Name+`"`)
		w.keep(g)
		if n := value[int](t, conn, `SELECT n + (SELECT count(*) FROM items) FROM later`); n != 9 {
			t.Errorf("after a refresh: %d", n)
		}
		kind(t, w.DropGroup(t.Context(), g.Name, postgres.Plan{}), engine.Conflict, "still members")
		w.removed(a...)
		if err := w.DropGroup(t.Context(), g.Name, postgres.Plan{}); err != nil || w.exists(g.Name) {
			t.Fatalf("drop: %v", err)
		}
		if err := w.DropGroup(t.Context(), g.Name, postgres.Plan{}); err != nil {
			t.Errorf("drop again: %v", err)
		}
	})
}

const defaultsOf = `ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO "{{name}}"`

// What somebody made in the group's name outlives it (C5), and so do the
// privileges of others; they may be in several databases.
func TestGroupLeavesWhatPeopleMade(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		g, _ := sharing(grantAll)
		w.keep(g)
		other := w.admin.NewDatabase(t)
		elsewhere := testkit.Connect(t, w.admin.Cluster().AdminURL(other))
		for _, conn := range []string{"", other} {
			c := w.super()
			if conn != "" {
				c = elsewhere
			}
			run(t, c, `CREATE TABLE of_people (n int); INSERT INTO of_people VALUES (1)`)
			run(t, c, `ALTER TABLE of_people OWNER TO "`+g.Name+`"`)
			run(t, c, `GRANT SELECT ON items TO "`+g.Name+`"`)
		}
		if err := w.DropGroup(t.Context(), g.Name, postgres.Plan{}); err != nil || w.exists(g.Name) {
			t.Fatalf("drop: %v", err)
		}
		if n := value[int](t, elsewhere, `SELECT n FROM of_people`); n != 1 {
			t.Errorf("%d in the other database", n)
		}
		if owner := value[string](t, w.super(), `SELECT relowner::regrole::text FROM pg_class WHERE relname = 'of_people'`); owner != w.admin.User {
			t.Errorf("the table belongs to %s", owner)
		}
	})
}

// A refusal names the statement by its number in the role, and leaves no role.
func TestGroupThatIsRefused(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		g, p := sharing(grantAll, `GRANT SELECT ON missing TO "{{name}}"`)
		g.Numbers = []int{2, 5}
		kind(t, w.KeepGroup(t.Context(), g, soonMade), engine.Refused, "creation_statements: statement 5", "42P01")
		if w.exists(g.Name) {
			t.Error("the role stays")
		}
		kind(t, w.KeepGroup(t.Context(), postgres.Group{Name: g.Name, Statements: []string{`CREATE ROLE "{{name}}"`}}, soonMade), engine.Invalid)
		batch := []engine.Creation{{Lease: intent(t, p), Secret: secretOf("x")}}
		err := w.Create(t.Context(), batch)[0].Err
		if !postgres.Lacks(err, g.Name) || postgres.Lacks(err, "other") || postgres.Lacks(nil, g.Name) {
			t.Errorf("a creation without its group: %v", err)
		}
	})
}

// B1: a making that comes through to the target too late makes nothing, whatever
// became of who began it; one that was refused to begin does not.
func TestGroupIsNotMadeLate(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		g, _ := sharing(grantAll)
		refused := errors.New("a test")
		if err := w.KeepGroup(t.Context(), g, func(context.Context) (time.Duration, error) { return 0, refused }); !errors.Is(err, refused) {
			t.Errorf("refused: %v", err)
		}
		kind(t, w.KeepGroup(t.Context(), g, func(context.Context) (time.Duration, error) { return 0, nil }), engine.Busy, "took longer")
		if w.exists(g.Name) {
			t.Error("the role was made")
		}
		w.keep(g)
		if err := w.KeepGroup(t.Context(), g, func(context.Context) (time.Duration, error) { return 0, refused }); err != nil {
			t.Errorf("what is there is not made: %v", err)
		}
	})
}

// B1: DROP ROLE IF EXISTS does not see a group whose making has not ended.
func TestDropWaitsForAnOpenMaking(t *testing.T) {
	t.Parallel()
	for _, commits := range []bool{true, false} {
		t.Run(map[bool]string{true: "commits", false: "does not"}[commits], func(t *testing.T) {
			t.Parallel()
			eachAdmin(t, func(w *world) {
				t := w.t
				g, _ := sharing(grantAll)
				maker := w.admin.Connect(t)
				run(t, maker, `BEGIN`)
				run(t, maker, `CREATE ROLE "`+g.Name+`" NOLOGIN`)
				result := make(chan error, 1)
				go func() { result <- w.DropGroup(context.Background(), g.Name, postgres.Plan{}) }()
				w.waitsUntil(maker, g.Name, commits)
				if err := <-result; err != nil {
					t.Fatal(err)
				}
				if w.exists(g.Name) {
					t.Fatal("the group is there")
				}
			})
		})
	}
}

// Any number may keep a group at once, on targets of several processes.
func TestGroupIsKeptBySeveral(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		g, _ := sharing(grantAll, defaultsOf)
		another := settle(t, w.admin)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				by := w
				if i%2 == 0 {
					by = another
				}
				if err := by.KeepGroup(t.Context(), g, soonMade); err != nil {
					t.Errorf("keep group: %v", err)
				}
			})
		}
		wg.Wait()
		if !w.exists(g.Name) {
			t.Error("there is no group")
		}
	})
}

// The sweep lists a group once no account is in it, beside accounts and in their
// order (B3).
func TestGroupsAreListed(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		g, p := sharing(grantAll)
		w.keep(g)
		listed := func() bool {
			names, err := w.Accounts(t.Context(), username.GroupPrefix, 10000)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range names {
				if n == g.Name {
					return true
				}
			}
			return false
		}
		if !listed() {
			t.Error("an empty group is not listed")
		}
		a := w.issue(1, p)
		if listed() {
			t.Error("a group with a member is listed")
		}
		w.removed(a...)
		if !listed() {
			t.Error("the group is not listed after its last member")
		}
		if err := w.DropGroup(t.Context(), g.Name, postgres.Plan{}); err != nil {
			t.Fatal(err)
		}
	})
}

// A table knows the group and none of its members, however many they are. With
// CURFEW_GRANTS=all there are more than direct grants allow on one table, and these
// are shown to end; the figures are logged.
func TestGroupOfManyMembers(t *testing.T) {
	t.Parallel()
	const few, many = 200, 2600
	want := few
	all := os.Getenv("CURFEW_GRANTS") == "all"
	if all {
		want = many
	}
	w := settle(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	g, p := sharing(`GRANT SELECT ON items TO "{{name}}"`)
	w.keep(g)
	start := time.Now()
	var last account
	for n := 0; n < want; n += 100 {
		last = w.issue(100, p)[0]
	}
	t.Logf("shared: %d live accounts in %v", want, time.Since(start).Round(time.Millisecond))
	if n := value[int](t, w.login(last), `SELECT count(*) FROM items`); n != 2 {
		t.Errorf("the last account reads %d items", n)
	}
	if n := value[int](t, w.super(), `SELECT array_length(relacl, 1) FROM pg_class WHERE relname = 'items'`); n != 2 {
		t.Errorf("the table has %d grantees, want the owner and the group", n)
	}
	if !all {
		return
	}
	run(t, w.admin.Connect(t), `CREATE TABLE direct AS SELECT * FROM items`)
	start = time.Now()
	direct := plan(createLogin, `GRANT SELECT ON direct TO "{{name}}"`)
	for n := 0; n < many; n += 20 {
		batch := make([]engine.Creation, 20)
		for i := range batch {
			batch[i] = engine.Creation{Lease: intent(t, direct), Secret: secretOf("pw")}
		}
		before := time.Now()
		for i, c := range w.Create(t.Context(), batch) {
			if c.Err != nil {
				t.Logf("direct: %d live accounts in %v, then: %v", n+i, time.Since(start).Round(time.Millisecond), c.Err)
				return
			}
		}
		if n%400 == 0 {
			t.Logf("direct: %d live accounts, 20 more in %v", n, time.Since(before).Round(time.Millisecond))
		}
	}
	t.Error("direct grants did not end")
}
