//go:build integration

package database

import (
	"strings"
	"sync"
	"testing"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/testkit"
)

// adminLogin tries a password of the admin past the engine.
func (s *site) adminLogin(password string) error {
	conn, err := s.connect(s.tb.Context(), s.admin.User, password)
	if err != nil {
		return err
	}
	return conn.Close(s.tb.Context())
}

// wantCurrent checks that the store has one password, which the server takes,
// and that the engine works with it.
func (s *site) wantCurrent() string {
	s.tb.Helper()
	current, pending, err := s.passwords(&s.stored("db").connection)
	if err != nil || !pending.Empty() {
		s.tb.Errorf("a password is pending, or unreadable: %v", err)
	}
	if err := s.adminLogin(current.Reveal()); err != nil {
		s.tb.Errorf("the server does not take the stored password: %v", err)
	}
	s.must(engine.Write, "reset/db", nil)
	return current.Reveal()
}

func TestRotateRoot(t *testing.T) {
	t.Parallel()
	for _, kind := range testkit.AdminKinds() { // (C4)
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			admin := testkit.SharedPostgres(t).CreateAdmin(t, kind)
			s := newSite(t, admin)
			if r := s.must(engine.Write, "rotate-root/db", nil); r != nil {
				t.Errorf("rotation says %+v, want nothing", r)
			}
			first := s.wantCurrent()
			if first == admin.Password {
				t.Error("the password is the old one")
			}
			if err := s.adminLogin(admin.Password); err == nil {
				t.Error("the old password still works")
			}
			s.must(engine.Write, "rotate-root/db", nil)
			if second := s.wantCurrent(); second == first {
				t.Error("the second rotation changed nothing")
			}
			if strings.Contains(s.logs.String(), first) {
				t.Error("the log holds a password")
			}
		})
	}
}

// B11: whichever step is the last before a crash, nobody is locked out, and the
// next rotation carries on.
func TestRotationThatBrokeOff(t *testing.T) {
	t.Parallel()
	for name, altered := range map[string]bool{"before the target heard of it": false, "after the target took it": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
			pending, _, err := s.makePending(t.Context(), s.stored("db").entry.ID, lease.Actor{Name: "died"})
			if err != nil {
				t.Fatal(err)
			}
			if altered {
				s.admin.Cluster().Exec(t, "postgres", `ALTER ROLE "`+s.admin.User+`" PASSWORD '`+pending.Reveal()+`'`)
			}
			// Another process, which knows only the store, goes on working …
			other := &site{bench: &bench{Engine: s.another(), tb: t, fake: s.fake, sealer: s.sealer, logs: s.logs}, admin: s.admin, proxy: s.proxy}
			other.must(engine.Write, "reset/db", nil)
			current, waiting, err := other.passwords(&other.stored("db").connection)
			if err != nil {
				t.Fatal(err)
			}
			if altered && (!current.Equal(pending) || !waiting.Empty()) {
				t.Error("the password that works was not promoted")
			}
			if !altered && !waiting.Equal(pending) {
				t.Error("the pending password was lost while the target may still get it")
			}
			// … and rotates, with the password that is pending.
			other.must(engine.Write, "rotate-root/db", nil)
			if got := other.wantCurrent(); !altered && got != pending.Reveal() {
				t.Error("the rotation made another password instead of carrying on")
			}
		})
	}
}

func TestRotationsAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	engines := []*Engine{s.Engine, s.another(), s.another()}
	var wg sync.WaitGroup
	errs := make([]error, 2*len(engines))
	for n := range errs {
		wg.Go(func() {
			_, errs[n] = engines[n%len(engines)].Handle(t.Context(), &engine.Request{
				Operation: engine.Write, MountID: mountID, Mount: mount, Path: "rotate-root/db",
			})
		})
	}
	wg.Wait()
	done := 0
	for _, err := range errs {
		if err == nil {
			done++
		} else if engine.AsError(err).Kind != engine.Conflict {
			t.Errorf("%v, want done or a conflict", err)
		}
	}
	if done == 0 {
		t.Error("none of the rotations was done")
	}
	s.wantCurrent()

	// A rotation that was stopped half-way must not be overtaken: what it sent
	// may arrive after the next one's password.
	err := s.alone(t.Context(), s.stored("db"), func() error {
		_, err := engines[1].Handle(t.Context(), &engine.Request{
			Operation: engine.Write, MountID: mountID, Mount: mount, Path: "rotate-root/db",
		})
		wantError(t, engine.Write, "rotate-root/db", err, engine.Conflict, "being rotated by somebody else")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.must(engine.Write, "rotate-root/db", nil)
	s.wantCurrent()
}

func TestRotationOfASharedAdminIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	other := &engine.Request{
		Operation: engine.Write, MountID: "mount-2", Mount: "db2/", Path: "config/twin", Data: s.config(),
	}
	if _, err := s.Handle(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	s.refused(engine.Invalid, engine.Write, "rotate-root/db", nil, "db2/config/twin", s.admin.User, "force=true")
	if got := s.wantCurrent(); got != s.admin.Password {
		t.Error("a refused rotation changed the password")
	}
	// Deleted, but needed: its lease could not be revoked any more.
	twin, err := s.connectionByName(t.Context(), "mount-2", "twin")
	if err != nil {
		t.Fatal(err)
	}
	l := begin(t, s.bench, twin.entry.ID)
	other.Operation, other.Data = engine.Delete, nil
	if _, err := s.Handle(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	s.refused(engine.Invalid, engine.Write, "rotate-root/db", nil, "db2/config/twin (deleted, needed by 1 leases)")
	finish(t, s.bench, l)
	s.must(engine.Write, "rotate-root/db", nil)
	s.wantCurrent()
}

func TestForcedRotationOfASharedAdmin(t *testing.T) {
	t.Parallel()
	s := newSite(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	s.must(engine.Write, "config/twin", s.config())
	s.refused(engine.Invalid, engine.Write, "rotate-root/db", map[string]any{"force": "false"}, "config/twin")
	s.must(engine.Write, "rotate-root/db", map[string]any{"force": "true"})
	s.wantCurrent()
	s.refused(engine.Refused, engine.Write, "reset/twin", nil, "1 error occurred:\n\t* error verifying connection: ", "28P01")
}

// A target that says no keeps the old password, and so does the store.
func TestRotationRefusedByTheTarget(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t)
	s := newSite(t, cluster.CreateAdmin(t, testkit.CreateRoleAdmin))
	cluster.Exec(t, "postgres", `ALTER ROLE "`+s.admin.User+`" SET default_transaction_read_only = on`)
	s.must(engine.Read, "config/db", nil)
	s.reopen(t.Context(), s.stored("db").entry.ID)
	if _, err := s.ask(engine.Write, "rotate-root/db", nil); err == nil {
		t.Fatal("a rotation in a read-only session was reported as done")
	}
	if err := s.adminLogin(s.admin.Password); err != nil {
		t.Errorf("the old password does not work: %v", err)
	}
	cluster.Exec(t, "postgres", `ALTER ROLE "`+s.admin.User+`" RESET default_transaction_read_only`)
	s.must(engine.Write, "rotate-root/db", nil)
	s.wantCurrent()
}

// Leases follow the connection's credentials.
func TestRotationLeavesLeasesAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	i := s.issue("good")
	s.must(engine.Write, "rotate-root/db", nil)
	if err := s.Login(t.Context(), i.Account, i.password.Reveal()); err != nil {
		t.Errorf("the account does not work any more: %v", err)
	}
	s.remove(i.Lease)
}
