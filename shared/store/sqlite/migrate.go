package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/store/internal/migration"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

func migrations() ([]migration.Migration, error) { return migration.Read(migrationFiles) }

// migrate brings the database to the newest of all, each step in a commit of
// its own. It refuses a database that a newer program has written.
func migrate(ctx context.Context, conn *sql.Conn, all []migration.Migration, now time.Time) error {
	const table = `CREATE TABLE IF NOT EXISTS schema_versions (
		version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT`
	if _, err := conn.ExecContext(ctx, table); err != nil {
		return fmt.Errorf("create table of schema versions: %w", err)
	}
	var have int
	if err := conn.QueryRowContext(ctx, `SELECT coalesce(max(version), 0) FROM schema_versions`).Scan(&have); err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if have > len(all) {
		return fmt.Errorf("%w: the database has schema %d, this program knows %d: run the program that wrote it, or a newer one",
			ErrNewer, have, len(all))
	}
	for _, m := range all[have:] {
		if err := advance(ctx, conn, m, now); err != nil {
			return fmt.Errorf("migrate to %s: %w", m.Name, err)
		}
	}
	return nil
}

func advance(ctx context.Context, conn *sql.Conn, m migration.Migration, now time.Time) (err error) {
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_, _ = conn.ExecContext(ctx, "ROLLBACK") // the first error counts
		}
	}()
	if _, err := conn.ExecContext(ctx, m.Text); err != nil {
		return err
	}
	const done = `INSERT INTO schema_versions (version, name, applied_at) VALUES (?, ?, ?)`
	if _, err := conn.ExecContext(ctx, done, m.Version, m.Name, now.UnixNano()); err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	return err
}
