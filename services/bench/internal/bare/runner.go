package bare

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/gather"
)

// batch is the most accounts of one transaction.
const batch = 128

// Connect opens a session in the target.
type Connect func(context.Context) (*pgx.Conn, error)

// Runner runs the statements of one account.
type Runner interface {
	// Run commits them. client is who asks, numbered from 0.
	Run(ctx context.Context, client int, sql string) error
	Close(ctx context.Context) error
}

// Batched runs the statements of many accounts together.
type Batched struct {
	conns   []*pgx.Conn
	writers []*gather.Gatherer[string, error]
	turn    atomic.Uint64
}

// NewBatched opens as many connections as may write at a time.
func NewBatched(ctx context.Context, connect Connect, writers int) (*Batched, error) {
	b := &Batched{}
	for range writers {
		conn, err := connect(ctx)
		if err != nil {
			return nil, errors.Join(err, b.Close(ctx))
		}
		b.conns = append(b.conns, conn)
		b.writers = append(b.writers, gather.New(gather.Config{Max: batch}, func(items []string) []error {
			err := transact(context.WithoutCancel(ctx), conn, items)
			out := make([]error, len(items))
			for i := range out {
				out[i] = err
			}
			return out
		}))
	}
	return b, nil
}

// transact runs a batch as one message.
func transact(ctx context.Context, conn *pgx.Conn, items []string) error {
	var sql strings.Builder
	sql.WriteString("BEGIN;")
	for _, item := range items {
		sql.WriteString("SAVEPOINT s;" + item + ";RELEASE s;")
	}
	sql.WriteString("COMMIT")
	return message(ctx, conn, sql.String())
}

func message(ctx context.Context, conn *pgx.Conn, sql string) error {
	if err := conn.PgConn().Exec(ctx, sql).Close(); err != nil {
		_ = conn.PgConn().Exec(ctx, "ROLLBACK").Close() // where it fails, too, the next batch fails
		return fmt.Errorf("run statements: %w", err)
	}
	return nil
}

// Run implements [Runner].
func (b *Batched) Run(ctx context.Context, _ int, sql string) error {
	w := b.writers[b.turn.Add(1)%uint64(len(b.writers))]
	err, refused := w.Do(ctx, sql)
	return errors.Join(err, refused)
}

// Close implements [Runner].
func (b *Batched) Close(ctx context.Context) error { return closeAll(ctx, b.conns) }

// Single runs each account's statements in a transaction of its own.
type Single struct{ conns []*pgx.Conn }

// NewSingle opens a connection for each client.
func NewSingle(ctx context.Context, connect Connect, clients int) (*Single, error) {
	s := &Single{}
	for range clients {
		conn, err := connect(ctx)
		if err != nil {
			return nil, errors.Join(err, s.Close(ctx))
		}
		s.conns = append(s.conns, conn)
	}
	return s, nil
}

// Run implements [Runner].
func (s *Single) Run(ctx context.Context, client int, sql string) error {
	return message(ctx, s.conns[client], "BEGIN;"+sql+";COMMIT")
}

// Close implements [Runner].
func (s *Single) Close(ctx context.Context) error { return closeAll(ctx, s.conns) }

func closeAll(ctx context.Context, conns []*pgx.Conn) error {
	var err error
	for _, c := range conns {
		err = errors.Join(err, c.Close(context.WithoutCancel(ctx)))
	}
	return err
}

// Drain takes accounts away in full batches, as many at a time as there are
// connections: disable and commit, end their sessions, remove and commit.
func (b *Batched) Drain(ctx context.Context, names []string, remove func(name string) string) error {
	var all sync.WaitGroup
	errs := make([]error, len(b.conns))
	for w, conn := range b.conns {
		all.Go(func() {
			for i := w * batch; i < len(names) && errs[w] == nil; i += len(b.conns) * batch {
				errs[w] = drain(ctx, conn, names[i:min(i+batch, len(names))], remove)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func drain(ctx context.Context, conn *pgx.Conn, names []string, remove func(string) string) error {
	disable, drop := make([]string, len(names)), make([]string, len(names))
	for i, name := range names {
		disable[i], drop[i] = Disable(name), remove(name)
	}
	if err := transact(ctx, conn, disable); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY($1)", names); err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	return transact(ctx, conn, drop)
}

var (
	_ Runner = (*Batched)(nil)
	_ Runner = (*Single)(nil)
)
