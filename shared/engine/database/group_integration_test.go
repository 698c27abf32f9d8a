//go:build integration

package database

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// The whole life: the group is made with the role; members read what it is
// granted, also what was made since a refresh; an edit makes another one and
// leaves those who have the old one as they are; and each group goes after the
// last lease that names it.
func TestGroupLives(t *testing.T) {
	t.Parallel()
	eachSharing(t, func(s *sharing) {
		t := s.tb
		s.shared("readonly", grantTables)
		s.wantGroups("after the role", 1)
		first := s.roles()[0]
		read := s.must(engine.Read, "roles/readonly", nil).Data
		if read["shared_grants"] != true || read["shared_grants_role"] != first || read["shared_grants_refresh"] != int64(3600) || read["shared_grants_refreshed"] == nil {
			t.Errorf("the role reads as %v", read)
		}
		old := s.mustIssue("readonly")
		s.mustWork(old, `SELECT * FROM items`)

		s.kept(0)
		s.admin.Cluster().Exec(t, s.admin.Database, `CREATE TABLE later (n int); ALTER TABLE later OWNER TO `+s.admin.User)
		if s.works(old, `SELECT * FROM later`) == nil {
			t.Error("a new table can be read before the refresh")
		}
		s.age(time.Hour)
		s.kept(1)
		s.mustWork(old, `SELECT * FROM later`)

		s.shared("readonly", grantSequence)
		s.wantGroups("after the edit", 2)
		young := s.mustIssue("readonly")
		s.mustWork(young, `DELETE FROM items WHERE id = 99`)
		s.mustWork(old, `SELECT * FROM later`)
		if s.works(old, `DELETE FROM items WHERE id = 99`) == nil || s.works(young, `SELECT * FROM later`) == nil {
			t.Error("the edit changed an old lease, or a new one has what the role had before")
		}
		s.kept(0) // the old group is needed
		s.remove(old.Lease)
		s.kept(1)
		s.wantGroups("after the last lease of the first", 1)
		s.mustWork(young, `DELETE FROM items WHERE id = 99`)

		s.must(engine.Delete, "roles/readonly", nil)
		s.kept(0)
		s.mustWork(young, `DELETE FROM items WHERE id = 99`)
		s.remove(young.Lease)
		s.kept(1)
		s.wantGroups("at the end", 0)
		for of, want := range map[event.Type]int{event.GroupMade: 2, event.GroupRefreshed: 1, event.GroupDropped: 2, event.GroupFailed: 0} {
			if n := s.count(of); n != want {
				t.Errorf("%d events %s, want %d", n, of, want)
			}
		}
	})
}

// Writing a role again refreshes the group that it has; what is granted decides,
// so that another TTL makes no other group, and the way back finds none that is
// being dropped.
func TestGroupOfARoleThatIsWrittenAgain(t *testing.T) {
	t.Parallel()
	eachSharing(t, func(s *sharing) {
		t := s.tb
		s.shared("readonly", grantTables)
		first := s.roles()
		i := s.mustIssue("readonly")
		s.admin.Cluster().Exec(t, s.admin.Database, `CREATE TABLE later (n int); ALTER TABLE later OWNER TO `+s.admin.User)
		s.shared("readonly", grantTables, "default_ttl", "2h")
		s.mustWork(i, `SELECT * FROM later`)
		if !slices.Equal(s.roles(), first) {
			t.Errorf("groups %v, then %v", first, s.roles())
		}
		s.shared("readonly", grantSequence)
		s.shared("readonly", grantTables)
		s.kept(1) // the one in between
		if !slices.Equal(s.roles(), first) {
			t.Errorf("groups %v, then %v", first, s.roles())
		}
		s.must(engine.Write, "roles/readonly", map[string]any{"shared_grants": false})
		direct := s.mustIssue("readonly")
		s.mustWork(direct, `SELECT * FROM later`)
		s.kept(0)
		s.remove(i.Lease)
		s.kept(1)
		s.mustWork(direct, `SELECT * FROM later`)
		s.wantGroups("at the end", 0)
	})
}

