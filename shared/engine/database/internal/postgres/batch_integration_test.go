//go:build integration

package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/testkit"
)

// creationsOf prepares n leases of a plan.
func creationsOf(tb testing.TB, n int, p postgres.Plan) []engine.Creation {
	tb.Helper()
	out := make([]engine.Creation, n)
	for i := range out {
		out[i] = engine.Creation{Lease: intent(tb, p), Secret: secretOf("pw-" + lease.RandomBase62(24))}
	}
	return out
}

// One lease at fault in a batch costs its neighbours nothing (B5).
func TestOneBadLeaseOfAHundred(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		p := plan(createLogin, `GRANT SELECT ON items TO "{{name}}"`)
		w.removed(w.issue(1, p)...) // proven: from now on it shares batches
		batch := creationsOf(t, 100, p)
		run(t, w.super(), `CREATE ROLE "`+batch[42].Lease.Account+`" NOLOGIN`)
		var good []account
		for i, c := range w.Create(t.Context(), batch) {
			if i == 42 {
				kind(t, c.Err, engine.Refused, "42710", "statement 1")
				continue
			}
			if c.Err != nil {
				t.Fatalf("lease %d: %v", i, c.Err)
			}
			good = append(good, account{lease: confirmed(batch[i].Lease, c), user: batch[i].Lease.Account, password: c.Data["password"].(string)})
		}
		w.login(good[98])
		w.removed(good...)
	})
}

// A statement that the server cannot even parse fails every lease of its own
// role, and none of another (B5).
func TestParseErrorStaysWithItsLease(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		good, bad := s1(), plan(createLogin, `GRANT SELECT ON items TOO "{{name}}"`)
		w.removed(w.issue(1, good)...)
		batch := append(creationsOf(t, 5, good), creationsOf(t, 3, bad)...)
		var made []account
		for i, c := range w.Create(t.Context(), batch) {
			if i >= 5 {
				kind(t, c.Err, engine.Refused, "42601", "statement 2")
				if w.exists(batch[i].Lease.Account) {
					t.Fatal("a refused creation left an account")
				}
				continue
			}
			if c.Err != nil {
				t.Fatal(c.Err)
			}
			made = append(made, account{lease: confirmed(batch[i].Lease, c), user: batch[i].Lease.Account})
		}
		w.removed(made...)
	})
}

// Nothing is created once the target's clock has passed the deadline, and the
// other leases of the batch do not suffer (B1).
func TestFence(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		p := plan(createLogin)
		w.removed(w.issue(1, p)...)
		batch := creationsOf(t, 10, p)
		for _, late := range []int{0, 7} {
			batch[late].Lease.CreateDeadline = time.Now().Add(-time.Millisecond)
		}
		var made []account
		for i, c := range w.Create(t.Context(), batch) {
			if i == 0 || i == 7 {
				kind(t, c.Err, engine.Conflict, "nothing was created")
				if w.exists(batch[i].Lease.Account) {
					t.Fatal("created after the deadline")
				}
				continue
			}
			if c.Err != nil {
				t.Fatal(c.Err)
			}
			made = append(made, account{lease: confirmed(batch[i].Lease, c), user: batch[i].Lease.Account})
		}
		w.removed(made...)
	})
}

// The fence is the last thing before COMMIT: a creation that its own statements
// held up until after the deadline does not happen.
func TestFenceAfterSlowStatements(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		l := intent(t, plan(createLogin, `SELECT pg_sleep(1.5)`))
		l.CreateDeadline = time.Now().Add(time.Second)
		c := w.Create(t.Context(), []engine.Creation{{Lease: l, Secret: secretOf("abcdefgh")}})[0]
		kind(t, c.Err, engine.Conflict, "nothing was created")
		if w.exists(l.Account) {
			t.Fatal("created after the deadline")
		}
	})
}

// waitsUntil waits until a statement of the admin's that names a role waits for
// another's lock, and ends the other's transaction then.
func (w *world) waitsUntil(other *pgx.Conn, name string, commits bool) {
	t := w.t
	t.Helper()
	watcher := w.super()
	eventually(t, "the tombstone waits", func() bool {
		return value[bool](t, watcher, `SELECT EXISTS (SELECT FROM pg_stat_activity
 WHERE usename = $1 AND wait_event_type = 'Lock' AND query LIKE '%' || $2 || '%')`, w.admin.User, name)
	})
	run(t, other, map[bool]string{true: `COMMIT`, false: `ROLLBACK`}[commits])
}

