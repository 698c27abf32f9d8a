//go:build integration

package postgres_test

import (
	"fmt"
	"testing"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/testkit"
)

// Absence counts only where the account was seen (C6).
func TestTargetMoved(t *testing.T) {
	t.Parallel()
	here := settle(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.SuperuserAdmin))
	there := testkit.Postgres(t)
	a := here.issue(1, s1())[0]

	// By the handle of the lease.
	w := settle(t, there.CreateAdmin(t, testkit.SuperuserAdmin))
	run(t, w.super(), `CREATE ROLE "`+a.user+`"`)
	for _, o := range append(w.Disable(t.Context(), []lease.Lease{a.lease}), w.Remove(t.Context(), []lease.Lease{a.lease})...) {
		kind(t, o.Err, engine.Refused, "target moved")
		if o.Disabled || o.Gone {
			t.Fatalf("%+v", o)
		}
	}
	if !w.exists(a.user) {
		t.Fatal("an account of another system was dropped")
	}
	// By the connection's identity.
	id, err := here.Identify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w = settle(t, w.admin, func(s *postgres.Settings) { s.Identity = id })
	c := w.Create(t.Context(), creationsOf(t, 1, s1()))[0]
	kind(t, c.Err, engine.Refused, "target moved", id.SystemID)
	here.removed(a)
}

// A standby proves no absence; after its promotion it does, on a new timeline
// (C6).
func TestStandbyAndPromotion(t *testing.T) {
	t.Parallel()
	primary := testkit.Postgres(t)
	admin := primary.CreateAdmin(t, testkit.CreateRoleAdmin)
	w := settle(t, admin)
	a := w.issue(2, s1())
	standby := primary.Standby(t)
	standby.WaitReplay(t, primary)
	at := func(c *testkit.Cluster) string {
		return replace(c.URL("U", "P", admin.Database), "U:P", "{{username}}:{{password}}")
	}
	alone := settle(t, admin, func(s *postgres.Settings) { s.URL = at(standby) })
	o := alone.Remove(t.Context(), []lease.Lease{a[0].lease})[0]
	kind(t, o.Err, engine.Unreachable, "standby")
	if o.Gone || o.Disabled {
		t.Fatalf("%+v", o)
	}
	both := settle(t, admin, func(s *postgres.Settings) {
		s.URL = fmt.Sprintf("postgres://{{username}}:{{password}}@127.0.0.1:%d,127.0.0.1:%d/%s?sslmode=disable",
			standby.Port(), primary.Port(), admin.Database)
	})
	if id, err := both.Identify(t.Context()); err != nil || id.Timeline != 1 {
		t.Fatalf("%+v: %v", id, err)
	}
	primary.Kill(t)
	standby.Promote(t)
	eventually(t, "the promoted server serves", func() bool {
		for _, o := range both.Remove(t.Context(), []lease.Lease{a[0].lease, a[1].lease}) {
			if o.Err != nil {
				t.Log(o.Err)
				return false
			}
		}
		return true
	})
	if id, err := both.Identify(t.Context()); err != nil || id.Timeline != 2 {
		t.Fatalf("%+v: %v", id, err)
	}
	conn := testkit.Connect(t, standby.AdminURL("postgres"))
	if n := value[int](t, conn, `SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-test-%'`); n != 0 {
		t.Fatalf("%d accounts are left", n)
	}
}

// A restart is another life of the same system: what was not flushed may be lost
// (C6).
func TestIncarnation(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t)
	w := settle(t, cluster.CreateAdmin(t, testkit.CreateRoleAdmin))
	life := func() string {
		t.Helper()
		name, err := w.Incarnation(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	first := life()
	if again := life(); again != first {
		t.Errorf("%q became %q without a restart", first, again)
	}
	cluster.Kill(t)
	cluster.Start(t)
	if second := life(); second == first {
		t.Errorf("still %q after a restart", second)
	}
}
