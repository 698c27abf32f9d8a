package redis

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
)

// Warning is something about the servers that harms the index, and what to do
// about it. None is a reason not to start: the index is a hint (D1, D2).
type Warning struct {
	Node    string // host:port
	Problem string
	Advice  string
	// Loud: the index loses leases silently, or does not work at all.
	Loud bool
}

func (w Warning) String() string { return w.Node + ": " + w.Problem + "; " + w.Advice }

// Check looks at the servers' settings and tries every right that the index
// needs. It warns of what it could not see.
func (x *Index) Check(ctx context.Context) []Warning {
	var mu sync.Mutex
	var found []Warning
	each := func(ctx context.Context, c *goredis.Client) error {
		w := x.checkNode(ctx, c)
		mu.Lock()
		defer mu.Unlock()
		found = append(found, w...)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 4*x.timeout)
	defer cancel()
	var err error
	switch c := x.client.(type) {
	case *goredis.ClusterClient:
		err = c.ForEachMaster(ctx, each)
	case *goredis.Client:
		err = each(ctx, c)
	}
	if err != nil {
		found = append(found, Warning{
			Node: "cluster", Problem: "its nodes could not be listed: " + err.Error(), Loud: true,
			Advice: "check the addresses, and that they are nodes of a Redis Cluster",
		})
	}
	return append(found, x.checkRights(ctx)...)
}

// report collects the warnings of one node.
type report struct {
	node  string
	found []Warning
}

func (r *report) warn(loud bool, problem, advice string) {
	r.found = append(r.found, Warning{Node: r.node, Problem: problem, Advice: advice, Loud: loud})
}

func (x *Index) checkNode(ctx context.Context, c *goredis.Client) []Warning {
	r := &report{node: c.Options().Addr}
	text, err := c.Info(ctx).Result()
	if err != nil {
		r.warn(true, "INFO was not answered, so that persistence, eviction, replicas and version could not be checked: "+err.Error(),
			"check the address and the credentials, and grant the user +info")
		return r.found
	}
	info := parseInfo(text)
	r.version(info)
	r.memory(info)
	r.persistence(ctx, c, info)
	r.replication(info)
	r.mode(info, x.cluster)
	return r.found
}

// parseInfo reads what INFO says.
func parseInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && !strings.HasPrefix(name, "#") {
			info[name] = value
		}
	}
	return info
}

// oldest is the first major version with flags in scripts. (Valkey says 7 or
// later there, for clients.)
const oldest = 7

func (r *report) version(info map[string]string) {
	v := info["redis_version"]
	major, _, _ := strings.Cut(v, ".")
	n, err := strconv.Atoi(major)
	switch {
	case err != nil:
		r.warn(false, "the version could not be checked", "make sure that it is Redis 7.0 or Valkey 7.2, or later")
	case n < oldest:
		r.warn(true, "version "+v+" is too old: the index does not work on it", "upgrade to Redis 7.0 or Valkey 7.2, or later")
	}
}

func (r *report) memory(info map[string]string) {
	limit, policy := info["maxmemory"], info["maxmemory_policy"]
	switch {
	case limit == "" || policy == "":
		r.warn(false, "the eviction policy could not be checked", "make sure that maxmemory-policy is noeviction")
	case limit != "0" && policy != "noeviction":
		r.warn(true, "it evicts keys when memory is full (maxmemory-policy "+policy+"), and with them the due times of whole targets",
			"set maxmemory-policy noeviction, and use a Redis that is no cache of others")
	}
}

func (r *report) persistence(ctx context.Context, c *goredis.Client, info map[string]string) {
	switch info["aof_enabled"] {
	case "1":
		return
	case "":
		r.warn(false, "persistence could not be checked", "make sure that appendonly is yes")
		return
	}
	saves, err := c.ConfigGet(ctx, "save").Result()
	switch {
	case err != nil:
		r.warn(false, "appendonly is off, and whether snapshots are saved could not be checked (CONFIG is refused)",
			"set appendonly yes, with appendfsync everysec")
	case saves["save"] == "":
		r.warn(false, "persistence is off: a restart empties the index, which is filled again from the store",
			"set appendonly yes, with appendfsync everysec")
	default:
		r.warn(false, "appendonly is off: a crash takes the index back to the last snapshot",
			"set appendonly yes, with appendfsync everysec")
	}
}

