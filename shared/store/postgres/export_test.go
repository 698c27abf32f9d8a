//go:build integration

package postgres

import (
	"context"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
)

// OpenAt opens a store that goes by now in place of the database's clock.
func OpenAt(ctx context.Context, now func() time.Time, log zerolog.Logger, cfg Config) (*Store, error) {
	return open(ctx, &storeClock{clock: clock.System{}, source: now}, log, cfg)
}

// BreakCommits lets a test fail commits in both ways; see hooks. It must be
// called before the store is used.
func (s *Store) BreakCommits(before, after func(units int) error) {
	s.hooks = hooks{beforeCommit: before, afterCommit: after}
}

// SynchronousCommit is the setting under which a transaction commits.
func (s *Store) SynchronousCommit(tb testing.TB) (setting string) {
	tb.Helper()
	err := s.alone(tb.Context(), &work{decide: func(t *tx) error {
		return t.row(`SELECT current_setting('synchronous_commit')`).Scan(&setting)
	}})
	if err != nil {
		tb.Fatal(err)
	}
	return setting
}
