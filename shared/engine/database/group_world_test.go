//go:build integration || fault

package database

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/username"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/testkit"
)

// grants are the statements of roles with shared grants in these tests.
const (
	grantTables   = `GRANT USAGE ON SCHEMA public TO "{{name}}"; GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{{name}}";`
	grantSequence = `GRANT USAGE ON SCHEMA public TO "{{name}}"; GRANT ALL ON items TO "{{name}}";`
)

// sharing is a site with the mount's entry, and no role with shared grants yet.
type sharing struct{ *site }

func newSharing(tb testing.TB, admin *testkit.Admin) *sharing {
	tb.Helper()
	s := &sharing{newSite(tb, admin)}
	_, err := s.fake.Write(tb.Context(), store.Write{Puts: []store.Entry{{Kind: store.KindMount, Key: mount, ID: mountID, Value: []byte(`{}`)}}})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func eachSharing(t *testing.T, test func(s *sharing)) {
	t.Helper()
	for _, kind := range testkit.AdminKinds() { // (C4)
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			test(newSharing(t, testkit.SharedPostgres(t).CreateAdmin(t, kind)))
		})
	}
}

// shared writes a role with shared grants, which must bring no warning.
func (s *sharing) shared(role, grants string, more ...string) {
	s.tb.Helper()
	r := s.must(engine.Write, "roles/"+role, roleOf("db", append([]string{
		"creation_statements", creation + grants, "shared_grants", "true",
	}, more...)...))
	if r != nil {
		s.tb.Errorf("warnings: %v", r.Warnings)
	}
}

// process is an engine of another process, with a store of its own making.
func (s *sharing) process(of Store) *sharing {
	s.tb.Helper()
	e, err := New(Deps{Store: of, Sealer: s.sealer, Clock: clock.System{}, Log: zerolog.New(s.logs)}, Config{Program: "test", Making: time.Second})
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			s.tb.Error(err)
		}
	})
	return &sharing{&site{
		bench: &bench{Engine: e, tb: s.tb, fake: s.fake, sealer: s.sealer, logs: s.logs}, admin: s.admin, proxy: s.proxy,
	}}
}

// upkeep does what the revoker does, once, and returns how many groups were made,
// refreshed or dropped, as if the time of all makings were over.
func (s *sharing) upkeep() (done int, err error) {
	s.tb.Helper()
	s.over()
	k := s.GroupRoles()
	now, err := s.fake.Now(s.tb.Context())
	if err != nil {
		s.tb.Fatal(err)
	}
	due, err := k.Rotations(s.tb.Context(), now)
	for _, r := range due {
		did, failed := k.Rotate(s.tb.Context(), r, nil)
		if failed != nil {
			err = failed
		}
		if did {
			done++
		}
	}
	return done, err
}

func (s *sharing) kept(want int) {
	s.tb.Helper()
	if n, err := s.upkeep(); n != want || err != nil {
		s.tb.Fatalf("%d groups were seen to, %v; want %d", n, err, want)
	}
}

// grantee issues a credential as the issuer does, with the guard (A3).
func (s *sharing) grantee(role string) (issued, error) {
	s.tb.Helper()
	ctx := s.tb.Context()
	id := lease.NewID(mount + "creds/" + role)
	p, err := s.plan(role, id)
	if err != nil {
		return issued{}, err
	}
	guard := store.Guard{Entries: p.Guard}
	begun := s.fake.Apply(ctx, store.Transition{Guard: guard, Change: lease.Change{ID: id, Key: "b", Do: lease.Begin{
		Lease: lease.Lease{
			Kind: lease.Secret, MountID: mountID, Mount: mount, Role: p.Role, Engine: Type, Target: p.Target,
			Account: p.Account, Plan: p.Frozen, TTL: p.Limits.Default, Renewable: p.Renewable,
		},
		Grace: p.Grace, TargetOffset: p.TargetOffset,
	}}})[0]
	i := issued{password: p.Secret, Lease: begun.Lease}
	if begun.Err != nil {
		return i, begun.Err
	}
	out := s.Create(ctx, i.Target, []engine.Creation{{Lease: i.Lease, Secret: i.password}})
	if out[0].Err != nil {
		return i, out[0].Err
	}
	done := s.fake.Apply(ctx, store.Transition{Guard: guard, Change: lease.Change{
		ID: i.ID, Version: i.Version, Key: "a", Do: lease.Activate{Handle: out[0].Handle},
	}})[0]
	if i.Lease = done.Lease; done.Err == nil && done.Withdrawn != "" {
		return i, fmt.Errorf("%s was withdrawn", done.Withdrawn)
	}
	return i, done.Err
}