func (r *report) replication(info map[string]string) {
	switch {
	case info["role"] == "slave":
		r.warn(true, "it is a replica, which takes no writes", "name the master, or Sentinels and the master's name")
	case info["role"] == "":
		r.warn(false, "replicas could not be checked", "make sure that there is one")
	case info["connected_slaves"] == "0":
		r.warn(false, "it has no replica: while it is down, leases are found by the sweep of the store only",
			"add a replica, with Sentinel or as part of a Redis Cluster")
	}
}

func (r *report) mode(info map[string]string, cluster bool) {
	switch on := info["cluster_enabled"]; {
	case on == "1" && !cluster:
		r.warn(true, "it is a node of a Redis Cluster, but the configuration names a single server", "set cluster in the configuration")
	case on == "0" && cluster:
		r.warn(true, "it is no node of a Redis Cluster, but the configuration says so", "unset cluster in the configuration")
	}
}

// checkRights runs every script, on a target of its own.
func (x *Index) checkRights(ctx context.Context) []Warning {
	err := x.rehearse(ctx)
	if err == nil {
		return nil
	}
	w := Warning{Node: "index", Problem: "a trial run of its scripts ended with: " + err.Error(), Loud: true}
	switch {
	case goredis.HasErrorPrefix(err, "NOPERM") || strings.Contains(err.Error(), "ACL failure") ||
		strings.Contains(err.Error(), "user executing the script"): // so says 7.0
		w.Advice = "grant the user: " + ACL(x.prefix)
	case goredis.HasErrorPrefix(err, "OOM"):
		w.Advice = "raise maxmemory: no lease can be added"
	case goredis.HasErrorPrefix(err, "CLUSTERDOWN"):
		w.Advice = "repair the cluster: some of its slots are not served"
	default:
		w.Advice = "check that the servers can be reached and take writes"
	}
	return []Warning{w}
}

// rehearse takes a member through the index. Its name is new each time: others
// may do the same.
func (x *Index) rehearse(ctx context.Context) error {
	// The source is sent only to servers that do not know it: the right to do so
	// may be missing unnoticed.
	eval, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	if err := x.scripts.flying.Eval(eval, x.client, x.registryKeys(), first, 1).Err(); err != nil {
		return err
	}
	target := "check " + lease.RandomBase62(12)
	// In the far future, where no claimer looks.
	far := time.UnixMicro(exact)
	m := expiry.Member{ID: "check", Target: target, At: far}
	if err := x.Offer(ctx, m); err != nil {
		return err
	}
	c, err := x.Claim(ctx, target, far, 1, time.Second)
	if err != nil {
		return err
	}
	if err := x.Offer(ctx, m); err != nil { // in flight
		return err
	}
	if err := x.Extend(ctx, c, far, time.Second); err != nil {
		return err
	}
	if err := x.Complete(ctx, c, m); err != nil {
		return err
	}
	if _, err = x.Claim(ctx, target, far, 1, 0); err != nil { // to lapse
		return err
	}
	if _, err := x.lapse(ctx, []entry{{target: target}}); err != nil {
		return err
	}
	if c, err = x.Claim(ctx, target, far, 1, time.Second); err != nil {
		return err
	}
	if err := x.Complete(ctx, c); err != nil {
		return err
	}
	if _, err := x.Missing(ctx, m); err != nil {
		return err
	}
	if _, err := x.Len(ctx); err != nil {
		return err
	}
	if _, err := x.Upcoming(ctx, far); err != nil { // drops the target
		return err
	}
	if _, err := x.Lapse(ctx, far); err != nil {
		return err
	}
	return nil
}

// ACL is the rules of the least user that the index needs, for ACL SETUSER; a
// password and "on" come besides. +cluster|slots and +command serve a Redis
// Cluster only, +select a database other than 0, +info and +config|get
// [Index.Check].
func ACL(prefix string) string {
	return "resetchannels resetkeys ~" + prefix + "* -@all " +
		"+eval +evalsha +time +exists +del +hget +hset +hmget +hdel +hlen +zadd +zcard +zrange +zrem +zscore " +
		"+cluster|slots +command +select +info +config|get"
}
