//go:build fault

package postgres_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/testkit"
)

// cutter is a proxy that cuts the connection at one query: before the server
// saw it, or after it was carried out and before the answer is heard.
type cutter struct {
	listener net.Listener
	server   string
	at       int64 // the query that is cut, counted over all connections from 1
	heard    bool  // the server carries it out
	dead     bool  // and nobody gets through afterwards
	queries  atomic.Int64
	conns    sync.WaitGroup
}

func cut(t *testing.T, server string, at int, heard, dead bool) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: l, server: server, at: int64(at), heard: heard, dead: dead}
	c.conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.conns.Go(func() { c.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		c.conns.Wait()
	})
	return c
}

// done reports whether the cut was made.
func (c *cutter) done() bool { return c.queries.Load() >= c.at }

func (c *cutter) serve(client net.Conn) {
	defer client.Close()
	if c.dead && c.done() {
		return
	}
	server, err := net.Dial("tcp", c.server)
	if err != nil {
		return
	}
	defer server.Close()
	var swallow atomic.Bool
	var back sync.WaitGroup
	back.Go(func() {
		defer client.Close()
		for {
			frame, err := read(server, true)
			switch {
			case err != nil:
				return
			case swallow.Load():
				if frame[0] == 'Z' {
					return
				}
			default:
				if _, err := client.Write(frame); err != nil {
					return
				}
			}
		}
	})
	defer back.Wait()
	defer server.Close()
	for first := true; ; first = false {
		frame, err := read(client, !first)
		if err != nil {
			return
		}
		if !first && frame[0] == 'Q' && c.queries.Add(1) == c.at {
			if !c.heard {
				return
			}
			swallow.Store(true)
		}
		if _, err := server.Write(frame); err != nil {
			return
		}
		if swallow.Load() {
			back.Wait()
			return
		}
	}
}

// read reads one message of the protocol; the first one has no type.
func read(r io.Reader, typed bool) ([]byte, error) {
	head := make([]byte, 4)
	if typed {
		head = make([]byte, 5)
	}
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint32(head[len(head)-4:]))
	if size < 4 || size > 1<<24 {
		return nil, fmt.Errorf("a message of %d bytes", size)
	}
	frame := append(head, make([]byte, size-4)...)
	_, err := io.ReadFull(r, frame[len(head):])
	return frame, err
}

// through lets a target of the same admin work through a cutter.
func (w *world) through(t *testing.T, at int, heard, dead bool) (*world, *cutter) {
	t.Helper()
	c := cut(t, net.JoinHostPort(w.admin.Cluster().Host(), strconv.Itoa(w.admin.Cluster().Port())), at, heard, dead)
	return settle(t, w.admin, func(s *postgres.Settings) {
		s.URL = replace(template(w.admin), fmt.Sprintf("%s:%d", w.admin.Cluster().Host(), w.admin.Cluster().Port()), c.listener.Addr().String())
		s.Limits.Call = 10 * time.Second
	}), c
}

// everyCut runs a test with the connection cut at the first query, the second,
// and so on, until the work needs fewer queries than that; each in both ways,
// with and without the network coming back.
func everyCut(t *testing.T, test func(healthy, faulty *world)) {
	t.Helper()
	for _, kind := range testkit.AdminKinds() {
		for _, heard := range []bool{false, true} {
			for _, dead := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/heard=%v/dead=%v", kind, heard, dead), func(t *testing.T) {
					t.Parallel()
					admin := testkit.SharedPostgres(t).CreateAdmin(t, kind)
					const least, most = 5, 60
					for at, done := 1, true; done; at++ {
						if at > most {
							t.Fatalf("more than %d queries", most)
						}
						ok := t.Run(strconv.Itoa(at), func(t *testing.T) {
							healthy := settle(t, admin)
							faulty, c := healthy.through(t, at, heard, dead)
							test(healthy, faulty)
							if done = c.done(); !done && at < least {
								t.Fatalf("the work took %d queries: the test is void", at-1)
							}
						})
						if !ok {
							return
						}
					}
				})
			}
		}
	}
}

// Whatever the connection did: what Create reports as made can log in, and what
// it does not report can be rolled back without a trace (A8, B1).
func TestCreateOverACutConnection(t *testing.T) {
	t.Parallel()
	everyCut(t, func(healthy, faulty *world) {
		t := healthy.t
		batch := creations3(t)
		for i, c := range faulty.Create(t.Context(), batch) {
			l := batch[i].Lease
			if c.Err == nil {
				a := account{lease: confirmed(l, c), user: l.Account, password: c.Data["password"].(string)}
				healthy.login(a)
				healthy.removed(a)
				continue
			}
			if k := engine.AsError(c.Err).Kind; k != engine.Unreachable {
				t.Fatalf("%s: %v", k, c.Err)
			}
			l.CreateDeadline = time.Now().Add(-time.Second)
			if o := healthy.Remove(t.Context(), []lease.Lease{l})[0]; o.Err != nil || !o.Gone {
				t.Fatalf("%+v", o)
			}
			if healthy.exists(l.Account) {
				t.Fatal("the account is left")
			}
		}
	})
}

func creations3(tb testing.TB) []engine.Creation {
	tb.Helper()
	out := make([]engine.Creation, 3)
	p := s1()
	for i := range out {
		out[i] = engine.Creation{Lease: intent(tb, p), Secret: secretOf("pw-" + lease.RandomBase62(24))}
	}
	return out
}

