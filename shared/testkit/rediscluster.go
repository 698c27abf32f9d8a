package testkit

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// slots of a Redis Cluster.
const slots = 16384

// RedisCluster starts a Redis Cluster of masters that share the slots evenly,
// and returns when each of them says that it is whole.
func RedisCluster(tb testing.TB, masters int) []*RedisServer {
	tb.Helper()
	nodes := make([]*RedisServer, masters)
	clients := make([]*redis.Client, masters)
	buses := make([]int, masters)
	for i := range nodes {
		buses[i] = Port(tb)
		nodes[i] = Redis(tb,
			WithRedisSetting("cluster-enabled", "yes"), WithRedisSetting("cluster-port", strconv.Itoa(buses[i])),
			WithRedisSetting("cluster-node-timeout", "2000"))
		clients[i] = nodes[i].client(tb)
	}
	ctx := tb.Context()
	for i, c := range clients {
		check(tb, c.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
		check(tb, c.Do(ctx, "CLUSTER", "ADDSLOTSRANGE", i*slots/masters, (i+1)*slots/masters-1).Err())
		check(tb, c.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", nodes[0].server.Port(), buses[0]).Err())
	}
	for i, c := range clients {
		within(tb, fmt.Sprintf("node %d does not see the whole cluster", i), func(ctx context.Context) bool {
			info, err := c.ClusterInfo(ctx).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok") &&
				strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d\r", masters))
		})
	}
	return nodes
}