// A3: who planned with a group before it was withdrawn gets nothing; who began
// with it before is waited for, and revoked instead of served.
func TestGroupIsWithdrawnBeforeItIsDropped(t *testing.T) {
	t.Parallel()
	eachSharing(t, func(s *sharing) {
		t := s.tb
		s.shared("readonly", grantTables)
		planned, err := s.plan("readonly", lease.NewID(mount+"creds/readonly"))
		if err != nil {
			t.Fatal(err)
		}
		begun, err := s.intend("readonly")
		if err != nil {
			t.Fatal(err)
		}
		s.must(engine.Delete, "roles/readonly", nil)
		s.kept(0)
		g := s.onRecord()[0]
		if g.entry.Withdrawn {
			t.Fatal("withdrawn while an intent names it")
		}
		// The withdrawal of another process, that saw no lease.
		if _, err := s.fake.Write(t.Context(), store.Write{Withdrawals: []store.Ref{{Kind: store.KindGroupRole, ID: g.entry.ID}}}); err != nil {
			t.Fatal(err)
		}
		s.kept(0)
		s.wantGroups("with an intent", 1)
		refused := s.fake.Apply(t.Context(), store.Transition{Guard: store.Guard{Entries: planned.Guard}, Change: lease.Change{
			ID: lease.NewID(mount + "creds/readonly"), Key: "late", Do: lease.Begin{Lease: lease.Lease{Kind: lease.Secret, Plan: planned.Frozen, Target: planned.Target}},
		}})[0]
		if !errors.Is(refused.Err, store.ErrWithdrawn) {
			t.Errorf("an intent that names a withdrawn group: %v", refused.Err)
		}
		out := s.Create(t.Context(), begun.Target, []engine.Creation{{Lease: begun.Lease, Secret: begun.password}})
		if out[0].Err != nil {
			t.Fatal(out[0].Err)
		}
		guard := store.Guard{Entries: []store.Ref{{Kind: store.KindGroupRole, ID: g.entry.ID}}}
		done := s.fake.Apply(t.Context(), store.Transition{Guard: guard, Change: lease.Change{
			ID: begun.ID, Version: begun.Version, Key: "a", Do: lease.Activate{Handle: out[0].Handle},
		}})[0]
		if done.Withdrawn != string(store.KindGroupRole) || done.Lease.State != lease.Revoking {
			t.Errorf("activated with a withdrawn group: %+v", done)
		}
		s.kept(0)
		s.admin.Cluster().Exec(t, "postgres", `DROP ROLE "`+begun.Account+`"`) // its deadline is not over
		apply(t, s.bench, lease.Change{ID: done.Lease.ID, Version: lease.AnyVersion, Key: "f", Do: lease.Finish{To: lease.Revoked}})
		s.kept(1)
		s.wantGroups("at the end", 0)
	})
}