// A creation that is still open while its lease is rolled back: DROP ROLE IF
// EXISTS would say that nothing is there. The tombstone waits (B1).
func TestRollbackWaitsForAnOpenCreation(t *testing.T) {
	t.Parallel()
	for _, commits := range []bool{true, false} {
		t.Run(map[bool]string{true: "commits", false: "does not"}[commits], func(t *testing.T) {
			t.Parallel()
			eachAdmin(t, func(w *world) {
				t := w.t
				l := intent(t, s1())
				l.CreateDeadline = time.Now()
				creator := w.admin.Connect(t)
				run(t, creator, `BEGIN`)
				run(t, creator, `CREATE ROLE "`+l.Account+`" LOGIN`)
				l.State = lease.Revoking
				result := make(chan engine.Outcome, 1)
				go func() { result <- w.Remove(context.Background(), []lease.Lease{l})[0] }()
				w.waitsUntil(creator, l.Account, commits)
				if o := <-result; o.Err != nil || !o.Gone {
					t.Fatalf("%+v", o)
				}
				if w.exists(l.Account) {
					t.Fatal("the account is there")
				}
			})
		})
	}
}

func TestRollbackBeforeTheDeadlineHasToWait(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		created := w.issue(1, s1())[0]
		created.lease.ActivatedAt, created.lease.Handle = time.Time{}, nil // its answer was lost
		never := intent(t, s1())
		conn := w.login(created)
		batch := []lease.Lease{created.lease, never}
		for i, o := range w.Remove(t.Context(), batch) {
			kind(t, o.Err, engine.NotYet)
			if e := engine.AsError(o.Err); e.After <= 0 || e.After > 2*hangs {
				t.Fatalf("retry after %v", e.After)
			}
			if o.Gone || o.Disabled != (i == 0) {
				t.Fatalf("%+v", o)
			}
		}
		eventually(t, "the session ends at once", func() bool { return conn.Ping(t.Context()) != nil })
		for i := range batch {
			batch[i].CreateDeadline = time.Now().Add(-time.Second)
		}
		for _, o := range w.Remove(t.Context(), batch) {
			if o.Err != nil || !o.Gone {
				t.Fatalf("%+v", o)
			}
		}
		if w.exists(created.user) {
			t.Fatal("the account is there")
		}
	})
}

// Many intents that were never carried out are buried in one batch.
func TestRollbackOfManyIntents(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		batch := make([]lease.Lease, 300)
		for i := range batch {
			batch[i] = intent(t, s1())
			batch[i].CreateDeadline = time.Now().Add(-time.Second)
		}
		run(t, w.admin.Connect(t), `CREATE ROLE "`+batch[150].Account+`" LOGIN`)
		for _, o := range w.Remove(t.Context(), batch) {
			if o.Err != nil || !o.Gone {
				t.Fatalf("%+v", o)
			}
		}
		if n := value[int](t, w.super(), `SELECT count(*) FROM pg_roles WHERE rolname = $1 OR rolname = $2`, batch[150].Account, batch[0].Account); n != 0 {
			t.Fatalf("%d accounts are there", n)
		}
	})
}

// S1's role grants on every table to each user. Eight creators at once kill
// each other's transactions without the advisory lock (B6).
func TestConcurrentGrantsDoNotFail(t *testing.T) {
	t.Parallel()
	for _, kind := range testkit.AdminKinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			cluster := testkit.Postgres(t)
			concurrentGrants(t, settle(t, cluster.CreateAdmin(t, kind)))
			for _, trouble := range []string{"deadlock detected", "tuple concurrently"} {
				if strings.Contains(cluster.Log(t), trouble) {
					t.Errorf("%s: retries hide it, and cost a second each", trouble)
				}
			}
		})
	}
}

