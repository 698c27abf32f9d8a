//go:build e2e

package fault

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/topology"
	"github.com/curfew-project/curfew/shared/testkit"
)

// TestRedis takes the shared index away, in part or as a whole, or makes it slow,
// full or forgetful. It is a hint (D1): expiry goes on from the store, and no
// request fails.
func TestRedis(t *testing.T) {
	if !distributed() {
		t.Skip("the one-machine form has its index in memory")
	}
	w := open(t)
	r := newRedis(t, w)
	w.outages(t,
		// D2: what the index lacks is found by comparing it with the store.
		outage{"redis: flushed", 10, 4 * time.Second, r.flushed},
		// D1, C9.
		outage{"redis: killed", 5, 10 * time.Second, r.killed},
		// D1: a copy has earlier times than the store, and lacks others.
		outage{"redis: stale failover", 4, 10 * time.Second, r.failedOver},
		// C7: claims that nobody can extend or complete.
		outage{"redis: unreachable", 1, minutes, r.frozen},
		outage{"redis: slow", 1, time.Minute, r.slow},
		// D2: a hint must not stop revocation.
		outage{"redis: out of memory", 2, 20 * time.Second, r.full},
		outage{"redis: evicting by LRU", 1, 30 * time.Second, r.evicting("allkeys-lru")},
		outage{"redis: evicting at random", 1, 30 * time.Second, r.evicting("allkeys-random")},
	)
}

// redis is the index of a fleet: a primary that the programs reach through a
// proxy, and its replica.
type redis struct {
	*world
	fleet            *fleet
	proxy            *testkit.Proxy
	primary, replica instance
	marks            int
}

// instance is one server, and the part of the fleet that it is.
type instance struct{ part, address string }

func newRedis(t *testing.T, w *world) *redis {
	t.Helper()
	f, ok := w.form.(*fleet)
	if !ok {
		t.Fatal("this form has no Redis")
	}
	r := &redis{world: w, fleet: f, primary: instance{part: topology.Index, address: f.config(t, "revoker-1").Redis.Addresses[0]}}
	r.replica = instance{part: topology.Replica, address: r.follower(t, r.primary)}
	r.proxy = testkit.NewProxy(t, r.primary.address)
	f.readdress(t, r.primary.address, r.proxy.Address())
	return r
}

// follower is the address of the one replica of a server, which has all its data.
func (r *redis) follower(t *testing.T, of instance) (address string) {
	t.Helper()
	if !soon(hang, func() bool {
		info, err := of.ask("INFO", "replication")
		_, line, _ := strings.Cut(info, "slave0:ip=")
		ip, line, _ := strings.Cut(line, ",port=")
		port, line, _ := strings.Cut(line, ",state=")
		address = net.JoinHostPort(ip, port)
		return err == nil && strings.HasPrefix(line, "online")
	}) {
		t.Fatal("the index has no replica")
	}
	return address
}

// through is a question that goes the way of the programs'.
func (r *redis) through(words ...string) (string, error) {
	return instance{address: r.proxy.Address()}.ask(words...)
}

// flushed empties it. A key of ours shows that it did.
func (r *redis) flushed(t *testing.T) fault {
	t.Helper()
	r.mark(t, r.primary)
	keys, err := r.primary.ask("DBSIZE")
	must(t, err, "count the keys of Redis")
	if n, err := strconv.Atoi(keys); err != nil || n < 2 {
		t.Fatalf("the index has no keys that could be lost: %s", keys)
	}
	_, err = r.primary.ask("FLUSHALL")
	must(t, err, "flush Redis")
	return fault{effect: func() error { return r.unmarked(r.primary) }, end: func() {}}
}

// killed ends it as a power cut would.
func (r *redis) killed(t *testing.T) fault {
	t.Helper()
	r.fleet.kill(t, r.primary.part)
	return fault{
		effect: away(func() error { _, err := r.through("PING"); return err }),
		end:    func() {}, // whoever is dead is started again, with its data
	}
}