// A revocation that was cut off anywhere says only what is true, and can be
// done again from the beginning (C1, C7).
func TestRevocationOverACutConnection(t *testing.T) {
	t.Parallel()
	everyCut(t, func(healthy, faulty *world) {
		t := healthy.t
		a := healthy.issue(1, s2())[0]
		conn := healthy.login(a)
		oid := value[uint32](t, healthy.super(), `SELECT oid FROM pg_roles WHERE rolname = $1`, a.user)
		l := a.lease
		check := func(o engine.Outcome) {
			t.Helper()
			canLogIn := value[int](t, healthy.super(), `SELECT count(*) FROM pg_roles WHERE rolname = $1 AND rolcanlogin`, a.user) > 0
			sessions := value[int](t, healthy.super(), `SELECT count(*) FROM pg_stat_activity WHERE usesysid = $1`, oid)
			switch {
			case o.Err != nil && o.Gone, o.Err == nil && !o.Disabled:
				t.Fatalf("%+v", o)
			case o.Disabled && canLogIn:
				t.Fatal("reported as disabled, but it can log in")
			case o.SessionsEnded && sessions > 0:
				t.Fatalf("reported as without sessions, but has %d", sessions)
			case o.Gone && healthy.exists(a.user):
				t.Fatal("reported as gone, but it exists")
			}
			if o.Err != nil {
				if k := engine.AsError(o.Err).Kind; k != engine.Unreachable {
					t.Fatalf("%s: %v", k, o.Err)
				}
			}
		}
		o := faulty.Disable(t.Context(), []lease.Lease{l})[0]
		check(o)
		if o.Err == nil {
			l.Revocation.DisabledAt, l.Revocation.SessionsEndedAt = time.Now(), time.Now()
		}
		o = faulty.Remove(t.Context(), []lease.Lease{l})[0]
		check(o)
		l.Revocation.Attempts = 1
		if o = healthy.Remove(t.Context(), []lease.Lease{l})[0]; o.Err != nil || !o.Gone {
			t.Fatalf("%+v", o)
		}
		check(o)
		if err := conn.Ping(t.Context()); err == nil {
			t.Fatal("the session lives on")
		}
	})
}

// Whatever the connection did: a mark that is reported as set is set, one that
// is not may be, and whoever reads it can go on (B3).
func TestMarkOverACutConnection(t *testing.T) {
	t.Parallel()
	everyCut(t, func(healthy, faulty *world) {
		t := healthy.t
		connection := lease.RandomBase62(20)
		role := postgres.MarkRole(connection)
		was := ""
		for _, now := range []string{"first", "second"} {
			err := faulty.SetMark(t.Context(), connection, was, now)
			if err != nil {
				if k := engine.AsError(err).Kind; k != engine.Unreachable {
					t.Fatalf("%s: %v", k, err)
				}
			}
			found, reading := healthy.Mark(t.Context(), connection)
			if reading != nil {
				t.Fatal(reading)
			}
			if found != now && (err == nil || found != was) {
				t.Fatalf("after %v the mark is %q: %q was to be replaced by %q", err, found, was, now)
			}
			if found == "" && healthy.exists(role) {
				t.Fatal("a mark that was not set left its role")
			}
			was = found
		}
		if err := healthy.SetMark(t.Context(), connection, was, "third"); err != nil {
			t.Fatal(err)
		}
		if err := faulty.Unmark(t.Context(), connection); err == nil && healthy.exists(role) {
			t.Fatal("reported as taken away, but it is there")
		}
		if err := healthy.Unmark(t.Context(), connection); err != nil || healthy.exists(role) {
			t.Fatalf("the role is left: %v", err)
		}
	})
}

// Every session of Curfew is ended again and again while it works: each call
// answers, and in the end nothing is left.
func TestWorkWhileSessionsAreEnded(t *testing.T) {
	t.Parallel()
	for _, kind := range testkit.AdminKinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := settle(t, testkit.SharedPostgres(t).CreateAdmin(t, kind))
			ctx, stop := context.WithCancel(t.Context())
			var killer sync.WaitGroup
			defer killer.Wait()
			defer stop()
			conn := testkit.Connect(t, w.admin.Cluster().AdminURL("postgres"))
			killer.Go(func() {
				for ctx.Err() == nil {
					_, _ = conn.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND application_name = 'curfew/test' AND random() < 0.3`, w.admin.User)
				}
			})
			var leases []lease.Lease
			for range 30 {
				batch := creations3(t)
				for i, c := range w.Create(t.Context(), batch) {
					l := batch[i].Lease
					if c.Err == nil {
						l = confirmed(l, c)
					} else {
						if strings.Contains(c.Err.Error(), "42710") {
							t.Fatalf("its own account was in the way: %v", c.Err)
						}
						l.CreateDeadline = time.Now()
					}
					leases = append(leases, l)
				}
			}
			for range 5 {
				leases = w.remove(t, leases)
			}
			stop()
			killer.Wait()
			if rest := w.remove(t, w.remove(t, leases)); len(rest) > 0 {
				t.Fatalf("%d accounts are left", len(rest))
			}
		})
	}
}

// remove tries once and returns what is left; that what is reported as gone is
// gone is checked.
func (w *world) remove(t *testing.T, leases []lease.Lease) (rest []lease.Lease) {
	t.Helper()
	for i, o := range w.Remove(t.Context(), leases) {
		switch {
		case !o.Gone:
			leases[i].Revocation.Attempts++
			rest = append(rest, leases[i])
		case w.exists(leases[i].Account):
			t.Fatal("reported as gone, but it exists")
		}
	}
	return rest
}
