//go:build fault

package database

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/testkit"
)

func (m *mortal) Find(ctx context.Context, q store.Query) ([]lease.Lease, error) {
	return call(m, func() ([]lease.Lease, error) { return m.Store.Find(ctx, q) })
}

func (m *mortal) Count(ctx context.Context, q store.Query) (int64, error) {
	return call(m, func() (int64, error) { return m.Store.Count(ctx, q) })
}

// act is a part of a group's life in which a process is killed.
type act struct {
	name string
	// before brings the world to where it begins.
	before func(s *sharing)
	// do is the act, by the process that dies; its errors do not matter.
	do func(victim *sharing)
	// calls and messages are how many it has at least, to store and target.
	calls, messages int
}

func acts() []act {
	return []act{
		{"the role is written", func(*sharing) {}, func(victim *sharing) {
			_, _ = victim.ask(engine.Write, "roles/readonly", roleOf("db", "creation_statements", creation+grantTables, "shared_grants", "true"))
		}, 8, 6},
		{"the first credential", func(s *sharing) {
			s.must(engine.Delete, "config/db", nil)
			s.shared("readonly", grantTables)
			s.must(engine.Write, "config/db", s.config())
		}, func(victim *sharing) {
			_, _ = victim.plan("readonly", lease.NewID(mount+"creds/readonly"))
		}, 8, 6},
		{"the refresh", func(s *sharing) {
			s.shared("readonly", grantTables)
			s.age(time.Hour)
		}, func(victim *sharing) { _, _ = victim.tried() }, 8, 6},
		{"the drop", func(s *sharing) {
			s.shared("readonly", grantTables)
			s.over()
			s.must(engine.Delete, "roles/readonly", nil)
		}, func(victim *sharing) { _, _ = victim.tried() }, 8, 10},
		{"the drop with its connection", func(s *sharing) {
			s.shared("readonly", grantTables)
			s.over()
			s.must(engine.Delete, "config/db", nil)
		}, func(victim *sharing) { _, _ = victim.tried() }, 8, 10},
	}
}

// tried is upkeep where also the listing may be the last that a process does.
func (s *sharing) tried() (done int, err error) {
	k := s.GroupRoles()
	due, err := k.Rotations(s.tb.Context(), time.Now())
	for _, r := range due {
		if did, failed := k.Rotate(s.tb.Context(), r, nil); did {
			done++
		} else if failed != nil {
			err = failed
		}
	}
	return done, err
}

// settles lets another process do the revoker's work until nothing is due, and
// sweeps strays; then the world is as it has to be, whatever was cut off before.
func (s *sharing) settles(when string) {
	s.tb.Helper()
	var last error
	for end := time.Now().Add(soon); ; time.Sleep(10 * time.Millisecond) {
		done, err := s.tried()
		if err == nil && done == 0 && !s.dropping() {
			break
		}
		if last = err; time.Now().After(end) {
			s.tb.Fatalf("%s: no rest: %v", when, last)
		}
	}
	if _, err := s.Tidy(s.tb.Context()); err != nil {
		s.tb.Fatalf("%s: %v", when, err)
	}
}

// dropping reports whether there is a group that nobody needs: it may have to wait
// for a making, of which nobody knows whether it still happens (B1).
func (s *sharing) dropping() bool {
	return slices.ContainsFunc(s.onRecord(), func(g *storedGroup) bool { return g.entry.Withdrawn })
}

// ends brings the world to its end and looks that nothing is left of any group,
// in the target and on record.
func (s *sharing) ends(when string) {
	s.tb.Helper()
	s.settles(when)
	// Whatever happened, a role can be written and a credential works.
	s.must(engine.Write, "config/db", s.config())
	s.shared("readonly", grantTables)
	i := s.mustIssue("readonly")
	s.mustWork(i, `SELECT * FROM items`)
	s.settles(when)
	if record := s.onRecord(); len(record) != 1 || record[0].Made.IsZero() {
		s.tb.Fatalf("%s: %d groups on record", when, len(record))
	}
	s.mustWork(i, `SELECT * FROM items`)
	s.over()
	s.must(engine.Delete, "roles/readonly", nil)
	s.remove(i.Lease)
	s.settles(when)
	if n := s.sweeps(); n != 0 {
		s.tb.Errorf("%s: %d groups were found that no entry knew", when, n)
	}
	s.wantGroups(when, 0)
}

