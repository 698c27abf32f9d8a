//go:build integration

package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/internal/migration"
	"github.com/curfew-project/curfew/shared/testkit"
)

// fresh is a schema that does not exist yet.
func fresh(t *testing.T) (*pgx.Conn, Config, schema) {
	t.Helper()
	url := testkit.SharedDurablePostgres(t).AdminURL("postgres")
	cfg := Config{URL: secret.New(url), Schema: "test_" + strings.ToLower(lease.RandomBase62(12))}
	in, err := newSchema(cfg.Schema)
	if err != nil {
		t.Fatal(err)
	}
	return testkit.Connect(t, url), cfg, in
}

// Law: migrations go forward only, all that are missing or none, and once.
func TestMigrations(t *testing.T) {
	t.Parallel()
	c, _, in := fresh(t)
	first, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	one := first[0]
	two := migration.Migration{Version: 2, Name: "0002_b.sql", Text: `ALTER TABLE {s}.locks ADD COLUMN y bigint; UPDATE {s}.locks SET y = fence + 1;`}
	bad := migration.Migration{Version: 3, Name: "0003_bad.sql", Text: `UPDATE {s}.locks SET fence = 9; CREATE TABLE nonsense (;`}
	run := func(all ...migration.Migration) error { return migrate(context.WithoutCancel(t.Context()), c, in, all) }
	if err := run(one); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), in.in(`INSERT INTO {s}.locks VALUES ('l', 'o', 1, 0)`)); err != nil {
		t.Fatal(err)
	}
	if err := run(one, two, bad); err == nil {
		t.Error("a bad migration was applied")
	}
	if v, err := version(t.Context(), c, in); err != nil || v != 1 {
		t.Errorf("after a bad migration: version %d, %v", v, err)
	}
	for range 2 { // the second time there is nothing to do
		if err := run(one, two); err != nil {
			t.Fatal(err)
		}
	}
	var fence, y int
	if err := c.QueryRow(t.Context(), in.in(`SELECT fence, y FROM {s}.locks`)).Scan(&fence, &y); err != nil || fence != 1 || y != 2 {
		t.Errorf("the old row is %d, %d, %v", fence, y, err)
	}
	if err := run(one); !errors.Is(err, ErrNewer) {
		t.Errorf("an older program: %v, want ErrNewer", err)
	}
}

// Law: of many that come at once, one migrates; all can open what there is.
func TestAllMigrateAtOnce(t *testing.T) {
	t.Parallel()
	c, cfg, in := fresh(t)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			s, err := Open(t.Context(), clock.System{}, zerolog.Nop(), cfg)
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	all, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	if v, err := version(t.Context(), c, in); err != nil || v != len(all) {
		t.Errorf("the schema is %d, %v; want %d", v, err, len(all))
	}
	if _, err := c.Exec(t.Context(), in.in(`INSERT INTO {s}.schema_versions VALUES (99, 'x')`)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), clock.System{}, zerolog.Nop(), cfg); !errors.Is(err, ErrNewer) {
		t.Errorf("Open of a newer schema: %v, want ErrNewer", err)
	}
	if err := Migrate(t.Context(), cfg.URL, cfg.Schema); !errors.Is(err, ErrNewer) {
		t.Errorf("Migrate of a newer schema: %v, want ErrNewer", err)
	}
}

// Law: what a version of the program wrote, every later one reads: the first
// schema with its data, as a file, is brought up to date and used.
func TestDataOfTheFirstVersion(t *testing.T) {
	t.Parallel()
	c, cfg, in := fresh(t)
	first, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	if err := migrate(t.Context(), c, in, first[:1]); err != nil {
		t.Fatal(err)
	}
	// Only the lease of the file and one token count for quotas.
	others := `INSERT INTO {s}.leases SELECT n.id, n.kind, n.state, 1, 1, NULL, NULL, NULL, NULL, NULL, NULL, n.ended, 1, n.body FROM (VALUES
		('auth/token/create/1', 'token', 'active', false, '{"ttl":1}'), ('auth/token/root/1', 'token', 'active', false, '{"ttl":0}'),
		('database/creds/b/1', 'secret', 'revoked', true, '{"ttl":1}'), ('database/stray/1', 'stray', 'revoking', false, '{"ttl":0,"revocation":{"due_at":"2026-01-02T03:04:05.678901234Z","parked":true}}')) AS n (id, kind, state, ended, body)`
	if _, err := c.PgConn().Exec(t.Context(), in.in(fixture(t)+others)).ReadAll(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), clock.System{}, zerolog.Nop(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	l, err := s.Get(t.Context(), "database/creds/readonly/1")
	if err != nil || l.State != lease.Active || l.Version != 2 || l.Position != 7 || string(l.Handle) != "oid" {
		t.Errorf("the lease is %+v, %v", l, err)
	}
	if e, err := s.Entry(t.Context(), "role", "m/r"); err != nil || string(e.Value) != "{}" || e.Revision != 3 {
		t.Errorf("the entry is %+v, %v", e, err)
	}
	due := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC) // Postgres reads microseconds
	want := []store.Revoking{{Kind: lease.Stray, Count: 1, Parked: 1, Due: due}}
	if have, err := s.Revoking(t.Context()); err != nil || !slices.Equal(have, want) {
		t.Errorf("in revocation are %+v, %v; want %+v", have, err, want)
	}
	for path, want := range map[string]int64{"": 2, "database/": 1, "database/creds/readonly/": 1, "auth/token/": 1, "database/creds/b/": 0} {
		if n, err := s.Living(t.Context(), path); err != nil || n != want {
			t.Errorf("below %q live %d, %v; want %d", path, n, err, want)
		}
	}
	if head, err := s.Head(t.Context()); err != nil || fmt.Sprint(head) != "1-2" {
		t.Errorf("the head is %s, %v", head, err)
	}
	if n, err := s.Backlog(t.Context()); err != nil || n != 3 {
		t.Errorf("the backlog is %d, %v", n, err)
	}
}

func fixture(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/first.sql")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
