package story

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// accounts counts which of names exist in the target.
func (s *story) accounts(ctx context.Context, names ...string) (n int, err error) {
	err = s.look(ctx, &n, "SELECT count(*) FROM pg_roles WHERE rolname = ANY($1)", names)
	return n, err
}

// sessions counts the sessions of the accounts named, and those of accounts
// that do not exist any more.
func (s *story) sessions(ctx context.Context, names ...string) (n int, err error) {
	err = s.look(ctx, &n, `SELECT count(*) FROM pg_stat_activity
		WHERE usename = ANY($1) OR usesysid IS NOT NULL AND usesysid NOT IN (SELECT oid FROM pg_roles)`, names)
	return n, err
}

// validUntil is when the target itself closes an account to passwords.
func (s *story) validUntil(ctx context.Context, name string) (at time.Time, err error) {
	err = s.look(ctx, &at, "SELECT rolvaliduntil FROM pg_roles WHERE rolname = $1", name)
	return at, err
}

// look asks the target itself, as its superuser.
func (s *story) look(ctx context.Context, to any, sql string, arg any) (err error) {
	conn, err := s.stage.Target.Look(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	err = conn.QueryRow(ctx, sql, arg).Scan(to)
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("look into the target: %v is not there", arg)
	}
	if err != nil {
		return fmt.Errorf("look into the target: %w", err)
	}
	return nil
}
