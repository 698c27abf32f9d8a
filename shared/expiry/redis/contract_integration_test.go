//go:build integration

package redis

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/expiry/expirytest"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/testkit"
)

func TestMain(m *testing.M) {
	LogTo(zerolog.Nop())
	testkit.Main(m)
}

// clocked is an index on whose server time can be made to go by: all deadlines
// come nearer. Nothing else there depends on the server's clock (A5).
type clocked struct {
	*Index
}

func (x clocked) Pass(t expirytest.T, d time.Duration) {
	t.Helper()
	shift := func(ctx context.Context, c *goredis.Client) error {
		keys, err := c.Keys(ctx, x.prefix+"*:claims").Result()
		for _, key := range keys {
			claims, err := c.ZRangeWithScores(ctx, key, 0, -1).Result()
			if err != nil {
				return err
			}
			for _, z := range claims {
				if err := c.ZIncrBy(ctx, key, -float64(d.Milliseconds()), z.Member.(string)).Err(); err != nil {
					return err
				}
			}
		}
		return err
	}
	var err error
	switch c := x.client.(type) {
	case *goredis.ClusterClient:
		err = c.ForEachMaster(t.Context(), shift)
	case *goredis.Client:
		err = shift(t.Context(), c)
	}
	if err != nil {
		t.Fatalf("let time go by: %v", err)
	}
}

var prefixes atomic.Int64

// fresh opens an index with keys of its own.
func fresh(tb testing.TB, cfg Config) *Index {
	tb.Helper()
	cfg.Prefix = "test" + strconv.FormatInt(prefixes.Add(1), 10) + ":"
	return opened(tb, cfg)
}

func opened(tb testing.TB, cfg Config) *Index {
	tb.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = 20 * time.Second // of a busy machine
	}
	x, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := x.Close(); err != nil {
			tb.Error(err)
		}
	})
	return x
}

func single(r *testkit.RedisServer) Config { return Config{Addresses: []string{r.Address()}} }

func clusterOf(nodes []*testkit.RedisServer) Config {
	cfg := Config{Cluster: true}
	for _, n := range nodes {
		cfg.Addresses = append(cfg.Addresses, n.Address())
	}
	return cfg
}

// forms are the servers that the index runs on.
func forms(t *testing.T, f func(t *testing.T, cfg Config)) {
	t.Helper()
	t.Run("single", func(t *testing.T) {
		t.Parallel()
		f(t, single(testkit.Redis(t)))
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		f(t, clusterOf(testkit.RedisCluster(t, 3)))
	})
}

func TestContract(t *testing.T) {
	t.Parallel()
	forms(t, func(t *testing.T, cfg Config) {
		t.Helper()
		for _, law := range expirytest.Laws() {
			t.Run(law.Name, func(t *testing.T) { law.Check(t, clocked{fresh(t, cfg)}) })
		}
	})
}

// D1: whatever the order of calls, the index does what the model of the
// contract does.
func TestModel(t *testing.T) {
	t.Parallel()
	forms(t, func(t *testing.T, cfg Config) {
		t.Helper()
		x := fresh(t, cfg)
		rapid.Check(t, func(t *rapid.T) {
			own := *x // the connections of one, the keys of another
			own.prefix = "test" + strconv.FormatInt(prefixes.Add(1), 10) + ":"
			expirytest.Model(t, clocked{&own})
		})
	})
}

var base = time.Unix(1_800_000_000, 0)

func at(seconds int) time.Time { return base.Add(time.Duration(seconds) * time.Second) }

func member(target string, i, due int) expiry.Member {
	return expiry.Member{ID: lease.ID(fmt.Sprintf("m/creds/r/%05d", i)), Target: target, At: at(due)}
}

func offer(t *testing.T, x *Index, m ...expiry.Member) {
	t.Helper()
	if err := x.Offer(t.Context(), m...); err != nil {
		t.Fatalf("offer: %v", err)
	}
}

func claim(t *testing.T, x *Index, target string, now, limit int) expiry.Claim {
	t.Helper()
	c, err := x.Claim(t.Context(), target, at(now), limit, time.Hour)
	if err != nil {
		t.Fatalf("claim: %v", err)
	}
	return c
}

func complete(t *testing.T, x *Index, c expiry.Claim, later ...expiry.Member) {
	t.Helper()
	if err := x.Complete(t.Context(), c, later...); err != nil {
		t.Fatalf("complete: %v", err)
	}
}

func lapseNow(t *testing.T, x *Index, want int) {
	t.Helper()
	if n, err := x.Lapse(t.Context(), base); err != nil || n != want {
		t.Errorf("lapse: %d, %v; want %d", n, err, want)
	}
}

func wantLen(t *testing.T, x *Index, want int) {
	t.Helper()
	if n, err := x.Len(t.Context()); err != nil || n != want {
		t.Errorf("Len: %d, %v; want %d", n, err, want)
	}
}

func wantUpcoming(t *testing.T, x *Index, want ...string) {
	t.Helper()
	up, err := x.Upcoming(t.Context(), at(1_000_000))
	var got []string
	for _, u := range up {
		got = append(got, u.Target)
	}
	if err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("upcoming: %v, %v; want %v", got, err, want)
	}
}

func wantMissing(t *testing.T, x *Index, asked []expiry.Member, want ...expiry.Member) {
	t.Helper()
	got, err := x.Missing(t.Context(), asked...)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("missing: %v, %v; want %v", got, err, want)
	}
}

// keys counts the keys of an index on a single server.
func keys(t *testing.T, x *Index) int {
	t.Helper()
	k, err := x.client.Keys(t.Context(), x.prefix+"*").Result()
	if err != nil {
		t.Fatal(err)
	}
	return len(k)
}
