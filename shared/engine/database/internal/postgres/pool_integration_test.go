//go:build integration

package postgres_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/testkit"
)

// sessions counts the admin's own.
func (w *world) sessions() int {
	w.t.Helper()
	return value[int](w.t, w.super(), `SELECT count(*) FROM pg_stat_activity WHERE usename = $1`, w.admin.User)
}

// backends are their process ids.
func (w *world) backends() []int {
	w.t.Helper()
	rows, err := w.super().Query(w.t.Context(), `SELECT pid FROM pg_stat_activity WHERE usename = $1`, w.admin.User)
	if err != nil {
		w.t.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		w.t.Fatal(err)
	}
	return pids
}

func without(all []int, those ...int) []int {
	return slices.DeleteFunc(all, func(pid int) bool { return slices.Contains(those, pid) })
}

// blocked creates accounts whose statements wait for a lock of the test's, and
// returns when as many sessions wait as can.
func (w *world) blocked(calls, waiting int) (release func()) {
	w.t.Helper()
	holder := w.super()
	run(w.t, holder, `SELECT pg_advisory_lock(7)`)
	var all sync.WaitGroup
	for range calls {
		all.Go(func() {
			for _, c := range w.Create(w.t.Context(), creationsOf(w.t, 1, plan(createLogin, `SELECT pg_advisory_xact_lock_shared(7)`))) {
				if c.Err != nil {
					w.t.Error(c.Err)
				}
			}
		})
	}
	watcher := w.super()
	eventually(w.t, "the creations wait", func() bool {
		return value[int](w.t, watcher, `SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND wait_event_type = 'Lock'`, w.admin.User) >= waiting
	})
	return func() {
		run(w.t, holder, `SELECT pg_advisory_unlock(7)`)
		all.Wait()
	}
}

// max_open_connections bounds the work lane, and a full work lane keeps no
// revocation waiting (B7).
func TestWorkLaneIsBoundedAndDisableIsNot(t *testing.T) {
	t.Parallel()
	patient := func(s *postgres.Settings) {
		s.MaxOpen, s.MaxIdle, s.MaxLifetime = 2, -1, time.Nanosecond
		s.Limits = postgres.Limits{Turn: hangs, Call: hangs, Lock: hangs}
	}
	eachAdmin(t, func(w *world) {
		a := w.issue(1, s1())[0]
		release := w.blocked(5, 2)
		defer release()
		o := w.Disable(w.t.Context(), []lease.Lease{a.lease})[0]
		if o.Err != nil || !o.Disabled || !o.SessionsEnded {
			w.t.Fatalf("%+v while the work lane is full", o)
		}
		// The two writers, disable and observe.
		if n := w.sessions(); n > 4 {
			w.t.Errorf("%d sessions, want no more than 4", n)
		}
	}, patient)
}

func TestIdleConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ idle, want int }{"none": {-1, 0}, "one": {1, 1}, "as many as are open": {0, 3}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := settle(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin), func(s *postgres.Settings) {
				s.MaxOpen, s.MaxIdle = 3, c.idle
				s.Limits = postgres.Limits{Turn: hangs, Call: hangs, Lock: hangs}
			})
			w.blocked(6, 3)()
			eventually(t, "the others are closed", func() bool { return w.sessions() == c.want })
		})
	}
}

// A connection is closed at the end of its lifetime, whether it is used then or
// rests; those that take access away stay.
func TestLifetimeOfConnections(t *testing.T) {
	t.Parallel()
	for _, kind := range testkit.AdminKinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			clk := &skewed{}
			w := settleBy(t, testkit.SharedPostgres(t).CreateAdmin(t, kind), clk, func(s *postgres.Settings) {
				s.MaxLifetime, s.MaxOpen = time.Hour, 1
			})
			accounts := w.issue(2, s1())
			var before []int
			eventually(t, "the session of the writer is the only one", func() bool { // others are closing
				before = w.backends()
				return len(before) == 1
			})
			writer := before[0]
			o := w.Disable(t.Context(), []lease.Lease{accounts[0].lease})[0]
			if o.Err != nil {
				t.Fatal(o.Err)
			}
			others := without(w.backends(), writer)

			clk.skew.Store(int64(59 * time.Minute))
			w.Trim(t.Context())
			w.issue(1, s1())
			if now := w.backends(); !slices.Contains(now, writer) {
				t.Error("the writer was closed before its time")
			}
			clk.skew.Store(int64(61 * time.Minute))
			w.issue(1, s1())
			eventually(t, "the old writer is closed", func() bool { return !slices.Contains(w.backends(), writer) })
			second := without(w.backends(), others...)
			if len(second) != 1 {
				t.Fatalf("%d sessions are new, want one writer", len(second))
			}
			clk.skew.Store(int64(130 * time.Minute))
			w.Trim(t.Context())
			eventually(t, "the resting writer is closed", func() bool { return !slices.Contains(w.backends(), second[0]) })
			if o := w.Disable(t.Context(), []lease.Lease{accounts[1].lease})[0]; o.Err != nil {
				t.Fatal(o.Err)
			}
			for _, pid := range others {
				if !slices.Contains(w.backends(), pid) {
					t.Errorf("session %d, which takes access away, was closed", pid)
				}
			}
		})
	}
}

