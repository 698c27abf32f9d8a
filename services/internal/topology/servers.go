package topology

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/testkit/server"
)

// login is Curfew's in the store, and the name of its database.
const login = "curfew"

func (t *Topology) addStore(ctx context.Context) error {
	programs, err := t.cfg.Finder.Postgres(ctx)
	if err != nil {
		return err
	}
	t.postgres, err = server.NewPostgres(server.PostgresConfig{
		Programs: programs, Environ: t.cfg.Environ, Password: rand.Text(), TempDir: t.cfg.Parent,
		Durable:  true, // the store is the truth: it refuses another one (A7)
		Settings: map[string]string{"max_connections": "200"},
	})
	if err != nil {
		return err
	}
	t.parts = append(t.parts, &foreign{
		name: Store, foreignServer: t.postgres,
		stop: func(ctx context.Context) error { return t.postgres.Stop(ctx, server.Fast) },
	})
	if err := t.postgres.Init(ctx); err != nil {
		return err
	}
	if err := t.postgres.Start(ctx); err != nil {
		return err
	}
	return t.makeLogin(ctx)
}

// makeLogin is what an administrator does once.
func (t *Topology) makeLogin(ctx context.Context) (err error) {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(server.Superuser, t.postgres.Password()),
		Host: t.storeAddress(), Path: "/postgres", RawQuery: "sslmode=disable",
	}
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		return fmt.Errorf("prepare the store: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	for _, sql := range []string{
		"CREATE ROLE " + login + " LOGIN PASSWORD '" + t.password + "'", // letters and digits
		"CREATE DATABASE " + login + " OWNER " + login,
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("prepare the store: %w", err)
		}
	}
	return nil
}

func (t *Topology) storeAddress() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(t.postgres.Port()))
}

func (t *Topology) addIndex(ctx context.Context) error {
	programs, err := t.cfg.Finder.Redis(ctx)
	if err != nil {
		return err
	}
	add := func(name string, settings map[string]string) (*server.Redis, error) {
		r, err := server.NewRedis(server.RedisConfig{
			Programs: programs, Environ: t.cfg.Environ, Settings: settings, TempDir: t.cfg.Parent,
		})
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, &foreign{name: name, foreignServer: r, stop: r.Stop})
		return r, r.Start(ctx)
	}
	primary, err := add(Index, nil)
	if err != nil {
		return err
	}
	_, err = add(Replica, map[string]string{"replicaof": "127.0.0.1 " + strconv.Itoa(primary.Port())})
	return err
}

// indexAddress is the primary's.
func (t *Topology) indexAddress() (string, error) {
	p, err := t.Part(Index)
	if err != nil {
		return "", err
	}
	f, ok := p.(*foreign)
	if !ok {
		return "", fmt.Errorf("%s is no server", Index)
	}
	r, ok := f.foreignServer.(*server.Redis)
	if !ok {
		return "", fmt.Errorf("%s is no Redis", Index)
	}
	return r.Address(), nil
}

// stream is one server of the event stream.
type stream struct{ client, cluster *server.Port }

func (t *Topology) addStreams(ctx context.Context) error {
	streams := make([]stream, t.cfg.Streams)
	var routes []string
	for i := range streams {
		var err error
		if streams[i].client, err = t.port(); err != nil {
			return err
		}
		if streams[i].cluster, err = t.port(); err != nil {
			return err
		}
		routes = append(routes, "nats://"+streams[i].cluster.Address())
	}
	for i, s := range streams {
		name := fmt.Sprintf("nats-%d", i+1)
		args := []string{"nats", "-name=" + name, "-listen=" + s.client.Address(), "-dir=" + filepath.Join(t.Dir, streamDir, name)}
		if len(streams) > 1 {
			args = append(args, "-cluster="+s.cluster.Address(), "-routes="+strings.Join(routes, ","))
		}
		p := t.program(name, "local", args...)
		t.streams = append(t.streams, "nats://"+s.client.Address())
		if err := p.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}
