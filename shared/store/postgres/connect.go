package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	connectTimeout = 10 * time.Second
	// lifetime is short, so that connections find their way back after a
	// failover of a name or of a proxy.
	lifetime       = 15 * time.Minute
	syncRepRoutine = "SyncRepWaitForLSN"
	doubtKey       = "replication was not awaited"
)

// parse reads a connection string. Its errors never show the password.
func parse(url secret.Value, cfg Config) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(url.Reveal())
	if err != nil {
		return nil, fmt.Errorf("read the connection string: %w", err) // pgx hides the password
	}
	if cfg.ReadOnly {
		// The primary, whose sessions take writes but for this one.
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	if c.ValidateConnect == nil {
		// Of several hosts the one that takes writes: never a standby (A7).
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	c.OnNotice = notice
	if cfg.Pooled {
		// The pooler gives each transaction another session: no prepared
		// statement and no setting may be expected in it.
		c.DefaultQueryExecMode = pgx.QueryExecModeExec
		return c, nil
	}
	if cfg.ReadOnly {
		c.RuntimeParams["default_transaction_read_only"] = "on"
	}
	for name, value := range map[string]string{
		"application_name":                    "curfew",
		"jit":                                 "off", // compiling takes longer than any statement here
		"statement_timeout":                   millis(cfg.Timeout),
		"lock_timeout":                        millis(cfg.Timeout),
		"idle_in_transaction_session_timeout": millis(cfg.Timeout),
	} {
		if _, set := c.RuntimeParams[name]; !set {
			c.RuntimeParams[name] = value
		}
	}
	return c, nil
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// notice takes note of the one warning that turns a COMMIT into a maybe: the
// wait for the synchronous standby was cut short (A6). It is told by the name
// of the server's routine, since the text is in the server's language and the
// code is that of any warning.
func notice(c *pgconn.PgConn, n *pgconn.Notice) {
	if n.Routine == syncRepRoutine {
		c.CustomData()[doubtKey] = true
	}
}

// doubtful reports, once, whether a wait for the standby was cut short.
func doubtful(c *pgx.Conn) bool {
	data := c.PgConn().CustomData()
	_, found := data[doubtKey]
	delete(data, doubtKey)
	return found
}

func (s *Store) pool(ctx context.Context, size int) (*pgxpool.Pool, error) {
	conn, err := parse(s.cfg.URL, s.cfg)
	if err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig("")
	if err != nil {
		return nil, err
	}
	cfg.ConnConfig = conn
	cfg.MaxConns = int32(min(size, 1<<15)) //nolint:gosec // bounded
	cfg.MaxConnLifetime, cfg.MaxConnLifetimeJitter = lifetime, lifetime/5
	cfg.PingTimeout = s.cfg.Timeout
	cfg.AfterConnect = s.greet
	return pgxpool.NewWithConfig(ctx, cfg)
}

// setLocal holds in a transaction behind a pooler what other connections have
// as settings of their session.
const setLocal = `SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $1, true),
	set_config('idle_in_transaction_session_timeout', $1, true), set_config('jit', 'off', true), ` + durably + `true)`

// durably raises synchronous_commit to on and leaves a stronger setting (A7).
const durably = `set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') = 'remote_apply'
	THEN 'remote_apply' ELSE 'on' END, `

const selectFitness = `SELECT current_setting('server_version_num')::int, pg_encoding_to_char(encoding),
	current_setting('fsync'), current_setting('full_page_writes'), pg_is_in_recovery()
	FROM pg_database WHERE datname = current_database()`

// oldest is the first version with everything the statements use (13: 64-bit
// transaction ids, vacuum by inserts).
const oldest = 130000

// greet is called with each new connection, before it is used (A7).
func (s *Store) greet(ctx context.Context, c *pgx.Conn) error {
	if err := fit(ctx, c); err != nil {
		return err
	}
	if !s.cfg.Pooled {
		if _, err := c.Exec(ctx, `SELECT `+durably+`false)`); err != nil {
			return fmt.Errorf("make commits durable: %w", err)
		}
	}
	if err := s.compare(ctx, c); err != nil {
		return fmt.Errorf("compare the database with what it was: %w", err)
	}
	return nil
}

// fit refuses a server that may lose what it committed.
func fit(ctx context.Context, c *pgx.Conn) error {
	var version int
	var encoding, fsync, pages string
	var standby bool
	if err := c.QueryRow(ctx, selectFitness).Scan(&version, &encoding, &fsync, &pages, &standby); err != nil {
		return fmt.Errorf("read the server's settings: %w", err)
	}
	var faults []error
	if version < oldest {
		faults = append(faults, fmt.Errorf("version %d: 13 is the oldest that will do", version/10000))
	}
	if encoding != "UTF8" {
		faults = append(faults, fmt.Errorf("encoding %s: want UTF8", encoding))
	}
	if fsync != "on" {
		faults = append(faults, errors.New("fsync is off: switch it on, a power cut would lose leases"))
	}
	if pages != "on" {
		faults = append(faults, errors.New("full_page_writes is off: switch it on, a power cut would tear pages"))
	}
	if standby {
		faults = append(faults, errors.New("it is a standby: connect to the primary"))
	}
	if len(faults) > 0 {
		return fmt.Errorf("%w: %w", ErrUnfit, errors.Join(faults...))
	}
	return nil
}

// reader asks on one connection.
type reader struct{ c *pgxpool.Conn }

func (r reader) row(ctx context.Context, query string, args ...any) pgx.Row {
	return r.c.QueryRow(ctx, query, args...)
}

// collect scans all rows of a query.
func collect[T any](ctx context.Context, r reader, scan pgx.RowToFunc[T], query string, args ...any) ([]T, error) {
	rows, err := r.c.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// read runs do with a connection that sees everything that was committed
// before; on another one where the first turns out to be dead.
func (s *Store) read(ctx context.Context, act string, do func(context.Context, reader) error) error {
	err := s.enter()
	if err == nil {
		defer s.calls.Done()
		ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
		defer cancel()
		// After a restart of the server a pool holds nothing but dead connections.
		for try := 1; ; try++ {
			err = s.readOnce(ctx, do)
			if err == nil || try > s.cfg.Readers || ctx.Err() != nil || !errors.Is(err, errBroken) {
				break
			}
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", act, unavailable(err))
	}
	return nil
}

func (s *Store) readOnce(ctx context.Context, do func(context.Context, reader) error) error {
	c, err := s.reads.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	defer c.Release()
	if err = do(ctx, reader{c}); err != nil && c.Conn().IsClosed() {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	return err
}
