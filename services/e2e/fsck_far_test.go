//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	goredis "github.com/redis/go-redis/v9"

	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/shared/fsck"
	"github.com/curfew-project/curfew/shared/testkit"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// TestFsckBehindTheServers plants disagreements where only the servers are that
// Curfew stands on: its index, its stream, its store. The command reads them by
// the configuration of a revoker, beside the running programs.
func TestFsckBehindTheServers(t *testing.T) {
	t.Parallel()
	if !distributed() {
		t.Skip("the distributed form only: it has servers of its own")
	}
	s := newCurfew(t)
	target := newTarget(t, testkit.CreateRoleAdmin)
	c := newBao(t, s)
	target.setUp(t, c, "database", "1h", "24h")
	p, ok := s.form.(*place)
	if !ok {
		t.Fatal("it is no place")
	}
	file, cfg := p.config(t)
	held := issue(t, c, "database/creds/app")
	fsckBehind(t, s, file)
	t.Run("index", func(t *testing.T) { fsckIndex(t, s, p, target, c, file, cfg) })
	t.Run("stream", func(t *testing.T) {
		js := p.stream(t, cfg)
		// Who reads it would make it anew within the moment.
		must(t, p.topology.Kill(t.Context(), p.named("issuer-", "revoker-", "auditor-")...), "kill the programs")
		must(t, js.DeleteStream(t.Context(), eventStream), "delete the stream")
		r, code := s.fsck(t, "-config="+file, "-interval=1s")
		gone := 0
		for _, f := range r.Disagreements {
			if f.Kind == fsck.StreamGone && strings.Contains(f.Heals, "makes the stream anew") {
				gone++
			}
		}
		if code != 1 || gone != 1 {
			t.Errorf("fsck ended with %d:\n%s", code, told(&r))
		}
		must(t, p.topology.Start(t.Context()), "start the programs")
		// Events get no number until the lock of the publisher that was killed
		// has lapsed (D3). A new one has to be on record, so fsck waits for that.
		issue(t, c, "database/creds/app")
		fsckClean(t, s, rolledBackWithin)
		want(t, "a credential that a client holds works", target.works(t, held), true)
	})
	t.Run("store", func(t *testing.T) {
		pg := p.topology.Postgres()
		conn, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/curfew?sslmode=disable", server.Superuser, pg.Password(), pg.Port()))
		must(t, err, "connect to the store")
		defer closeConn(conn)
		skip := func(by int) {
			_, err := conn.Exec(t.Context(), `UPDATE curfew.leases SET version = version + $2,
				body = jsonb_set(body::jsonb, '{version}', to_jsonb((body::jsonb->>'version')::bigint + $2))::text WHERE id = $1`, held.lease, by)
			must(t, err, "write into the store")
		}
		skip(3)
		r, code := s.fsck(t)
		f := one(t, &r, code, fsck.UnrecordedTurn, held.lease)
		if !strings.Contains(f.Seen, "version 5") || !strings.Contains(f.Heals, "by hand") {
			t.Errorf("it says %+v", f)
		}
		skip(-3)
		fsckClean(t, s, rolledBackWithin)
	})
}

// named are the parts whose names begin so.
func (p *place) named(prefixes ...string) (names []string) {
	for _, name := range p.topology.Names() {
		if slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			names = append(names, name)
		}
	}
	return names
}

// fsckIndex takes an entry out of the index and puts one into it, while no
// revoker is there to see to it.
func fsckIndex(t *testing.T, s *curfew, p *place, target *target, c client, file string, cfg *config.Config) {
	t.Helper()
	target.role(t, c, "database", "brief", s1Creation, "50s", "50s")
	// A second one keeps the target in the registry: who looks at one that is
	// empty drops it, and would not find what the test puts back.
	brief, second := issue(t, c, "database/creds/brief"), issue(t, c, "database/creds/brief")
	redis := goredis.NewClient(&goredis.Options{Addr: cfg.Redis.Addresses[0]})
	defer redis.Close()
	var due string
	eventually(t, hang, func() error { // until the revokers have heard of it
		keys, err := redis.Keys(t.Context(), "*:due").Result()
		if err != nil {
			return err
		}
		for _, key := range keys {
			scores, err := redis.ZMScore(t.Context(), key, brief.lease, second.lease).Result()
			if err != nil {
				return err
			}
			if !slices.Contains(scores, 0) {
				due = key
				return nil
			}
		}
		return fmt.Errorf("the index does not have them: %v", keys)
	})
	fsckBehind(t, s, file) // a revoker publishes: nothing may be left that it had to
	must(t, p.topology.Kill(t.Context(), p.named("revoker-")...), "kill the revokers")
	must(t, redis.ZRem(t.Context(), due, brief.lease).Err(), "take it out")
	r, code := s.fsck(t, "-config="+file, "-interval=1s")
	f := one(t, &r, code, fsck.IndexLacks, brief.lease)
	if !strings.Contains(f.Heals, "drift") {
		t.Errorf("it says %+v", f)
	}
	must(t, redis.ZAdd(t.Context(), due, goredis.Z{Score: float64(time.Now().Add(time.Minute / 2).UnixMicro()), Member: brief.lease}).Err(), "put it back")
	const ghost = "database/creds/brief/none"
	must(t, redis.ZAdd(t.Context(), due, goredis.Z{Score: float64(time.Now().Add(-time.Minute).UnixMicro()), Member: ghost}).Err(), "put another in")
	r, code = s.fsck(t, "-config="+file, "-interval=1s")
	found := false
	for _, f := range r.Disagreements {
		found = found || f.Kind == fsck.IndexExtra && f.Lease == ghost && strings.Contains(f.Heals, "drops it")
	}
	if code != 1 || !found {
		t.Errorf("fsck ended with %d:\n%s", code, told(&r))
	}
	must(t, p.topology.Start(t.Context()), "start the revokers")
	fsckBehind(t, s, file)
	fsckClean(t, s, rolledBackWithin)
}

// fsckBehind waits until the servers agree, without a request that would be an
// event of its own.
func fsckBehind(t *testing.T, s *curfew, file string) {
	t.Helper()
	eventually(t, hang, func() error {
		if r, _ := s.fsck(t, "-config="+file); !r.Clean {
			return errors.New(told(&r))
		}
		return nil
	})
}
