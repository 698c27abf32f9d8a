package topology

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/testkit/server"
)

// addStandby copies the store and makes its commits wait for the copy (A7).
func (t *Topology) addStandby(ctx context.Context) error {
	if !t.cfg.Standby {
		return nil
	}
	standby, err := t.addPostgres(ctx, Standby)
	if err != nil {
		return err
	}
	t.standby = standby
	if err := standby.InitStandby(ctx, t.postgres); err != nil {
		return err
	}
	if err := standby.Start(ctx); err != nil {
		return err
	}
	// Only now: the copy has no standby to wait for when it is promoted.
	if err := t.wait(ctx, "*"); err != nil {
		return err
	}
	return t.replicates(ctx)
}

// replicates returns when the standby is synchronous.
func (t *Topology) replicates(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startHangs)
	defer cancel()
	for {
		var state string
		err := ask(ctx, t.postgres, "SELECT coalesce(max(sync_state), 'away') FROM pg_stat_replication", &state)
		if err != nil || state == "sync" {
			return err
		}
		tick, stop := t.cfg.Clock.Timer(poll)
		select {
		case <-tick:
		case <-ctx.Done():
			stop()
			return fmt.Errorf("the standby does not become synchronous, it is %s: %w", state, ctx.Err())
		}
	}
}

// wait makes commits wait for the standbys that are named so.
func (t *Topology) wait(ctx context.Context, names string) error {
	return execute(ctx, t.postgres, "ALTER SYSTEM SET synchronous_standby_names = '"+names+"'", "SELECT pg_reload_conf()")
}

// CutOff makes the standby a stale copy: the store no longer waits for it, and
// it has nothing of what is committed after this.
func (t *Topology) CutOff(ctx context.Context) error {
	if t.standby == nil {
		return errNoStandby
	}
	// In this order: a commit would wait for a standby that has ended.
	if err := t.wait(ctx, ""); err != nil {
		return err
	}
	return t.standby.Stop(ctx, server.Fast)
}

// Promote makes the standby the store, which has to have ended, and returns when
// it takes writes. What was the store never runs again: nobody would find out
// that there are two (docs/store-postgres.md).
func (t *Topology) Promote(ctx context.Context) error {
	switch {
	case t.standby == nil:
		return errNoStandby
	case t.postgres.Running():
		return errors.New("promote the standby: the store runs, there would be two")
	case !t.standby.Running():
		if err := t.standby.Start(ctx); err != nil {
			return err
		}
	}
	var promoted bool
	if err := ask(ctx, t.standby, "SELECT pg_promote(wait => true)", &promoted); err != nil {
		return err
	}
	if !promoted {
		return errors.New("promote the standby: it is none after a minute")
	}
	// Its port is kept, lest the programs, which still know it, meet a stranger.
	t.retired = append(t.retired, t.postgres)
	t.postgres, t.standby = t.standby, nil
	t.parts = slices.DeleteFunc(t.parts, func(p Part) bool { return p.Name() == Store })
	for _, p := range t.parts {
		if f, ok := p.(*foreign); ok && f.name == Standby {
			f.name = Store
		}
	}
	return nil
}

var errNoStandby = errors.New("the store has no standby")

// connect logs in to a server of the store as its superuser.
func connect(ctx context.Context, p *server.Postgres) (*pgx.Conn, error) {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(server.Superuser, p.Password()),
		Host: address(p), Path: "/postgres", RawQuery: "sslmode=disable",
	}
	return pgx.Connect(ctx, u.String())
}

// execute runs statements as the superuser, each alone.
func execute(ctx context.Context, p *server.Postgres, statements ...string) (err error) {
	conn, err := connect(ctx, p)
	if err != nil {
		return fmt.Errorf("prepare the store: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("prepare the store: %w", err)
		}
	}
	return nil
}

// ask reads one value as the superuser.
func ask(ctx context.Context, p *server.Postgres, sql string, into any) (err error) {
	conn, err := connect(ctx, p)
	if err != nil {
		return fmt.Errorf("ask the store: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if err := conn.QueryRow(ctx, sql).Scan(into); err != nil {
		return fmt.Errorf("ask the store: %w", err)
	}
	return nil
}
