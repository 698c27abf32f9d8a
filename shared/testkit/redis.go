package testkit

import (
	"context"
	"os"
	"testing"

	"github.com/curfew-project/curfew/shared/testkit/server"
)

// RedisServer is a Redis and its data.
type RedisServer struct {
	server *server.Redis
}

// Redis starts a Redis for this test alone; it takes some 20 ms. Its data
// outlive Stop and Kill.
func Redis(tb testing.TB) *RedisServer {
	tb.Helper()
	programs, err := finder().Redis(context.Background()) // has its own deadlines
	check(tb, err)
	r := &RedisServer{}
	r.server, err = server.NewRedis(server.RedisConfig{Programs: programs, Environ: os.Environ()})
	check(tb, err)
	closeAfter(tb, r.server)
	r.Start(tb)
	return r
}

// Start starts a stopped server on the same port and data.
func (r *RedisServer) Start(tb testing.TB) {
	tb.Helper()
	check(tb, r.server.Start(lasting(tb)))
}

// Stop stops the server in good order and returns when it has ended.
func (r *RedisServer) Stop(tb testing.TB) {
	tb.Helper()
	check(tb, r.server.Stop(lasting(tb)))
}

// Kill ends the server with SIGKILL and returns when it has ended.
func (r *RedisServer) Kill(tb testing.TB) {
	tb.Helper()
	check(tb, r.server.Kill(lasting(tb)))
}

// FlushAll removes all data, as a failover to an empty replica would.
func (r *RedisServer) FlushAll(tb testing.TB) {
	tb.Helper()
	check(tb, r.server.FlushAll(lasting(tb)))
}

// Running reports whether the server's process exists.
func (r *RedisServer) Running() bool { return r.server.Running() }

// Pid is the process id of the server, 0 when it does not run.
func (r *RedisServer) Pid() int { return r.server.Pid() }

// Address is the server's host:port.
func (r *RedisServer) Address() string { return r.server.Address() }

// URL is the server's address in the form redis://host:port/0.
func (r *RedisServer) URL() string { return "redis://" + r.Address() + "/0" }
