package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store/internal/migration"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

func migrations() ([]migration.Migration, error) { return migration.Read(migrationFiles) }

// Migrate brings the schema of the database that url leads to up to date, and
// makes it if there is none. url is that of the schema's owner; the processes
// can then run as a user that owns nothing. schema "": the default.
func Migrate(ctx context.Context, url secret.Value, name string) error {
	cfg := Config{Schema: name}.withDefaults()
	in, err := newSchema(cfg.Schema)
	if err == nil {
		err = connected(ctx, url, cfg, func(c *pgx.Conn) error {
			if err := fit(ctx, c); err != nil {
				return err
			}
			all, err := migrations()
			if err != nil {
				return err
			}
			return migrate(ctx, c, in, all)
		})
	}
	if err != nil {
		return fmt.Errorf("migrate store: %w", err)
	}
	return nil
}

// connected runs do on a connection of its own.
func connected(ctx context.Context, url secret.Value, cfg Config, do func(*pgx.Conn) error) error {
	config, err := parse(url, cfg)
	if err != nil {
		return err
	}
	c, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	return errors.Join(do(c), c.Close(context.WithoutCancel(ctx)))
}

// prepare checks the schema at Open, and migrates it if it has to be and may.
func (s *Store) prepare(ctx context.Context) error {
	return connected(ctx, s.cfg.URL, s.cfg, func(c *pgx.Conn) error {
		if err := fit(ctx, c); err != nil {
			return err
		}
		all, err := migrations()
		if err != nil {
			return err
		}
		have, err := version(ctx, c, s.schema)
		switch {
		case err != nil:
			return err
		case have > len(all):
			return newer(have, len(all))
		case have == len(all):
			return nil
		}
		err = migrate(ctx, c, s.schema, all)
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "42501" {
			return fmt.Errorf("%w: it is %d, this program needs %d, and this user may not change it: run the migration as its owner: %w",
				ErrOlder, have, len(all), err)
		}
		return err
	})
}

func newer(have, known int) error {
	return fmt.Errorf("%w: the schema is %d, this program knows %d: run the program that wrote it, or a newer one",
		ErrNewer, have, known)
}

// version is the schema's; 0 where there is none.
func version(ctx context.Context, c *pgx.Conn, in schema) (v int, err error) {
	err = c.QueryRow(ctx, in.in(`SELECT coalesce(max(version), 0) FROM {s}.schema_versions`)).Scan(&v)
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if ok && (pg.Code == "42P01" || pg.Code == "3F000") { // no such table; no such schema
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the version of the schema: %w", err)
	}
	return v, nil
}

const (
	// lockMigrations keeps all but one process waiting. It belongs to the
	// transaction, so it also holds behind a pooler. The number is "curfew".
	lockMigrations = `SELECT pg_advisory_xact_lock(109355914785143)`

	makeSchema = `CREATE SCHEMA IF NOT EXISTS {s}`
	hasSchema  = `SELECT to_regnamespace($1) IS NOT NULL`
	makeTable  = `CREATE TABLE IF NOT EXISTS {s}.schema_versions (
		version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())`
	applied = `INSERT INTO {s}.schema_versions (version, name) VALUES ($1, $2)`
)

// migrate applies what is missing of all, in one transaction.
func migrate(ctx context.Context, c *pgx.Conn, in schema, all []migration.Migration) error {
	return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		// Migrations may take their time.
		for _, q := range []string{`SET LOCAL statement_timeout = 0`, `SET LOCAL lock_timeout = 0`, lockMigrations} {
			if _, err := tx.Exec(ctx, q); err != nil {
				return fmt.Errorf("wait for other migrations: %w", err)
			}
		}
		have, err := prepareVersions(ctx, tx, in)
		if err != nil {
			return err
		}
		if have > len(all) {
			return newer(have, len(all))
		}
		for _, m := range all[have:] {
			// By the simple protocol, which takes many statements.
			if _, err := tx.Conn().PgConn().Exec(ctx, in.in(m.Text)).ReadAll(); err != nil {
				return fmt.Errorf("migrate to %s: %w", m.Name, err)
			}
			if _, err := tx.Exec(ctx, in.in(applied), m.Version, m.Name); err != nil {
				return fmt.Errorf("migrate to %s: %w", m.Name, err)
			}
		}
		if have > 0 {
			return nil
		}
		now, err := identify(ctx, c)
		if err != nil {
			return fmt.Errorf("read the identity of the database: %w", err)
		}
		if _, err := tx.Exec(ctx, in.in(updateIdentity), now.system, now.timeline); err != nil {
			return fmt.Errorf("record the identity of the database: %w", err)
		}
		return nil
	})
}

// prepareVersions makes what is missing before the first migration. Who may not
// make a schema may still own one.
func prepareVersions(ctx context.Context, tx pgx.Tx, in schema) (have int, err error) {
	var there bool
	if err := tx.QueryRow(ctx, hasSchema, string(in)).Scan(&there); err != nil {
		return 0, fmt.Errorf("look for the schema: %w", err)
	}
	if !there {
		if _, err := tx.Exec(ctx, in.in(makeSchema)); err != nil {
			return 0, fmt.Errorf("make the schema: %w", err)
		}
	}
	if _, err := tx.Exec(ctx, in.in(makeTable)); err != nil {
		return 0, fmt.Errorf("make the table of schema versions: %w", err)
	}
	if err := tx.QueryRow(ctx, in.in(`SELECT coalesce(max(version), 0) FROM {s}.schema_versions`)).Scan(&have); err != nil {
		return 0, fmt.Errorf("read the version of the schema: %w", err)
	}
	return have, nil
}
