package testkit

import (
	"context"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/curfew-project/curfew/shared/testkit/server"
)

// RedisServer is a Redis and its data.
type RedisServer struct {
	server  *server.Redis
	pki     *pki // nil: no TLS
	tlsPort int
}

// RedisOption configures a Redis.
type RedisOption func(*redisConfig)

type redisConfig struct {
	server.RedisConfig
	tls bool
}

// WithRedisTLS makes the server speak TLS at [RedisServer.TLSAddress], with a
// certificate for 127.0.0.1 that [RedisServer.Authority] signed.
func WithRedisTLS() RedisOption { return func(c *redisConfig) { c.tls = true } }

// WithRedisSetting sets a directive of redis.conf, for example "appendonly" to
// "no"; blanks in value separate the directive's arguments.
func WithRedisSetting(name, value string) RedisOption {
	return func(c *redisConfig) { c.Settings[name] = value }
}

// Redis starts a Redis for this test alone; it takes some 20 ms. Its data
// outlive Stop and Kill.
func Redis(tb testing.TB, options ...RedisOption) *RedisServer {
	tb.Helper()
	programs, err := finder().Redis(context.Background()) // has its own deadlines
	check(tb, err)
	config := redisConfig{RedisConfig: server.RedisConfig{
		Programs: programs, Environ: os.Environ(), Settings: map[string]string{},
	}}
	for _, option := range options {
		option(&config)
	}
	r := &RedisServer{}
	if config.tls {
		r.pki, err = newPKI([]string{"127.0.0.1"})
		check(tb, err)
		r.tlsPort = Port(tb)
	}
	r.server, err = server.NewRedis(config.RedisConfig)
	check(tb, err)
	closeAfter(tb, r.server)
	if config.tls {
		r.prepareTLS(tb, config.Settings)
	}
	r.Start(tb)
	return r
}

// prepareTLS writes what the server needs for TLS into its folder and its
// settings, which are read at the start.
func (r *RedisServer) prepareTLS(tb testing.TB, settings map[string]string) {
	tb.Helper()
	for name, content := range map[string][]byte{
		"tls-cert-file": r.pki.certificate, "tls-key-file": r.pki.key, "tls-ca-cert-file": r.pki.authority,
	} {
		path := filepath.Join(r.server.Dir(), name)
		// The server may be of another user; nobody else gets into the folder.
		check(tb, os.WriteFile(path, content, 0o644))
		settings[name] = path
	}
	settings["tls-port"] = strconv.Itoa(r.tlsPort)
	settings["tls-auth-clients"] = "no"
}

// TLSAddress is the host:port at which the server speaks TLS.
func (r *RedisServer) TLSAddress() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(r.tlsPort))
}

// Authority is what signed the server's certificate.
func (r *RedisServer) Authority() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(r.pki.authority)
	return pool
}

// Replica starts a replica of the server and returns when it has its data.
func (r *RedisServer) Replica(tb testing.TB) *RedisServer {
	tb.Helper()
	host, port, err := net.SplitHostPort(r.Address())
	check(tb, err)
	replica := Redis(tb, WithRedisSetting("replicaof", host+" "+port))
	client := r.client(tb)
	within(tb, "the replica has no data", func(ctx context.Context) bool {
		info, err := client.Info(ctx, "replication").Result()
		return err == nil && strings.Contains(info, "port="+strconv.Itoa(replica.server.Port())+",state=online")
	})
	return replica
}

// Sentinel starts a Redis Sentinel that watches the server under the name
// "curfew", and returns when it knows replicas of it.
func (r *RedisServer) Sentinel(tb testing.TB, replicas int) *RedisServer {
	tb.Helper()
	s := Redis(tb, func(c *redisConfig) { c.Watch = r.Address() })
	client := s.client(tb)
	within(tb, "the Sentinel does not know the replicas", func(ctx context.Context) bool {
		info, err := client.Info(ctx, "sentinel").Result()
		return err == nil && strings.Contains(info, ",slaves="+strconv.Itoa(replicas)+",")
	})
	return s
}

// client is a connection to the server for as long as the test lasts.
func (r *RedisServer) client(tb testing.TB) *redis.Client {
	tb.Helper()
	c := redis.NewClient(&redis.Options{Addr: r.Address(), Protocol: 2, DisableIdentity: true})
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// redisHangs bounds how long servers may take to find each other.
const redisHangs = time.Minute

// within returns when done says so.
func within(tb testing.TB, otherwise string, done func(context.Context) bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), redisHangs)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !done(ctx) {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			tb.Fatalf("%s: %v", otherwise, ctx.Err())
		}
	}
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
