//go:build integration

package postgres_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/testkit"
)

func TestLifeOfACredential(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		a := w.issue(1, s1())[0]
		conn := w.login(a)
		if n := value[int](t, conn, `SELECT count(*) FROM items`); n != 2 {
			t.Fatalf("%d rows", n)
		}
		until := func() time.Duration {
			return time.Duration(value[float64](t, w.super(),
				`SELECT extract(epoch FROM rolvaliduntil - clock_timestamp())::float8 FROM pg_roles WHERE rolname = $1`, a.user) * float64(time.Second))
		}
		if d := until(); d < time.Hour || d > time.Hour+5*time.Second {
			t.Fatalf("VALID UNTIL is %v from now (B8)", d)
		}
		var left engine.Expiry
		for _, remaining := range []time.Duration{2 * time.Hour, time.Minute} {
			moved := w.Renew(t.Context(), []engine.Renewal{{Lease: a.lease, Remaining: remaining, If: left}})[0]
			if moved.Err != nil {
				t.Fatal(moved.Err)
			}
			left = moved.Now
			if d := until(); d < remaining || d > remaining+5*time.Second {
				t.Fatalf("VALID UNTIL is %v from now, want %v (B9)", d, remaining)
			}
		}
		w.removed(a)
		if !w.refused(a) {
			t.Fatal("logged in after the revocation")
		}
		eventually(t, "the session ends", func() bool { return conn.Ping(t.Context()) != nil })

		// Again, as two workers do or one after a crash (C7).
		w.removed(a)
	})
}

// skewed is a clock that somebody turns.
type skewed struct {
	clock.System
	skew atomic.Int64
}

func (s *skewed) Now() time.Time { return s.System.Now().Add(time.Duration(s.skew.Load())) }

// A sample of the target's clock that is wrong by now is noticed when VALID
// UNTIL is read back (B8).
func TestClockThatJumps(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{20 * time.Second, -20 * time.Second, time.Hour} {
		clk := &skewed{}
		w := settleBy(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin), clk)
		made := w.issue(1, s1())
		clk.skew.Store(int64(jump))
		made = append(made, w.issue(1, s1())...)
		clk.skew.Store(0)
		if moved := w.Renew(t.Context(), []engine.Renewal{{Lease: made[0].lease, Remaining: time.Hour}}); moved[0].Err != nil {
			t.Fatal(moved[0].Err)
		}
		for _, a := range made {
			d := value[float64](t, w.super(),
				`SELECT extract(epoch FROM rolvaliduntil - clock_timestamp())::float8 FROM pg_roles WHERE rolname = $1`, a.user)
			if d < 3600-1 || d > 3600+8 {
				t.Fatalf("after a jump of %v VALID UNTIL is %.1f s from now", jump, d)
			}
		}
		w.removed(made...)
	}
}

func TestRenewOfAnAccountThatIsGone(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		kept, gone := w.issue(1, s1())[0], w.issue(1, s1())[0]
		w.removed(gone)
		moved := w.Renew(t.Context(), []engine.Renewal{
			{Lease: gone.lease, Remaining: time.Hour}, {Lease: kept.lease, Remaining: time.Hour},
		})
		kind(t, moved[0].Err, engine.NotFound, gone.user)
		if moved[1].Err != nil {
			t.Fatal(moved[1].Err)
		}
		w.removed(kept)
	})
}

// Many renew one account at the same time, each to a time of its own, and give
// back what they were not granted: what was granted is there in the end (B9).
func TestRenewalsAtTheSameTime(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		a := w.issue(1, s1())[0]
		renew := func(r engine.Renewal) engine.Renewed {
			r.Lease = a.lease
			return w.Renew(t.Context(), []engine.Renewal{r})[0]
		}
		const granted = 100 * time.Hour
		var all sync.WaitGroup
		for n := range 40 {
			all.Go(func() {
				if n == 20 {
					eventually(t, "one is granted", func() bool { return renew(engine.Renewal{Remaining: granted}).Err == nil })
					return
				}
				moved := renew(engine.Renewal{Remaining: time.Duration(n+1) * time.Hour})
				if moved.Err != nil { // of so many at once one may wait too often
					kind(t, moved.Err, engine.Conflict)
					return
				}
				if moved = renew(engine.Renewal{If: moved.Now, To: moved.Was}); moved.Err != nil {
					kind(t, moved.Err, engine.Conflict)
				}
			})
		}
		all.Wait()
		d := value[float64](t, w.super(),
			`SELECT extract(epoch FROM rolvaliduntil - clock_timestamp())::float8 FROM pg_roles WHERE rolname = $1`, a.user)
		if d < granted.Seconds() {
			t.Errorf("VALID UNTIL is %.0f s from now, %.0f were granted", d, granted.Seconds())
		}
		w.removed(a)
	})
}

func TestLeaseWithoutEnd(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		l := intent(t, s1())
		l.TTL = 0
		c := w.Create(t.Context(), []engine.Creation{{Lease: l}})[0]
		kind(t, c.Err, engine.Internal) // no password

		p := plan(`CREATE ROLE "{{name}}" LOGIN`)
		l = intent(t, p)
		l.TTL = 0
		c = w.Create(t.Context(), []engine.Creation{{Lease: l}})[0]
		if c.Err != nil {
			t.Fatal(c.Err)
		}
		if !value[bool](t, w.super(), `SELECT rolvaliduntil = 'infinity' FROM pg_roles WHERE rolname = $1`, l.Account) {
			t.Fatal("VALID UNTIL is not infinity")
		}
		w.removed(account{lease: confirmed(l, c), user: l.Account})
	})
}