// Any number of issuers may be the first to need a group: one is made.
func TestGroupAtItsFirstUseByMany(t *testing.T) {
	t.Parallel()
	eachSharing(t, func(s *sharing) {
		t := s.tb
		s.must(engine.Delete, "config/db", nil)
		s.shared("readonly", grantTables) // before its connection: nothing is made
		s.wantGroups("without a connection", 0)
		s.must(engine.Write, "config/db", s.config())
		var wg sync.WaitGroup
		var mu sync.Mutex
		var all []issued
		for _, by := range []*sharing{s, s.process(s.fake)} {
			for range 8 {
				wg.Go(func() {
					i, err := by.grantee("readonly")
					if err != nil {
						t.Errorf("issue: %v", err)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					all = append(all, i)
				})
			}
		}
		wg.Wait()
		s.wantGroups("after 16 first uses", 1)
		for _, i := range all {
			s.mustWork(i, `SELECT * FROM items`)
		}
		if n := s.count(event.GroupMade); n != 1 {
			t.Errorf("made %d times on record", n)
		}
	})
}

// A group that somebody dropped by hand is made again by the next credential, with
// all its grants, and by the next refresh.
func TestGroupDroppedByHand(t *testing.T) {
	t.Parallel()
	eachSharing(t, func(s *sharing) {
		t := s.tb
		s.shared("readonly", grantTables)
		first := s.roles()
		s.remove(s.mustIssue("readonly").Lease)
		drop := func() {
			s.admin.Cluster().Exec(t, s.admin.Database, `DROP OWNED BY "`+first[0]+`"`)
			s.admin.Cluster().Exec(t, s.admin.Database, `DROP ROLE "`+first[0]+`"`)
		}
		drop()
		i := s.mustIssue("readonly")
		s.mustWork(i, `SELECT * FROM items`)
		if !slices.Equal(s.roles(), first) {
			t.Errorf("groups %v, then %v", first, s.roles())
		}
		s.remove(i.Lease)
		drop()
		s.age(time.Hour)
		s.kept(1)
		s.wantGroups("after the refresh", 1)
	})
}

// What the target refuses is a warning where the role is written and an error
// where a credential is asked for, with the number of the statement; nothing is
// issued, and the next credential after it was mended works.
func TestGroupThatTheTargetRefuses(t *testing.T) {
	t.Parallel()
	eachSharing(t, func(s *sharing) {
		t := s.tb
		statements := creation + `GRANT SELECT ON items TO "{{name}}"; GRANT SELECT ON missing TO "{{name}}"`
		r := s.must(engine.Write, "roles/bad2", roleOf("db", "creation_statements", statements, "shared_grants", "true"))
		if r == nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "creation_statements: statement 3") || !strings.Contains(r.Warnings[0], "42P01") {
			t.Errorf("answer %+v", r)
		}
		if _, err := s.grantee("bad2"); err == nil || engine.AsError(err).Kind != engine.Refused || !strings.Contains(err.Error(), "statement 3") {
			t.Errorf("issue: %v", err)
		}
		if _, err := s.upkeep(); err == nil {
			t.Error("the schedule made it")
		}
		if n := s.count(event.GroupFailed); n != 1 {
			t.Errorf("%d failures on record", n)
		}
		read := s.must(engine.Read, "roles/bad2", nil).Data
		if text, _ := read["shared_grants_error"].(string); !strings.Contains(text, "statement 3") {
			t.Errorf("the role reads as %v", read)
		}
		s.admin.Cluster().Exec(t, s.admin.Database, `CREATE TABLE missing (n int); ALTER TABLE missing OWNER TO `+s.admin.User)
		i := s.mustIssue("bad2")
		s.mustWork(i, `SELECT * FROM missing`)
		if read := s.must(engine.Read, "roles/bad2", nil).Data; read["shared_grants_error"] != nil {
			t.Errorf("the role reads as %v", read)
		}
		// What an account is refused has its own number, too.
		s.must(engine.Write, "roles/bad2", roleOf("db", "creation_statements",
			`GRANT SELECT ON items TO "{{name}}";`+creation+`GRANT no_such TO "{{name}}"`, "shared_grants", "true"))
		if _, err := s.grantee("bad2"); err == nil || !strings.Contains(err.Error(), "creation_statements: statement 3") {
			t.Errorf("issue: %v", err)
		}
	})
}

// roles/<name>/check plays the group, too, and leaves none behind; the lint has
// nothing more to say of grants.
func TestCheckOfSharedGrants(t *testing.T) {
	t.Parallel()
	eachSharing(t, func(s *sharing) {
		t := s.tb
		s.shared("readonly", grantTables)
		before := s.roles()
		r := s.must(engine.Read, "roles/readonly/check", nil)
		if r.Data["ok"] != true {
			t.Errorf("check: %v", r.Data)
		}
		for _, f := range r.Data["findings"].([]map[string]any) {
			if f["code"] == "per-user-grants" {
				t.Errorf("finding: %v", f)
			}
		}
		s.must(engine.Write, "roles/readonly", map[string]any{
			"creation_statements": creation + `GRANT SELECT ON items TO "{{name}}"; GRANT SELECT ON missing TO "{{name}}"`,
		})
		r = s.must(engine.Read, "roles/readonly/check", nil)
		found := r.Data["findings"].([]map[string]any)
		if r.Data["ok"] != false || len(found) == 0 || found[0]["statement"] != 3 || found[0]["sqlstate"] != "42P01" {
			t.Errorf("check: %v", r.Data)
		}
		r = s.must(engine.Write, "roles/readonly", map[string]any{
			"creation_statements":   creation + grantTables,
			"revocation_statements": `DROP ROLE IF EXISTS "{{name}}"; REVOKE ALL ON ALL TABLES IN SCHEMA public FROM "{{name}}"`,
		})
		if findWarning(r, "leave them out") == "" {
			t.Errorf("answer %+v", r)
		}
		if !slices.Equal(s.roles(), before) {
			t.Errorf("groups %v, then %v", before, s.roles())
		}
	})
}