// failedOver cuts the replication, lets clients write, ends the primary, and puts
// the replica in its place.
func (r *redis) failedOver(t *testing.T) fault {
	t.Helper()
	both := r.mark(t, r.primary)
	if !soon(hang, func() bool { _, err := r.replica.ask("GET", both); return err == nil }) {
		t.Fatal("the replica does not follow")
	}
	_, err := r.replica.ask("REPLICAOF", "NO", "ONE")
	must(t, err, "cut the replication")
	last := r.mark(t, r.primary)
	lost := r.runOut(t, "later") // only the primary ever knew these
	r.fleet.kill(t, r.primary.part)
	r.proxy.Redirect(r.replica.address)
	r.primary, r.replica = r.replica, r.primary
	return fault{
		effect: func() error {
			if _, err := r.through("GET", last); !errors.Is(err, errNil) {
				return fmt.Errorf("the last write is not lost: %w", err)
			}
			_, err := r.through("GET", both)
			return err
		},
		end: func() {
			r.disabled(t, lost, laterTTL)
			must(t, r.fleet.part(t, r.replica.part).Start(t.Context()), "start the old primary")
			_, port, err := net.SplitHostPort(r.primary.address)
			must(t, err, "read an address")
			_, err = r.replica.ask("REPLICAOF", "127.0.0.1", port)
			must(t, err, "let the old primary follow the new one")
			if got := r.follower(t, r.primary); got != r.replica.address {
				t.Errorf("%s follows, want %s", got, r.replica.address)
			}
		},
	}
}

// frozen is a black hole: connections are taken, and nothing is answered.
func (r *redis) frozen(t *testing.T) fault {
	t.Helper()
	thaw := r.fleet.freeze(t, r.primary.part)
	return fault{
		effect: away(func() error { _, err := r.through("PING"); return err }),
		end:    thaw,
	}
}

// slow lets each command wait for half a second to two.
func (r *redis) slow(*testing.T) fault {
	const least, most = 500 * time.Millisecond, 2 * time.Second
	r.proxy.Poison(testkit.ToServer, testkit.Toxic{Latency: least, Jitter: most - least})
	return fault{
		effect: func() error {
			began := time.Now()
			if _, err := r.through("PING"); err != nil {
				return err
			}
			if took := time.Since(began); took < least {
				return fmt.Errorf("it answers after %v", took)
			}
			return nil
		},
		end: r.proxy.Cure,
	}
}

// full gives it less memory than it uses.
func (r *redis) full(t *testing.T) fault {
	t.Helper()
	r.set(t, "maxmemory-policy", "noeviction")
	r.set(t, "maxmemory", "100kb")
	return fault{
		effect: func() error {
			if _, err := r.through("SET", "fault:full", "x"); err == nil || !strings.HasPrefix(err.Error(), "OOM ") {
				return fmt.Errorf("a write was answered %w, want OOM", err)
			}
			return nil
		},
		end: func() { r.set(t, "maxmemory", "0") },
	}
}