// S2's revocation_statements cannot drop what its creation_statements made: the
// safe default has to (C5).
func TestRoleOfArticleS2LeavesNothing(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		before := value[int](t, w.super(), `SELECT count(*) FROM pg_default_acl`)
		w.removed(w.issue(3, s2())...)
		if n := value[int](t, w.super(), `SELECT count(*) FROM pg_default_acl`); n != before {
			t.Fatalf("%d default privileges, before %d", n, before)
		}
		if acl := value[string](t, w.super(), `SELECT coalesce(relacl::text, '') FROM pg_class WHERE relname = 'items'`); len(acl) > 0 && containsAccount(acl) {
			t.Fatalf("privileges are left: %s", acl)
		}
		if w.notes.all() == "" {
			t.Fatal("nobody hears that the role's own statements failed")
		}
	})
}

func TestOwnedTableSurvives(t *testing.T) {
	t.Parallel()
	for _, drop := range []bool{false, true} {
		name := map[bool]string{false: "reassign", true: "drop"}[drop]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachAdmin(t, func(w *world) {
				t := w.t
				elsewhere := w.admin.NewDatabase(t)
				for _, db := range []string{w.admin.Database, elsewhere} {
					run(t, testkit.Connect(t, w.admin.URLTo(db)), `GRANT CREATE ON SCHEMA public TO PUBLIC`)
				}
				p := s1()
				if drop {
					p.OwnedObjects = postgres.Drop
				}
				a := w.issue(1, p)[0]
				for _, db := range []string{w.admin.Database, elsewhere} {
					run(t, testkit.Connect(t, w.url(a, db)), `CREATE TABLE harvest AS SELECT 42 AS n`)
				}
				w.removed(a)
				for _, db := range []string{w.admin.Database, elsewhere} {
					conn := testkit.Connect(t, w.admin.Cluster().AdminURL(db))
					if drop {
						if value[bool](t, conn, `SELECT to_regclass('public.harvest') IS NOT NULL`) {
							t.Fatal("the table is still there")
						}
						continue
					}
					if n := value[int](t, conn, `SELECT n FROM harvest`); n != 42 {
						t.Fatalf("the row is %d", n)
					}
					if owner := value[string](t, conn, `SELECT tableowner::text FROM pg_tables WHERE tablename = 'harvest'`); owner != w.admin.User {
						t.Fatalf("the table belongs to %s", owner)
					}
				}
			})
		})
	}
}

func TestReassignToAnother(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		heir := "heir_" + w.admin.User
		run(t, w.super(), `CREATE ROLE `+heir)
		run(t, w.super(), `GRANT CREATE ON SCHEMA public TO PUBLIC`)
		p := s1()
		p.ReassignTo = heir
		a := w.issue(1, p)[0]
		run(t, w.login(a), `CREATE TABLE harvest AS SELECT 42 AS n`)
		if w.admin.Kind == testkit.CreateRoleAdmin {
			o := w.Remove(t.Context(), []lease.Lease{a.lease})[0]
			if !o.Disabled || !o.SessionsEnded || o.Gone {
				t.Fatalf("%+v", o)
			}
			kind(t, o.Err, engine.Refused, "42501", heir, "GRANT")
			run(t, w.super(), `GRANT `+heir+` TO `+w.admin.User)
		}
		w.removed(a)
		if owner := value[string](t, w.super(), `SELECT tableowner::text FROM pg_tables WHERE tablename = 'harvest'`); owner != heir {
			t.Fatalf("the table belongs to %s", owner)
		}
	})
}

// What another grantor gave stays, and the reason lists it (C5).
func TestPrivilegeOfAnotherGrantorIsNamed(t *testing.T) {
	t.Parallel()
	w := settle(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	run(t, w.super(), `CREATE TABLE foreign_ground (n int)`)
	a := w.issue(1, plan(createLogin))[0]
	run(t, w.super(), `GRANT SELECT ON foreign_ground TO "`+a.user+`"`)
	o := w.Remove(t.Context(), []lease.Lease{a.lease})[0]
	if !o.Disabled || !o.SessionsEnded || o.Gone {
		t.Fatalf("%+v", o)
	}
	kind(t, o.Err, engine.Refused, "2BP01", "foreign_ground")
	run(t, w.super(), `REVOKE SELECT ON foreign_ground FROM "`+a.user+`"`)
	a.lease.Revocation.Attempts = 1
	w.removed(a)
}

func TestRenamedAccountIsFoundByItsOID(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		a := w.issue(1, s1())[0]
		other := "renamed_" + w.admin.User
		run(t, w.super(), `ALTER ROLE "`+a.user+`" RENAME TO `+other)
		w.removed(a)
		if w.exists(other) {
			t.Fatal("the renamed account lives on (d)")
		}
	})
}

func containsAccount(acl string) bool {
	for i := 0; i+7 < len(acl); i++ {
		if acl[i:i+7] == "v-test-" {
			return true
		}
	}
	return false
}
