package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/internal/migration"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

func connection(t *testing.T, dir string) *sql.Conn {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(filepath.Join(dir, databaseName)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func version(t *testing.T, c *sql.Conn) (v int) {
	t.Helper()
	if err := c.QueryRowContext(t.Context(), `SELECT max(version) FROM schema_versions`).Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// Law: migrations go forward only, each whole or not at all, and once.
func TestMigrations(t *testing.T) {
	t.Parallel()
	c := connection(t, t.TempDir())
	now := time.Unix(1, 0)
	one := migration.Migration{Version: 1, Name: "0001_a.sql", Text: `CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (1);`}
	two := migration.Migration{Version: 2, Name: "0002_b.sql", Text: `ALTER TABLE a ADD COLUMN y INTEGER; UPDATE a SET y = x + 1;`}
	bad := migration.Migration{Version: 2, Name: "0002_bad.sql", Text: `UPDATE a SET x = 9; CREATE TABLE nonsense (;`}
	run := func(all ...migration.Migration) error {
		return migrate(context.WithoutCancel(t.Context()), c, all, now)
	}
	if err := run(one); err != nil {
		t.Fatal(err)
	}
	if err := run(one, bad); err == nil || version(t, c) != 1 {
		t.Errorf("a bad migration: %v, version %d", err, version(t, c))
	}
	for range 2 { // the second time there is nothing to do
		if err := run(one, two); err != nil {
			t.Fatal(err)
		}
	}
	var x, y int
	if err := c.QueryRowContext(t.Context(), `SELECT x, y FROM a`).Scan(&x, &y); err != nil || x != 1 || y != 2 {
		t.Errorf("the old row is %d, %d, %v", x, y, err)
	}
	if err := run(one); !errors.Is(err, ErrNewer) {
		t.Errorf("an older program: %v, want ErrNewer", err)
	}
}

// Law: a database that a newer program wrote is refused, unharmed.
func TestANewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(t.Context(), dir, storetest.NewClock(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c := connection(t, dir)
	if _, err := c.ExecContext(t.Context(), `INSERT INTO schema_versions VALUES (99, 'x', 0)`); err != nil {
		t.Fatal(err)
	}
	for range 2 { // and the lock is given back each time
		if _, err := Open(t.Context(), dir, storetest.NewClock(), Config{}); !errors.Is(err, ErrNewer) {
			t.Errorf("Open: %v, want ErrNewer", err)
		}
	}
}

// Law: the embedded migrations are numbered from 1, and Open applies them all.
func TestEmbeddedMigrations(t *testing.T) {
	t.Parallel()
	all, err := migrations()
	if err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}
	dir := t.TempDir()
	s, err := Open(t.Context(), dir, storetest.NewClock(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if v := version(t, connection(t, dir)); v != len(all) {
		t.Errorf("the schema is %d, want %d", v, len(all))
	}
}

// A7: a database of schema 1, with events and leases in it, becomes one that
// can be suspended; nothing that it says changes.
func TestADatabaseOfSchema1(t *testing.T) {
	t.Parallel()
	all, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	dir, ctx := t.TempDir(), context.WithoutCancel(t.Context())
	c := connection(t, dir)
	if err := migrate(ctx, c, all[:1], time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ExecContext(ctx, `
		UPDATE meta SET now = 5, commits = 9, position = 1, seq = 4, head = 3, first = 2;
		INSERT INTO leases VALUES ('a/1', 'secret', 'intent', 1, 1, 'm', 't', 'k', 'a', 7, NULL, 0, 4,
			'{"id":"a/1","kind":"secret","state":"intent","version":1,"position":1}');
		INSERT INTO events VALUES (2, '{"type":"a"}'), (3, '{"type":"b"}'), (4, '{"type":"c"}');
		INSERT INTO consumers VALUES ('ledger', 1, 2);`); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(ctx, dir, storetest.NewClock(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if have, suspended, err := s.Suspension(ctx); suspended || err != nil {
		t.Errorf("it is suspended: %+v, %v", have, err)
	}
	check := func(head event.Position, want ...event.Position) {
		t.Helper()
		if now, err := s.Head(ctx); now != head || err != nil {
			t.Errorf("the head is %s, %v; want %s", now, err, head)
		}
		all, err := s.Events(ctx, event.Position{}, 10)
		if err != nil || len(all) != len(want) {
			t.Fatalf("%d events, %v; want %d", len(all), err, len(want))
		}
		for i, e := range all {
			if e.Position != want[i] || e.Type != event.Type("abc"[i:i+1]) {
				t.Errorf("event %d is %+v, want %s", i, e, want[i])
			}
		}
	}
	at := func(epoch, number int64) event.Position { return event.Position{Epoch: epoch, Number: number} }
	check(at(1, 3), at(1, 2), at(1, 3))
	if l, err := s.Get(ctx, "a/1"); err != nil || l.Version != 1 {
		t.Errorf("the lease is %+v, %v", l, err)
	}
	if err := s.Suspend(ctx, store.Suspension{Reason: "r"}); err != nil {
		t.Fatal(err)
	}
	check(at(1, 4), at(1, 2), at(1, 3), at(1, 4))
	if err := s.Resume(ctx, 2, at(1, 2), store.Write{}); err != nil {
		t.Fatal(err)
	}
	check(at(2, 2), at(1, 2), at(2, 1), at(2, 2))
	if p, err := s.Confirmed(ctx, store.Ledger); err != nil || p != at(1, 2) {
		t.Errorf("the ledger has %s, %v", p, err)
	}
}

// Law: leases of an older database count as those that were begun since.
func TestLivingLeasesOfSchema2(t *testing.T) {
	t.Parallel()
	all, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	dir, ctx := t.TempDir(), context.WithoutCancel(t.Context())
	c := connection(t, dir)
	if err := migrate(ctx, c, all[:2], time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	for _, l := range []struct {
		id, kind, state string
		ended, ttl      int
	}{
		{"database/creds/a/1", "secret", "active", 0, 1},
		{"database/creds/a/2", "secret", "revoking", 0, 1},
		{"database/creds/b/1", "secret", "revoked", 1, 1},
		{"auth/token/create/1", "token", "active", 0, 1},
		{"auth/token/root/1", "token", "active", 0, 0},
		{"database/stray/1", "stray", "revoking", 0, 0},
	} {
		body := fmt.Sprintf(`{"id":%q,"ttl":%d,"revocation":{"due_at":"2026-01-02T03:04:05.5Z","parked":%t}}`, l.id, l.ttl, l.kind == "secret")
		if _, err := c.ExecContext(ctx, `INSERT INTO leases VALUES (?, ?, ?, 1, 1, NULL, NULL, NULL, NULL, NULL, NULL, ?, 1, ?)`,
			l.id, l.kind, l.state, l.ended, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(ctx, dir, storetest.NewClock(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	due := time.Date(2026, 1, 2, 3, 4, 5, 500000000, time.UTC) // SQLite reads milliseconds
	want := []store.Revoking{{Kind: lease.Secret, Count: 1, Parked: 1, Due: due}, {Kind: lease.Stray, Count: 1, Due: due}}
	if have, err := s.Revoking(ctx); err != nil || !slices.Equal(have, want) {
		t.Errorf("in revocation are %+v, %v; want %+v", have, err, want)
	}
	for path, want := range map[string]int64{"": 3, "database/": 2, "database/creds/a/": 2, "database/creds/b/": 0, "auth/token/": 1, "database/stray/": 0} {
		if n, err := s.Living(ctx, path); err != nil || n != want {
			t.Errorf("below %q live %d, %v; want %d", path, n, err, want)
		}
	}
}
