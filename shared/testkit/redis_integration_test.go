//go:build integration

package testkit_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/curfew-project/curfew/shared/testkit"
)

func redisClient(t *testing.T, address string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: address, Protocol: 2, DisableIdentity: true, MaxRetries: -1})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// A replica has what its master has; a Sentinel names the master.
func TestRedisReplicaAndSentinel(t *testing.T) {
	t.Parallel()
	master := testkit.Redis(t)
	c := redisClient(t, master.Address())
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	replica := redisClient(t, master.Replica(t).Address())
	if v, err := replica.Get(t.Context(), "k").Result(); err != nil || v != "v" {
		t.Errorf("the replica has %q, %v", v, err)
	}
	if err := replica.Set(t.Context(), "k", "w", 0).Err(); !redis.HasErrorPrefix(err, "READONLY") {
		t.Errorf("the replica takes writes: %v", err)
	}
	s := master.Sentinel(t, 1)
	got, err := redisClient(t, s.Address()).Do(t.Context(), "SENTINEL", "get-master-addr-by-name", "curfew").StringSlice()
	if err != nil || len(got) != 2 || net.JoinHostPort(got[0], got[1]) != master.Address() {
		t.Errorf("the Sentinel names %v, %v; want %s", got, err, master.Address())
	}
	s.Stop(t)
	s.Start(t) // with the state that it kept
	if err := redisClient(t, s.Address()).Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
}

// A cluster takes keys of all slots, and each node knows its part only.
func TestRedisCluster(t *testing.T) {
	t.Parallel()
	nodes := testkit.RedisCluster(t, 3)
	var addresses []string
	for _, n := range nodes {
		addresses = append(addresses, n.Address())
	}
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	for i := range 100 {
		if err := c.Set(t.Context(), fmt.Sprint("k", i), "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range nodes {
		if k, err := redisClient(t, n.Address()).DBSize(t.Context()).Result(); err != nil || k == 0 || k == 100 {
			t.Errorf("a node has %d of 100 keys, %v", k, err)
		}
	}
}

func TestRedisSettings(t *testing.T) {
	t.Parallel()
	c := redisClient(t, testkit.Redis(t, testkit.WithRedisSetting("appendonly", "no"), testkit.WithRedisSetting("save", "60 1")).Address())
	for name, want := range map[string]string{"appendonly": "no", "save": "60 1"} {
		if got, err := c.ConfigGet(t.Context(), name).Result(); err != nil || got[name] != want {
			t.Errorf("%s is %v, %v; want %s", name, got, err, want)
		}
	}
}

// echo answers each connection with what it said.
func echo(t *testing.T, prefix string) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				_, _ = io.WriteString(c, prefix)
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

// said is all that comes back from address for "hello", until the other side ends.
func said(t *testing.T, address string, want int) []byte {
	t.Helper()
	c, err := net.Dial("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "hello") // a cut may come first
	got := make([]byte, want)
	n, err := io.ReadFull(c, got)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Logf("read: %v", err) // a reset
	}
	return got[:n]
}

// The proxy loses exactly what it was told to, once, in either direction.
func TestProxy(t *testing.T) {
	t.Parallel()
	p := testkit.NewProxy(t, echo(t, ""))
	whole := func() {
		t.Helper()
		if got := said(t, p.Address(), 5); string(got) != "hello" {
			t.Errorf("heard %q", got)
		}
	}
	whole()
	for _, d := range []testkit.Direction{testkit.ToServer, testkit.FromServer} {
		for after := range 5 {
			p.Cut(d, after)
			got := said(t, p.Address(), 5)
			if len(got) > after || !bytes.HasPrefix([]byte("hello"), got) {
				t.Errorf("cut %d after %d: heard %q", d, after, got)
			}
			if p.Cuts(d) != after+1 {
				t.Errorf("cut %d times, want %d", p.Cuts(d), after+1)
			}
			whole()
		}
		p.Cut(d, 0)
		p.Uncut(d)
		whole()
	}
	p.Down()
	if got := said(t, p.Address(), 5); len(got) != 0 {
		t.Errorf("heard %q while down", got)
	}
	p.Up()
	whole()
	p.Redirect(echo(t, "other "))
	if got := said(t, p.Address(), 11); string(got) != "other hello" {
		t.Errorf("heard %q after the redirection", got)
	}
}