// evicting lets it throw keys away by a policy, beside somebody who fills it.
func (r *redis) evicting(policy string) func(t *testing.T) fault {
	return func(t *testing.T) fault {
		t.Helper()
		const size, keys = 16 << 10, 1024 // far more than there is room for
		used, err := r.stat("memory", "used_memory")
		must(t, err, "read how much memory is used")
		r.set(t, "maxmemory-policy", policy)
		// Room for what connections take, and for some of the other's keys: where
		// nothing is left that could go, writes are refused and nothing is evicted.
		r.set(t, "maxmemory", strconv.Itoa(used+128*size))
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for i := 0; ; i++ {
				_, _ = r.primary.ask("SET", "fault:other:"+strconv.Itoa(i%keys), strings.Repeat("x", size)) // as long as it evicts
				select {
				case <-stop:
					return
				case <-time.After(pace):
				}
			}
		}()
		end := sync.OnceFunc(func() { close(stop); <-stopped })
		t.Cleanup(end)
		first, err := r.stat("stats", "evicted_keys")
		must(t, err, "count what was evicted")
		before, lost := first, int64(0)
		ours := r.evicted(t)
		return fault{
			effect: func() error {
				var now int
				if !soon(hang, func() bool { now, err = r.stat("stats", "evicted_keys"); return err == nil && now > before }) {
					return fmt.Errorf("nothing is evicted: %d, %d before, %w", now, before, err)
				}
				before = now
				// What is in use is spared by the one policy, by luck alone by the other.
				if random := strings.HasSuffix(policy, "-random"); random && !soon(hang, func() bool { return ours.Load() > lost }) {
					return fmt.Errorf("nothing of the index is evicted, %d of its keys before", lost)
				}
				lost = ours.Load()
				return nil
			},
			end: func() {
				end()
				t.Logf("%d keys were evicted, %d of them the index's", before-first, lost)
				r.set(t, "maxmemory", "0")
				r.set(t, "maxmemory-policy", "noeviction")
				remove := []string{"DEL"}
				for i := range keys {
					remove = append(remove, "fault:other:"+strconv.Itoa(i))
				}
				_, err := r.primary.ask(remove...)
				must(t, err, "remove what fills Redis")
			},
		}
	}
}

// evicted counts the keys of the index that the server throws away from now on.
func (r *redis) evicted(t *testing.T) (ours *atomic.Int64) {
	t.Helper()
	r.set(t, "notify-keyspace-events", "Ee")
	conn, err := net.Dial("tcp", r.primary.address)
	must(t, err, "connect to Redis")
	ours = &atomic.Int64{}
	_, err = io.WriteString(conn, "SUBSCRIBE __keyevent@0__:evicted\r\n")
	must(t, err, "listen to Redis")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "curfew:") {
				ours.Add(1)
			}
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return ours
}

// set changes a setting while it runs.
func (r *redis) set(t *testing.T, name, value string) {
	t.Helper()
	_, err := r.primary.ask("CONFIG", "SET", name, value)
	must(t, err, "set "+name)
}

// stat is one number of what the server tells of itself.
func (r *redis) stat(section, name string) (int, error) {
	info, err := r.primary.ask("INFO", section)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(info) {
		if key, value, _ := strings.Cut(strings.TrimSpace(line), ":"); key == name {
			return strconv.Atoi(value)
		}
	}
	return 0, fmt.Errorf("it does not tell its %s", name)
}

// mark writes a new key of ours.
func (r *redis) mark(t *testing.T, at instance) string {
	t.Helper()
	r.marks++
	key := fmt.Sprint("fault:mark:", r.marks)
	_, err := at.ask("SET", key, "x")
	must(t, err, "write a mark")
	return key
}

// unmarked fails where the last mark is still there.
func (r *redis) unmarked(at instance) error {
	if _, err := at.ask("GET", fmt.Sprint("fault:mark:", r.marks)); !errors.Is(err, errNil) {
		return fmt.Errorf("what was there is not gone: %w", err)
	}
	return nil
}

// errNil is the answer of a key that is not there.
var errNil = errors.New("there is none")

// answersWithin bounds a question to a server that may be broken.
const answersWithin = 5 * time.Second

// ask sends one command and returns its answer, which is no list.
func (i instance) ask(words ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", i.address, answersWithin)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }() // nothing is buffered
	if err := conn.SetDeadline(time.Now().Add(answersWithin)); err != nil {
		return "", err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(&out, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(conn, out.String()); err != nil {
		return "", err
	}
	in := bufio.NewReader(conn)
	line, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	kind, text := line[0], strings.TrimSpace(line[1:])
	switch kind {
	case '+', ':':
		return text, nil
	case '-':
		return "", errors.New(text)
	case '$':
		n, err := strconv.Atoi(text)
		if err != nil {
			return "", err
		}
		if n < 0 {
			return "", errNil
		}
		bulk := make([]byte, n)
		_, err = io.ReadFull(in, bulk)
		return string(bulk), err
	}
	return "", fmt.Errorf("the answer is %q", line)
}
