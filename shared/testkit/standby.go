package testkit

import (
	"context"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/testkit/server"
)

// replayHangs bounds how long a standby may take to catch up.
const replayHangs = time.Minute

// Standby starts a streaming standby of the cluster that takes queries (C3).
// Users and passwords are the primary's.
func (c *Cluster) Standby(tb testing.TB) *Cluster {
	tb.Helper()
	config := c.config
	s := &Cluster{config: config, pki: c.pki}
	var err error
	s.server, err = server.NewPostgres(config.PostgresConfig)
	check(tb, err)
	closeAfter(tb, s.server)
	if s.pki != nil {
		check(tb, s.pki.write(s.server.Dir()))
	}
	check(tb, s.server.InitStandby(tb.Context(), c.server))
	s.Start(tb)
	return s
}

// WaitReplay returns when the standby has replayed all that primary has
// written until now.
func (c *Cluster) WaitReplay(tb testing.TB, primary *Cluster) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), replayHangs)
	defer cancel()
	var position string
	err := Connect(tb, primary.AdminURL("postgres")).
		QueryRow(ctx, "SELECT pg_current_wal_flush_lsn()::text").Scan(&position)
	check(tb, err)
	conn := Connect(tb, c.AdminURL("postgres"))
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		var replayed bool
		err := conn.QueryRow(ctx, "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", position).Scan(&replayed)
		check(tb, err)
		if replayed {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			tb.Fatalf("the standby has not replayed %s: %v", position, ctx.Err())
		}
	}
}

// Promote makes the standby a primary, on a timeline of its own (C6).
func (c *Cluster) Promote(tb testing.TB) {
	tb.Helper()
	c.Exec(tb, "postgres", "SELECT pg_promote(wait => true)")
}
