//go:build integration

package redis

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/curfew-project/curfew/shared/expiry/expirytest"
	"github.com/curfew-project/curfew/shared/testkit"
)

func admin(t *testing.T, address string) *goredis.Client {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: address, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func do(t *testing.T, c *goredis.Client, words string) {
	t.Helper()
	var args []any
	for _, w := range strings.Fields(words) {
		args = append(args, w)
	}
	if err := c.Do(t.Context(), args...).Err(); err != nil {
		t.Fatalf("%s: %v", args[0], err)
	}
}

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantWarnings compares what is warned of: by the beginning of its problem,
// loud ones with an exclamation mark before it.
func wantWarnings(t *testing.T, x *Index, want ...string) {
	t.Helper()
	found := x.Check(t.Context())
	ok := len(found) == len(want)
	for i, w := range found {
		text := w.Problem
		if w.Loud {
			text = "!" + text
		}
		ok = ok && strings.HasPrefix(text, want[i])
		if w.Advice == "" || w.Node == "" {
			t.Errorf("no advice or no node in %q", w)
		}
	}
	if !ok {
		t.Errorf("warned of %v, want %q", found, want)
	}
}

// D2: each setting that harms the index is named; a sound server is not warned
// of, and the check leaves nothing behind.
func TestCheck(t *testing.T) {
	t.Parallel()
	r := testkit.Redis(t)
	x := fresh(t, single(r))
	a := admin(t, r.Address())
	wantWarnings(t, x, "it has no replica")
	replica := r.Replica(t)
	wantWarnings(t, x)
	do(t, a, "CONFIG SET appendonly no")
	wantWarnings(t, x, "persistence is off")
	if err := a.ConfigSet(t.Context(), "save", "3600 1").Err(); err != nil {
		t.Fatal(err)
	}
	wantWarnings(t, x, "appendonly is off: a crash")
	do(t, a, "CONFIG SET appendonly yes")
	do(t, a, "CONFIG SET maxmemory-policy allkeys-lru")
	wantWarnings(t, x) // nothing is evicted without a limit
	do(t, a, "CONFIG SET maxmemory 1000000000")
	wantWarnings(t, x, "!it evicts keys")
	do(t, a, "CONFIG SET maxmemory-policy noeviction")
	wantWarnings(t, x)
	if n := keys(t, x); n != 0 {
		t.Errorf("the check left %d keys", n)
	}
	do(t, a, "CONFIG SET maxmemory 1")
	wantWarnings(t, x, "!a trial run of its scripts ended with: offer leases: OOM")
	wantWarnings(t, fresh(t, single(replica)), "!it is a replica", "!a trial run")
	nobody := fresh(t, Config{Addresses: []string{"127.0.0.1:1"}})
	wantWarnings(t, nobody, "!INFO was not answered", "!a trial run")

	nodes := testkit.RedisCluster(t, 3)
	wantWarnings(t, fresh(t, clusterOf(nodes)), "it has no replica", "it has no replica", "it has no replica")
	found := fresh(t, single(nodes[0])).Check(t.Context())
	if len(found) < 2 || !strings.HasPrefix(found[1].Problem, "it is a node of a Redis Cluster") {
		t.Errorf("a cluster taken for a single server: %v", found)
	}
}

// The user of [ACL] can do all that the contract asks for, and nothing outside
// the prefix; where even INFO and CONFIG are refused, the check says so.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	for name, nodes := range map[string][]*testkit.RedisServer{
		"single": {testkit.Redis(t)}, "cluster": testkit.RedisCluster(t, 3),
	} {
		t.Run(name, func(t *testing.T) {
			cfg := clusterOf(nodes)
			cfg.Cluster = len(nodes) > 1
			cfg.Username, cfg.PasswordFile = "curfew", file(t, "only a test\n")
			grant := func(rules string) {
				for _, n := range nodes {
					do(t, admin(t, n.Address()), "ACL SETUSER curfew reset on "+rules)
					if err := admin(t, n.Address()).Do(t.Context(), "ACL", "SETUSER", "curfew", ">only a test").Err(); err != nil {
						t.Fatal(err)
					}
				}
			}
			grant(ACL("test"))
			for _, law := range expirytest.Laws() {
				t.Run(law.Name, func(t *testing.T) {
					x := fresh(t, cfg)
					passer := clusterOf(nodes)
					passer.Cluster, passer.Prefix = cfg.Cluster, x.prefix
					law.Check(t, apart{x, clocked{opened(t, passer)}})
				})
			}
			x := fresh(t, cfg)
			lonely := make([]string, len(nodes))
			for i := range lonely {
				lonely[i] = "it has no replica"
			}
			wantWarnings(t, x, lonely...)

			outside := cfg
			outside.Prefix = "other:"
			if err := opened(t, outside).Offer(t.Context(), member("a", 1, 10)); !goredis.HasErrorPrefix(err, "NOPERM") {
				t.Errorf("outside the prefix: %v", err)
			}

			grant(ACL("test") + " -config|get -info")
			for i := range lonely {
				lonely[i] = "!INFO was not answered"
			}
			wantWarnings(t, x, lonely...)
			grant(ACL("test") + " -zadd")
			found := x.Check(t.Context())
			last := found[len(found)-1]
			if !last.Loud || !strings.Contains(last.Advice, "+zadd") {
				t.Errorf("without the right to ZADD: %v", found)
			}
			for right := range strings.FieldsSeq(ACL("test")) {
				switch {
				case !strings.HasPrefix(right, "+"), right == "+command", right == "+select", right == "+info", right == "+config|get":
					continue // the trial run does without
				case right == "+cluster|slots" && !cfg.Cluster:
					continue
				}
				grant(ACL("test") + " -" + right[1:])
				own := cfg
				own.Prefix = x.prefix
				found := opened(t, own).Check(t.Context())
				if len(found) == 0 || !found[len(found)-1].Loud {
					t.Errorf("the check does not miss %s: %v", right, found)
				}
			}
			for _, w := range found {
				if strings.Contains(w.String(), "only a test") {
					t.Error("a warning holds the password")
				}
			}
		})
	}
}

// apart is an index of one user on which another lets time go by.
type apart struct {
	*Index
	clocked clocked
}

func (x apart) Pass(t expirytest.T, d time.Duration) {
	t.Helper()
	x.clocked.Pass(t, d)
}