func concurrentGrants(t *testing.T, w *world) {
	t.Helper()
	for i := range 20 {
		run(t, w.admin.Connect(t), fmt.Sprintf(`CREATE TABLE t%d (n int)`, i))
	}
	p := s1()
	const creators, each = 8, 5
	worlds := make([]*world, creators) // as many processes
	for i := range worlds {
		worlds[i] = settle(t, w.admin)
	}
	var all sync.WaitGroup
	results := make([][]engine.Created, creators)
	batches := make([][]engine.Creation, creators)
	for i := range worlds {
		batches[i] = creationsOf(t, each, p)
		all.Go(func() {
			for k := range batches[i] {
				results[i] = append(results[i], worlds[i].Create(context.Background(), batches[i][k:k+1])...)
			}
		})
	}
	all.Wait()
	var made []account
	for i := range results {
		for k, c := range results[i] {
			if c.Err != nil {
				t.Fatal(c.Err)
			}
			made = append(made, account{lease: confirmed(batches[i][k].Lease, c), user: batches[i][k].Lease.Account})
		}
	}
	w.removed(made...)
}

// Statements that may change the session run alone, and what they changed is
// gone afterwards (B4).
func TestStatementsThatChangeTheSession(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		group := "group_" + w.admin.User
		run(t, w.super(), `CREATE ROLE `+group)
		run(t, w.super(), `GRANT `+group+` TO `+w.admin.User)
		odd := plan(createLogin, `SET ROLE `+group, `SET search_path = nowhere`, `SELECT pg_advisory_lock(42)`)
		normal := s1()
		normal.Creation = append(normal.Creation, `GRANT SELECT ON items TO "{{name}}"`) // needs the default search_path
		made := append(w.issue(2, odd), w.issue(3, normal)...)
		made = append(made, w.issue(1, odd)...)
		if n := value[int](t, w.super(), `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 42
 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`); n != 0 {
			t.Fatalf("%d locks are left", n)
		}
		w.removed(made...)
	})
}

// A lease that runs over moves to the solo lane; its neighbours do not wait
// for it (B7).
func TestSlowLeaseDelaysNobody(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		quick, slow := plan(createLogin), plan(createLogin, `SELECT pg_sleep(3)`)
		l := intent(t, slow)
		done := make(chan engine.Created, 1)
		go func() {
			done <- w.Create(context.Background(), []engine.Creation{{Lease: l, Secret: secretOf("abcdefgh")}})[0]
		}()
		watcher := w.super()
		eventually(t, "the slow one is in the solo lane", func() bool {
			return value[bool](t, watcher, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = $1 AND state = 'active'
 AND query LIKE '%' || $2 || '%' AND query LIKE '%statement_timeout=60000%')`, w.admin.User, l.Account)
		})
		made := w.issue(20, quick)
		select {
		case <-done:
			t.Fatal("the slow one was first: the test is void")
		default:
		}
		c := <-done
		if c.Err != nil {
			t.Fatal(c.Err)
		}
		w.removed(append(made, account{lease: confirmed(l, c), user: l.Account})...)
	}, func(s *postgres.Settings) { s.Limits.Turn = 300 * time.Millisecond })
}

// A role's own revocation_statements that hang cannot keep an account alive.
func TestRevocationStatementsThatHang(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		t := w.t
		p := plan(createLogin)
		p.Revocation = []string{`SELECT pg_sleep(600)`}
		a := w.issue(1, p)[0]
		w.removed(a)
		if !strings.Contains(w.notes.all(), "too long") {
			t.Fatalf("notes: %s", w.notes.all())
		}
	}, func(s *postgres.Settings) { s.Limits.Turn = 400 * time.Millisecond; s.Limits.Call = 2 * time.Second })
}

// A queue that is full says so (section E).
func TestFullQueueIsBusy(t *testing.T) {
	t.Parallel()
	w := settle(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.SuperuserAdmin),
		func(s *postgres.Settings) { s.Limits.Waiting = 3 })
	for _, c := range w.Create(t.Context(), creationsOf(t, 4, s1())) {
		kind(t, c.Err, engine.Busy)
		if engine.AsError(c.Err).After <= 0 {
			t.Fatal("no time to come back")
		}
	}
	w.removed(w.issue(3, s1())...)
}

// A batch larger than a message is cut (B5).
func TestLargeBatch(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		p := plan(createLogin, `COMMENT ON ROLE "{{name}}" IS '`+strings.Repeat("x", 20_000)+`'`)
		w.removed(w.issue(300, p)...)
	})
}
