//go:build integration

package postgres_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/postgres"
	"github.com/curfew-project/curfew/shared/testkit"
)

// documented is a block of the page for operators, by its info string.
func documented(t *testing.T, info string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "store-postgres.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(page), "```"+info+"\n")
	block, _, ended := strings.Cut(block, "```")
	if !found || !ended {
		t.Fatalf("the page has no block %q", info)
	}
	return block
}

// The schema is migrated by its owner; a process runs as a user that has what
// the page for operators grants, and nothing else.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	cluster := testkit.SharedDurablePostgres(t)
	cfg := configured(t)
	role, owner := "process_"+cfg.Schema, "owner_"+cfg.Schema
	database := cluster.NewDatabase(t)
	cluster.Exec(t, database, "CREATE ROLE "+role+" LOGIN PASSWORD 'process'")
	cluster.Exec(t, database, "CREATE ROLE "+owner+" LOGIN PASSWORD 'owner'")
	cluster.Exec(t, database, "GRANT CREATE ON DATABASE "+database+" TO "+owner)

	cfg.URL = secret.New(cluster.URL(role, "process", database))
	if _, err := postgres.Open(t.Context(), clock.System{}, noLog(), cfg); !errors.Is(err, postgres.ErrOlder) {
		t.Errorf("before the migration: %v, want ErrOlder", err)
	}
	ownerURL := secret.New(cluster.URL(owner, "owner", database))
	for range 2 { // the second time there is nothing to do
		if err := postgres.Migrate(t.Context(), ownerURL, cfg.Schema); err != nil {
			t.Fatal(err)
		}
	}
	grants := strings.NewReplacer("curfew_process", role, "SCHEMA curfew ", "SCHEMA "+cfg.Schema+" ", "curfew.", cfg.Schema+".")
	cluster.Exec(t, database, grants.Replace(documented(t, "sql grants")))
	s := openReal(t, cfg)
	everything(t, s)

	// Without the right to read the identity of the cluster it goes on.
	cluster.Exec(t, database, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
	blind := openReal(t, cfg)
	if out := blind.Apply(t.Context(), begin("b/1"))[0]; out.Err != nil {
		t.Error(out.Err)
	}
	if why, suspended, err := blind.Suspension(t.Context()); suspended || err != nil {
		t.Errorf("suspended: %+v, %v", why, err)
	}
}

// everything calls each method that needs a right.
func everything(t *testing.T, s *postgres.Store) {
	t.Helper()
	ctx := t.Context()
	check := func(act string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", act, err)
		}
	}
	for v, do := range []lease.Action{begin("").Change.Do, lease.Activate{}, lease.Revoke{}, lease.Finish{To: lease.Revoked}} {
		item := store.Transition{Change: lease.Change{ID: "a/1", Version: int64(v), Key: "k", Do: do}, Guard: store.Guard{Barriers: true}}
		check("apply", s.Apply(ctx, item)[0].Err)
	}
	put, err := s.Write(ctx, store.Write{Puts: []store.Entry{{Kind: store.KindRole, Key: "r"}, {Kind: store.KindRole, Key: "s"}}})
	check("write", err)
	w := store.Write{
		Puts:        []store.Entry{{Kind: store.KindRole, Key: "r", Revision: 1}},
		Withdrawals: []store.Ref{{Kind: store.KindRole, ID: put[1].ID}},
	}
	_, err = s.Write(ctx, w)
	check("edit", err)
	_, err = s.Raise(ctx, store.Barrier{Operation: "o", Prefix: "a/"})
	check("raise", err)
	e, err := s.Entry(ctx, store.KindBarrier, "o")
	check("entry", err)
	_, err = s.Write(ctx, store.Write{Deletes: []store.Ref{{Kind: e.Kind, ID: e.ID}}})
	check("delete", err)
	check("append", s.Append(ctx, event.Event{Type: event.SystemStarted}))
	lock := publisher(t, s)
	head, _, err := s.Number(ctx, lock, 100)
	check("number", err)
	check("confirm", s.Confirm(ctx, store.Ledger, head))
	n, err := s.Trim(ctx, head, 2)
	if check("trim", err); n != 2 {
		t.Errorf("trimmed %d", n)
	}
	now, err := s.Now(ctx)
	check("now", err)
	n, err = s.Prune(ctx, now.Add(1), 10)
	if check("prune", err); n != 1 {
		t.Errorf("pruned %d", n)
	}
	check("suspend", s.Suspend(ctx, store.Suspension{Reason: "test"}))
	check("resume", s.Resume(ctx, 2, event.Position{Epoch: 1, Number: 3}, store.Write{}))
	_, err = s.Backlog(ctx)
	check("backlog", err)
	_, err = s.Due(ctx, now, store.Cursor{}, 10)
	check("due", err)
	check("release", s.Release(ctx, lock))
}
