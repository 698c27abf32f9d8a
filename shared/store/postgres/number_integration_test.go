//go:build integration

package postgres_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/postgres"
	"github.com/curfew-project/curfew/shared/testkit"
)

// late is a transaction of another process that has drawn places for events
// and takes its time.
func late(t *testing.T, cfg postgres.Config, subjects ...string) pgx.Tx {
	t.Helper()
	tx, err := testkit.Connect(t, cfg.URL.Reveal()).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in := func(q string) string { return strings.ReplaceAll(q, "{s}", cfg.Schema) }
	if _, err := tx.Exec(t.Context(), `SELECT pg_current_xact_id()`); err != nil {
		t.Fatal(err)
	}
	for _, s := range subjects {
		_, err := tx.Exec(t.Context(), in(`INSERT INTO {s}.events (seq, body) VALUES (nextval('{s}.event_seqs'), json_build_object('subject', $1::text))`), s)
		if err != nil {
			t.Fatal(err)
		}
	}
	return tx
}

// D3: an event gets its number when its commit is visible, whenever its place
// was drawn: none is waited for, none is left out, and what was rolled back
// leaves no gap in the numbers.
func TestLateCommitsGetLaterNumbers(t *testing.T) {
	t.Parallel()
	cfg := configured(t)
	s := openReal(t, cfg)
	lock := publisher(t, s)
	add := func(subject string) {
		t.Helper()
		if err := s.Append(t.Context(), event.Event{Subject: subject}); err != nil {
			t.Fatal(err)
		}
	}
	number := func(limit, want int) {
		t.Helper()
		if _, n, err := s.Number(t.Context(), lock, limit); err != nil || n != want {
			t.Fatalf("numbered %d, %v; want %d", n, err, want)
		}
	}
	add("a")
	first := late(t, cfg, "f1", "f2", "f3")
	add("b")
	second := late(t, cfg, "s1", "s2")
	never := late(t, cfg, "n1")
	add("c")
	number(10, 3)
	number(10, 0)
	if err := second.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	add("d")
	number(10, 3)
	if err := never.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Backlog(t.Context()); err != nil || n != 6 {
		t.Errorf("the backlog is %d, %v", n, err)
	}
	if err := first.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Backlog(t.Context()); err != nil || n != 9 {
		t.Errorf("the backlog is %d, %v; want the late ones too", n, err)
	}
	number(2, 2)
	add("e")
	number(10, 2)
	var subjects []string
	for _, e := range dense(t, s) {
		subjects = append(subjects, e.Subject)
	}
	if got, want := strings.Join(subjects, " "), "a b c s1 s2 d f1 f2 f3 e"; got != want {
		t.Errorf("in the order of their numbers: %s, want %s", got, want)
	}
	number(10, 0)
	var gaps int
	read := strings.ReplaceAll(`SELECT cardinality(gap_from) FROM {s}.head`, "{s}", cfg.Schema)
	c := testkit.Connect(t, cfg.URL.Reveal())
	waitFor(t, "gaps to be forgotten", func() bool { // other tests' transactions may keep them
		number(10, 0)
		return c.QueryRow(t.Context(), read).Scan(&gaps) == nil && gaps == 0
	})
	head, err := s.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		upTo        int64
		limit, want int
	}{{7, 3, 3}, {7, 10, 4}, {7, 10, 0}, {10, 10, 3}} {
		if n, err := s.Trim(t.Context(), event.Position{Epoch: head.Epoch, Number: c.upTo}, c.limit); err != nil || n != c.want {
			t.Errorf("trim up to %d: %d, %v; want %d", c.upTo, n, err, c.want)
		}
	}
	if n, err := s.Backlog(t.Context()); err != nil || n != 0 {
		t.Errorf("the backlog is %d, %v", n, err)
	}
}

// A process that is paused with rows locked does not hold up the others for
// long: the server ends its transaction.
func TestAPausedProcessIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	cfg := configured(t)
	s := openReal(t, cfg)
	if out := s.Apply(t.Context(), begin("a/1"))[0]; out.Err != nil {
		t.Fatal(out.Err)
	}
	tx, err := testkit.Connect(t, testkit.SharedDurablePostgres(t).AdminURL("postgres", "idle_in_transaction_session_timeout=1500")).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), strings.ReplaceAll(`SELECT FROM {s}.leases FOR UPDATE`, "{s}", cfg.Schema)); err != nil {
		t.Fatal(err)
	}
	item := store.Transition{Change: begin("a/1").Change}
	item.Change.Version, item.Change.Do = 1, lease.Activate{}
	if out := s.Apply(t.Context(), item)[0]; out.Err != nil || out.Lease.Version != 2 {
		t.Errorf("behind a paused one: %v", out.Err)
	}
}