// A deleted connection keeps its credential until its groups are gone, and a
// disabled mount leaves none.
func TestGroupsGoWithTheirConnection(t *testing.T) {
	t.Parallel()
	eachSharing(t, func(s *sharing) {
		t := s.tb
		s.shared("readonly", grantTables)
		i := s.mustIssue("readonly")
		id := s.id()
		s.must(engine.Delete, "config/db", nil)
		s.kept(0)
		s.remove(i.Lease)
		if n, err := s.Tidy(t.Context()); n != 0 || err != nil {
			t.Fatalf("%d connections were forgotten with a group left, %v", n, err)
		}
		s.kept(1)
		if _, err := s.connectionByID(t.Context(), id); err == nil || engine.AsError(err).Kind != engine.NotFound {
			t.Errorf("the connection after its last group: %v", err)
		}
		s.wantGroups("after the connection", 0)

		s.must(engine.Write, "config/db", s.config())
		s.remove(s.mustIssue("readonly").Lease)
		id = s.id()
		if err := s.Disabled(t.Context(), mountID); err != nil {
			t.Fatal(err)
		}
		s.kept(1)
		s.wantGroups("after the mount", 0)
		if _, err := s.connectionByID(t.Context(), id); err == nil || engine.AsError(err).Kind != engine.NotFound {
			t.Errorf("the connection after its mount: %v", err)
		}
	})
}

// A target that is away keeps the group, and what leads to it, for a day; then an
// event says what stays. A connection that leads elsewhere does the same (C6).
func TestGroupOfATargetThatIsAway(t *testing.T) {
	t.Parallel()
	eachSharing(t, func(s *sharing) {
		t := s.tb
		s.shared("readonly", grantTables)
		s.shared("other", grantSequence)
		name := s.roles()
		s.must(engine.Delete, "roles/readonly", nil)
		s.proxy.down.Store(true)
		s.proxy.cut()
		if n, err := s.upkeep(); n != 0 || err == nil || engine.AsError(err).Kind != engine.Unreachable {
			t.Fatalf("%d dropped, %v, with the target away", n, err)
		}
		for _, g := range s.onRecord() { // a live connection is tried for ever
			s.failedSince(g, -2*groupFor)
		}
		if n, err := s.upkeep(); n != 0 || err == nil {
			t.Fatalf("%d dropped, %v, with the target away", n, err)
		}
		s.must(engine.Delete, "config/db", nil)
		if n, _ := s.upkeep(); n != 1 {
			t.Fatalf("%d given up after a day, want 1", n)
		}
		if n, _ := s.upkeep(); n != 0 || len(s.onRecord()) != 1 {
			t.Fatalf("%d given up before a day, %d on record", n, len(s.onRecord()))
		}
		stays := 0
		for _, ev := range s.events() {
			if ev.Type == event.GroupDropped && strings.Contains(ev.Data.Reason, "stays in the target") && slices.Contains(name, ev.Data.Account) {
				stays++
			}
		}
		if stays != 1 {
			t.Errorf("%d events name a group that stays", stays)
		}
		s.proxy.down.Store(false)
		s.kept(1)
		if _, err := s.Tidy(t.Context()); err != nil || len(s.onRecord()) != 0 {
			t.Errorf("%d on record, %v", len(s.onRecord()), err)
		}
	})
}

// failedSince makes a group's first failure as old as that.
func (s *sharing) failedSince(g *storedGroup, ago time.Duration) {
	s.tb.Helper()
	_, err := s.editGroup(s.tb.Context(), g.entry.ID, func(g *storedGroup) (*event.Event, error) {
		if g.Failure.Attempts == 0 {
			return nil, nil //nolint:nilnil // nothing to change
		}
		g.Failure.Since = g.Failure.Since.Add(ago)
		return g.told(event.ConfigChanged, system(), "made older by a test"), nil
	})
	if err != nil {
		s.tb.Fatal(err)
	}
}