func (s *sharing) mustIssue(role string) issued {
	s.tb.Helper()
	i, err := s.grantee(role)
	if err != nil {
		s.tb.Fatalf("issue %s: %v", role, err)
	}
	return i
}

// works reports, as an error, that an account cannot run a query.
func (s *sharing) works(i issued, query string) error {
	s.tb.Helper()
	conn, err := s.connect(s.tb.Context(), i.Account, i.password.Reveal())
	if err != nil {
		return err
	}
	_, err = conn.Exec(s.tb.Context(), query)
	_ = conn.Close(s.tb.Context())
	return err
}

func (s *sharing) mustWork(i issued, query string) {
	s.tb.Helper()
	if err := s.works(i, query); err != nil {
		s.tb.Errorf("%s: %s: %v", i.Account, query, err)
	}
}

// roles are the group roles in the target that this installation made.
func (s *sharing) roles() []string {
	s.tb.Helper()
	var all []string
	err := s.super(s.tb.Context(), `SELECT coalesce(array_agg(rolname::text), '{}') FROM pg_roles WHERE rolname LIKE $1`,
		[]any{username.GroupPrefix + "%"}, &all)
	if err != nil {
		s.tb.Fatal(err)
	}
	namer, err := s.namer(s.tb.Context())
	if err != nil {
		s.tb.Fatal(err)
	}
	var ours []string
	for _, name := range all {
		if _, ok := namer.RecogniseGroup(name); ok {
			ours = append(ours, name)
		}
	}
	return ours
}

// groups are those on record, withdrawn ones too.
func (s *sharing) onRecord() (out []*storedGroup) {
	s.tb.Helper()
	err := s.eachGroup(s.tb.Context(), "", func(g *storedGroup) error {
		out = append(out, g)
		return nil
	})
	if err != nil {
		s.tb.Fatal(err)
	}
	return out
}

// wantGroups compares what is in the target and on record with how many there
// should be.
func (s *sharing) wantGroups(when string, n int) {
	s.tb.Helper()
	if target, record := s.roles(), s.onRecord(); len(target) != n || len(record) != n {
		s.tb.Fatalf("%s: groups %v in the target and %d on record; want %d", when, target, len(record), n)
	}
}

// age makes the last refresh of all groups older.
func (s *sharing) age(by time.Duration) {
	s.tb.Helper()
	s.alter(func(g *storedGroup) { g.Refreshed = g.Refreshed.Add(-by) })
}

// over is as if the time of all makings were over.
func (s *sharing) over() {
	s.tb.Helper()
	s.alter(func(g *storedGroup) { g.Until = time.Time{} })
}

// alter changes the entries of all groups.
func (s *sharing) alter(change func(*storedGroup)) {
	s.tb.Helper()
	for _, g := range s.onRecord() {
		_, err := s.editGroup(s.tb.Context(), g.entry.ID, func(g *storedGroup) (*event.Event, error) {
			change(g)
			return g.told(event.ConfigChanged, system(), "changed by a test"), nil
		})
		if err != nil {
			s.tb.Fatal(err)
		}
	}
}

func (s *sharing) count(of event.Type) (n int) {
	s.tb.Helper()
	for _, ev := range s.events() {
		if ev.Type == of {
			n++
		}
	}
	return n
}

// sweeps takes strays away as the revoker does, and returns how many.
func (s *sharing) sweeps() int {
	s.tb.Helper()
	ctx := s.tb.Context()
	strays, err := s.Accounts(ctx, s.id(), "", 0)
	if err != nil {
		s.tb.Fatal(err)
	}
	n := 0
	for _, a := range strays {
		if !strings.HasPrefix(a.Name, username.GroupPrefix) {
			continue
		}
		n++
		plan, handle, err := s.StrayPlan(ctx, s.id(), a)
		if err != nil {
			s.tb.Fatal(err)
		}
		l := lease.Lease{
			ID: lease.NewID(mount + "stray/db"), Kind: lease.Stray, State: lease.Revoking, Target: s.id(),
			Account: a.Name, Plan: plan, Handle: handle,
		}
		if out := s.Disable(ctx, s.id(), []lease.Lease{l}); out[0].Err != nil {
			s.tb.Fatalf("disable stray group: %v", out[0].Err)
		}
		if out := s.Remove(ctx, s.id(), []lease.Lease{l}); out[0].Err != nil || !out[0].Gone {
			s.tb.Fatalf("remove stray group: %v", out[0].Err)
		}
	}
	return n
}
