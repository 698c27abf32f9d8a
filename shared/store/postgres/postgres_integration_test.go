//go:build integration

package postgres_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/postgres"
	"github.com/curfew-project/curfew/shared/store/storetest"
	"github.com/curfew-project/curfew/shared/testkit"
)

// hangs is how long what must happen may take on a busy machine.
const hangs = time.Minute

func noLog() zerolog.Logger { return zerolog.Nop() }

func contextOf(tb testing.TB) (context.Context, context.CancelFunc) {
	tb.Helper()
	return context.WithCancel(tb.Context())
}

func TestMain(m *testing.M) { testkit.Main(m) }

// configured is a schema of its own in the shared cluster.
func configured(tb testing.TB) postgres.Config {
	tb.Helper()
	cluster := testkit.SharedDurablePostgres(tb)
	return postgres.Config{
		URL:    secret.New(cluster.AdminURL("postgres")),
		Schema: "test_" + strings.ToLower(lease.RandomBase62(12)),
	}
}

func openAt(tb testing.TB, c clock.Clock, cfg postgres.Config) *postgres.Store {
	tb.Helper()
	return opened(tb)(postgres.OpenAt(tb.Context(), c.Now, zerolog.Nop(), cfg))
}

func openReal(tb testing.TB, cfg postgres.Config) *postgres.Store {
	tb.Helper()
	return opened(tb)(postgres.Open(tb.Context(), clock.System{}, zerolog.Nop(), cfg))
}

func opened(tb testing.TB) func(*postgres.Store, error) *postgres.Store {
	tb.Helper()
	return func(s *postgres.Store, err error) *postgres.Store {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() {
			if err := s.Close(); err != nil {
				tb.Error(err)
			}
		})
		return s
	}
}

func empty(t *testing.T, c clock.Clock) store.Store {
	t.Helper()
	return openAt(t, c, configured(t))
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, empty)
}

// The model plays on one schema that is emptied between two games: to make one
// takes longer than a game.
func TestModel(t *testing.T) {
	t.Parallel()
	cfg := configured(t)
	storetest.RunModel(t, func(t *testing.T, c clock.Clock) store.Store {
		t.Helper()
		s, err := postgres.OpenAt(t.Context(), c.Now, zerolog.Nop(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		wipe(t, cfg)
		return s
	})
}

// wipe makes a schema as it was after its migration.
func wipe(t *testing.T, cfg postgres.Config) {
	t.Helper()
	script := `
		DELETE FROM {s}.leases; DELETE FROM {s}.living; DELETE FROM {s}.entries; DELETE FROM {s}.barriers; DELETE FROM {s}.events; DELETE FROM {s}.runs;
		DELETE FROM {s}.consumers; DELETE FROM {s}.locks; DELETE FROM {s}.head; INSERT INTO {s}.head DEFAULT VALUES;
		UPDATE {s}.meta SET suspension = ''; ALTER SEQUENCE {s}.positions RESTART; ALTER SEQUENCE {s}.event_seqs RESTART`
	testkit.SharedDurablePostgres(t).Exec(t, "postgres", strings.ReplaceAll(script, "{s}", cfg.Schema))
}
