package topology

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/curfew-project/curfew/shared/testkit/server"
)

// login is Curfew's in the store, and the name of its database.
const login = "curfew"

func (t *Topology) addStore(ctx context.Context) (err error) {
	if t.postgres, err = t.addPostgres(ctx, Store); err != nil {
		return err
	}
	if err := t.postgres.Init(ctx); err != nil {
		return err
	}
	if err := t.postgres.Start(ctx); err != nil {
		return err
	}
	// What an administrator does once.
	return execute(ctx, t.postgres,
		"CREATE ROLE "+login+" LOGIN PASSWORD '"+t.password+"'", // letters and digits
		"CREATE DATABASE "+login+" OWNER "+login)
}

// addPostgres adds a server that has no data yet.
func (t *Topology) addPostgres(ctx context.Context, name string) (*server.Postgres, error) {
	programs, err := t.cfg.Finder.Postgres(ctx)
	if err != nil {
		return nil, err
	}
	p, err := server.NewPostgres(server.PostgresConfig{
		Programs: programs, Environ: t.cfg.Environ, Password: t.superuser, TempDir: t.cfg.Parent,
		Durable:  true, // the store is the truth: it refuses another one (A7)
		Settings: map[string]string{"max_connections": strconv.Itoa(100 + 25*(t.cfg.Issuers+t.cfg.Revokers+t.cfg.Auditors))},
	})
	if err != nil {
		return nil, err
	}
	t.parts = append(t.parts, &foreign{
		name: name, foreignServer: p,
		stop: func(ctx context.Context) error { return p.Stop(ctx, server.Fast) },
	})
	return p, nil
}

// storeAddresses are what a program is told of: of the standby, too, so that it
// finds the store when it was promoted.
func (t *Topology) storeAddresses(program string) string {
	store := t.via(program, Store, address(t.postgres))
	if t.standby == nil {
		return store
	}
	return store + "," + t.via(program, Standby, address(t.standby))
}

func address(p *server.Postgres) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Port()))
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
		t.streams = append(t.streams, s.client.Address())
		if err := p.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}