// B3: a group without an entry is a stray; one with an entry is none, however idle,
// nor is one in which accounts are that the store may have lost.
func TestStrayGroups(t *testing.T) {
	t.Parallel()
	eachSharing(t, func(s *sharing) {
		t := s.tb
		s.shared("readonly", grantTables)
		if n := s.sweeps(); n != 0 {
			t.Fatalf("%d groups taken for strays", n)
		}
		i := s.mustIssue("readonly")
		g := s.onRecord()[0]
		if err := s.eraseGroup(t.Context(), g, *g.told(event.ConfigChanged, system(), "lost by a test")); err != nil {
			t.Fatal(err)
		}
		if n := s.sweeps(); n != 0 {
			t.Fatalf("%d groups with members taken for strays", n)
		}
		s.mustWork(i, `SELECT * FROM items`)
		s.remove(i.Lease)
		if n := s.sweeps(); n != 1 || len(s.roles()) != 0 {
			t.Errorf("%d strays found, groups %v", n, s.roles())
		}
		s.refused(engine.Invalid, engine.Write, "static-roles/app",
			map[string]any{"db_name": "db", "username": g.Name, "rotation_period": "1h"}, "Curfew's own making")
	})
}

// meanwhile is a store in which something happens before the group roles are listed.
type meanwhile struct {
	Store
	do func()
}

func (m *meanwhile) List(
	ctx context.Context, kind store.Kind, prefix, after string, withdrawn bool, limit int,
) ([]store.Entry, error) {
	if do := m.do; do != nil && kind == store.KindGroupRole {
		m.do = nil
		do()
	}
	return m.Store.List(ctx, kind, prefix, after, withdrawn, limit)
}

// B3: a group that is dropped with its entry after the target was listed, and before
// the entries are, is no stray.
func TestGroupDroppedDuringTheSweep(t *testing.T) {
	t.Parallel()
	eachSharing(t, func(s *sharing) {
		s.shared("readonly", grantTables)
		s.shared("other", grantTables)
		stays := s.onRecord()[0].Name
		if s.onRecord()[0].Role == "readonly" {
			stays = s.onRecord()[1].Name
		}
		s.must(engine.Delete, "roles/readonly", nil)
		m := &meanwhile{Store: s.fake}
		sweeper := s.process(m)
		happened := false
		m.do = func() {
			s.kept(1)
			happened = len(s.onRecord()) == 1
		}
		if n := sweeper.sweeps(); n != 0 || !happened {
			s.tb.Errorf("%d groups taken for strays; it was dropped meanwhile: %t", n, happened)
		}
		if got := s.roles(); len(got) != 1 || got[0] != stays {
			s.tb.Errorf("groups %v are left, want %s", got, stays)
		}
	})
}

// A copy of the installation changes nothing by itself (B3), and what it would
// drop stays.
func TestGroupsOfACopy(t *testing.T) {
	t.Parallel()
	eachSharing(t, func(s *sharing) {
		t := s.tb
		s.shared("readonly", grantTables)
		s.must(engine.Delete, "roles/readonly", nil)
		k := s.GroupRoles()
		due, err := k.Rotations(t.Context(), time.Now())
		if err != nil || len(due) != 1 {
			t.Fatalf("due: %v, %v", due, err)
		}
		refused := errors.New("a copy")
		if done, err := k.Rotate(t.Context(), due[0], func(context.Context) error { return refused }); done || !errors.Is(err, refused) {
			t.Errorf("done %t, %v", done, err)
		}
		if s.onRecord()[0].entry.Withdrawn || len(s.roles()) != 1 {
			t.Error("something was changed")
		}
	})
}

// A connection that is pointed to another database needs another group.
func TestGroupOfAnotherDatabase(t *testing.T) {
	t.Parallel()
	eachSharing(t, func(s *sharing) {
		t := s.tb
		s.shared("readonly", grantTables)
		old := s.mustIssue("readonly")
		other := s.admin.NewDatabase(t)
		url, _ := s.config()["connection_url"].(string)
		s.must(engine.Write, "config/db", map[string]any{"connection_url": strings.Replace(url, s.admin.Database, other, 1)})
		s.mustIssue("readonly")
		s.wantGroups("after the move", 2)
		s.mustWork(old, `SELECT * FROM items`)
		s.remove(old.Lease)
		s.kept(1)
		s.wantGroups("after the last lease of the old database", 1)
	})
}
