package site

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/clock"
)

// Moments are when an account was first seen to be disabled, and to be gone:
// each at most an interval of the watch after it was.
type Moments struct{ Disabled, Gone time.Time }

// Watch looks at the target until all these accounts are gone. Where the target
// is away it waits for it.
func (s *Site) Watch(ctx context.Context, c clock.Clock, every time.Duration, oids []uint32) (map[uint32]Moments, error) {
	seen := make(map[uint32]Moments, len(oids))
	for _, oid := range oids {
		seen[oid] = Moments{}
	}
	left := len(oids)
	var conn *pgx.Conn
	defer func() { disconnect(ctx, conn) }()
	for left > 0 {
		var err error
		if conn == nil {
			conn, err = s.Target.Connect(ctx)
		}
		if err == nil {
			var logins map[uint32]bool
			if logins, err = accounts(ctx, conn); err == nil {
				left -= note(seen, logins, c.Now())
			}
		}
		if err != nil {
			disconnect(ctx, conn)
			conn = nil
		}
		tick, stop := c.Timer(every)
		select {
		case <-tick:
		case <-ctx.Done():
			stop()
			return seen, fmt.Errorf("%d of %d accounts are still there: %w", left, len(oids), ctx.Err())
		}
	}
	return seen, nil
}

// note enters what a look found, and returns how many accounts had gone since the
// one before.
func note(seen map[uint32]Moments, logins map[uint32]bool, now time.Time) (gone int) {
	for oid, m := range seen {
		if !m.Gone.IsZero() {
			continue
		}
		login, there := logins[oid]
		if m.Disabled.IsZero() && !login {
			m.Disabled = now
		}
		if !there {
			m.Gone = now
			gone++
		}
		seen[oid] = m
	}
	return gone
}

// accounts tells of each account of the target whether it may log in.
func accounts(ctx context.Context, conn *pgx.Conn) (map[uint32]bool, error) {
	rows, err := conn.Query(ctx, "SELECT oid, rolcanlogin FROM pg_roles")
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	out := map[uint32]bool{}
	var oid uint32
	var login bool
	if _, err := pgx.ForEachRow(rows, []any{&oid, &login}, func() error { out[oid] = login; return nil }); err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return out, nil
}

// Accounts are the oids of all accounts of the target, by name.
func (s *Site) Accounts(ctx context.Context) (map[string]uint32, error) {
	conn, err := s.Target.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer disconnect(ctx, conn)
	rows, err := conn.Query(ctx, "SELECT rolname, oid FROM pg_roles")
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	out := map[string]uint32{}
	var name string
	var oid uint32
	if _, err := pgx.ForEachRow(rows, []any{&name, &oid}, func() error { out[name] = oid; return nil }); err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return out, nil
}

// Version is the target's.
func (s *Site) Version(ctx context.Context) (version string, err error) {
	conn, err := s.Target.Connect(ctx)
	if err != nil {
		return "", err
	}
	defer disconnect(ctx, conn)
	if err := conn.QueryRow(ctx, "SHOW server_version").Scan(&version); err != nil {
		return "", fmt.Errorf("ask the target's version: %w", err)
	}
	return version, nil
}

func disconnect(ctx context.Context, conn *pgx.Conn) {
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = conn.Close(ctx) // a session that only looked
}