// A rehearsal that waits holds nobody up: leases are issued and taken away
// meanwhile (B7).
func TestRehearsalHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		a := w.issue(1, plan(createLogin))[0]
		holder := w.super()
		run(w.t, holder, `SELECT pg_advisory_lock(7)`)
		type outcome struct {
			found []postgres.Finding
			err   error
		}
		done := make(chan outcome, 21)
		rehearse := func() {
			found, err := w.Rehearse(context.Background(), postgres.Rehearsal{
				Name: w.admin.User + "-rehearsed", Password: secretOf("pw-" + lease.RandomBase62(24)),
				Plan: plan(createLogin, `SELECT pg_advisory_xact_lock_shared(7)`),
			})
			done <- outcome{found, err}
		}
		go rehearse()
		watcher := w.super()
		eventually(w.t, "the rehearsal waits", func() bool {
			return value[int](w.t, watcher, `SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND wait_event_type = 'Lock'`, w.admin.User) == 1
		})
		more := w.issue(1, plan(createLogin))[0]
		w.removed(a, more)
		// Seven more wait for their turn, the others are told to come back.
		for range 20 {
			go rehearse()
		}
		for range 13 {
			kind(w.t, (<-done).err, engine.Busy)
		}
		run(w.t, holder, `SELECT pg_advisory_unlock(7)`)
		for range 8 {
			if o := <-done; o.err != nil || len(o.found) != 0 {
				w.t.Errorf("%+v", o)
			}
		}
		if w.exists(w.admin.User + "-rehearsed") {
			w.t.Error("the account stays")
		}
	}, func(s *postgres.Settings) { s.Limits = postgres.Limits{Turn: hangs, Call: hangs, Lock: hangs} })
}

// What takes longer than a batch may is a finding and no error: one statement,
// or all of them together.
func TestSlowRehearsal(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		for _, p := range []postgres.Plan{
			plan(createLogin, `SELECT pg_sleep(600)`),
			plan(append([]string{createLogin}, slices.Repeat([]string{`SELECT pg_sleep(0.4)`}, 100)...)...),
		} {
			found, err := w.Rehearse(w.t.Context(), postgres.Rehearsal{
				Name: w.admin.User + "-rehearsed", Password: secretOf("pw-" + lease.RandomBase62(24)), Plan: p,
			})
			if err != nil || len(found) != 1 || found[0].Code != "slow" || found[0].Fatal {
				w.t.Errorf("%+v, %v", found, err)
			}
			if w.exists(w.admin.User + "-rehearsed") {
				w.t.Error("the account stays")
			}
		}
	}, func(s *postgres.Settings) { s.Limits.Turn = 2 * time.Second })
}

// A session that is ended in the middle of a trial leaves nothing, and the next
// trial is none the worse.
func TestRehearsalThatIsCutOff(t *testing.T) {
	t.Parallel()
	eachAdmin(t, func(w *world) {
		holder := w.super()
		run(w.t, holder, `SELECT pg_advisory_lock(7)`)
		r := postgres.Rehearsal{
			Name: w.admin.User + "-rehearsed", Password: secretOf("pw-" + lease.RandomBase62(24)),
			Plan: plan(createLogin, grantAll, `SELECT pg_advisory_xact_lock_shared(7)`),
		}
		done := make(chan error, 1)
		go func() {
			_, err := w.Rehearse(context.Background(), r)
			done <- err
		}()
		watcher := w.super()
		eventually(w.t, "the waiting session is ended", func() bool {
			return value[int](w.t, watcher, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE usename = $1 AND wait_event_type = 'Lock'`, w.admin.User) == 1
		})
		kind(w.t, <-done, engine.Unreachable)
		run(w.t, holder, `SELECT pg_advisory_unlock(7)`)
		if w.exists(r.Name) {
			w.t.Error("the account stays")
		}
		if found, err := w.Rehearse(w.t.Context(), r); err != nil || slices.ContainsFunc(found, func(f postgres.Finding) bool { return f.Fatal }) {
			w.t.Errorf("%+v, %v", found, err)
		}
	}, func(s *postgres.Settings) { s.Limits = postgres.Limits{Turn: hangs, Call: hangs, Lock: hangs} })
}