// A process that is killed at any call of the store, whether that was carried out
// or not, leaves no group that another does not make, keep or drop.
func TestGroupKilledAtEachCallOfTheStore(t *testing.T) {
	t.Parallel()
	for _, a := range acts() {
		for _, heard := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, heard %t", a.name, heard), func(t *testing.T) {
				t.Parallel()
				s := newSharing(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
				survivor := s.process(s.fake)
				var calls int
				for at := 1; ; at++ {
					when := fmt.Sprintf("killed at call %d", at)
					a.before(survivor)
					m := &mortal{Store: s.fake, at: at, heard: heard}
					a.do(s.process(m))
					survivor.ends(when)
					if m.survived() {
						calls = at - 1
						break
					}
				}
				t.Logf("%d calls of the store", calls)
				if calls < a.calls {
					t.Errorf("%d calls: not all were met", calls)
				}
			})
		}
	}
}

// The same for each message to the target, which the server gets or not; the
// process lives on, or does not hear the target any more.
func TestGroupCutAtEachMessage(t *testing.T) {
	t.Parallel()
	for _, a := range acts() {
		for _, heard := range []bool{false, true} {
			for _, dead := range []bool{false, true} {
				if dead != heard && os.Getenv("CURFEW_FAULT") != "all" {
					continue // the other two combinations take as long once more
				}
				t.Run(fmt.Sprintf("%s, heard %t, dead %t", a.name, heard, dead), func(t *testing.T) {
					t.Parallel()
					s := newSharing(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
					survivor := s.process(s.fake)
					var messages int
					for at := int64(1); ; at++ {
						when := fmt.Sprintf("cut at message %d", at)
						a.before(survivor)
						through := newProxy(t, fmt.Sprintf("%s:%d", s.admin.Cluster().Host(), s.admin.Cluster().Port()))
						through.cutAt, through.heard, through.dead = at, heard, dead
						a.do(s.process(&elsewhere{s.fake, s.proxy.addr(), through.addr()}))
						survivor.ends(when)
						if through.sent.Load() < at {
							messages = int(at) - 1
							break
						}
					}
					t.Logf("%d messages to the target", messages)
					if messages < a.messages {
						t.Errorf("%d messages: not all were met", messages)
					}
				})
			}
		}
	}
}

// await waits until something is true.
func await(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	for end := time.Now().Add(soon); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("%s: not within %v", what, soon)
		}
	}
}

// B1: a making that its target holds up while nobody needs the group any more
// comes before the end of the entry, or never.
func TestGroupThatIsMadeLate(t *testing.T) {
	t.Parallel()
	s := newSharing(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	survivor := s.process(s.fake)
	conn := testkit.Connect(t, s.admin.Cluster().AdminURL(s.admin.Database))
	lock := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 4 {
		when := fmt.Sprintf("round %d", round)
		lock("SELECT pg_advisory_lock(7094966430863785985)") // that of all grants of Curfew's
		var victim sync.WaitGroup
		victim.Go(func() {
			_, _ = s.process(s.fake).ask(engine.Write, "roles/readonly", roleOf("db", "creation_statements", creation+grantTables, "shared_grants", "true"))
		})
		var held int
		for end := time.Now().Add(soon); held == 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").Scan(&held); err != nil {
				t.Fatal(err)
			}
		}
		if held == 0 {
			t.Fatal("nothing is held up")
		}
		survivor.must(engine.Delete, "roles/readonly", nil)
		if round%2 == 0 { // it goes on in time
			if _, err := survivor.tried(); err != nil {
				t.Errorf("%s: %v", when, err)
			}
			lock("SELECT pg_advisory_unlock(7094966430863785985)")
			victim.Wait()
			survivor.settles(when)
		} else {
			survivor.settles(when)
			lock("SELECT pg_advisory_unlock(7094966430863785985)")
			victim.Wait()
		}
		survivor.wantGroups(when, 0)
	}
}

// B1: that one process has made a group ends nothing for another, whose making is
// still on its way when the role is deleted.
func TestGroupThatIsMadeByTwo(t *testing.T) {
	t.Parallel()
	s := newSharing(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	survivor := s.process(s.fake)
	through := newProxy(t, fmt.Sprintf("%s:%d", s.admin.Cluster().Host(), s.admin.Cluster().Port()))
	through.hold, through.holds = make(chan struct{}), "the time for the group role"
	release := sync.OnceFunc(func() { close(through.hold) })
	var victim sync.WaitGroup
	defer victim.Wait()
	defer release()
	victim.Go(func() {
		role := roleOf("db", "creation_statements", creation+grantTables, "shared_grants", "true")
		_, _ = s.process(&elsewhere{s.fake, s.proxy.addr(), through.addr()}).ask(engine.Write, "roles/readonly", role)
	})
	await(t, "a making is kept back", through.held.Load)
	survivor.shared("readonly", grantTables)
	if n := len(survivor.roles()); n != 1 {
		t.Fatalf("%d groups were made beside it", n)
	}
	survivor.must(engine.Delete, "roles/readonly", nil)
	survivor.settles("afterwards")
	through.answered.Store(false)
	release()
	await(t, "the target has answered it", through.answered.Load)
	survivor.wantGroups("afterwards", 0)
}
