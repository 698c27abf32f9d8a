package quota

import (
	"container/list"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/curfew-project/curfew/shared/store"
)

// maxClients bounds the addresses that a quota remembers: about 200 bytes each.
const maxClients = 1 << 16

// limit is what a rate quota says; the value of its entry.
type limit struct {
	Rate     float64       `json:"rate"` // requests in an interval
	Interval time.Duration `json:"interval"`
	Block    time.Duration `json:"block_interval"` // how long who exceeds it is refused
}

// burst is how many requests may come at once.
func (l limit) burst() int { return int(math.Ceil(l.Rate)) }

// perSecond is how fast a bucket is filled.
func (l limit) perSecond() rate.Limit { return rate.Limit(l.Rate / l.Interval.Seconds()) }

// fill is how long it takes until n more requests may come.
func (l limit) fill(n float64) time.Duration {
	return time.Duration(n / float64(l.perSecond()) * float64(time.Second))
}

// rule is a rate quota in force.
type rule struct {
	name, path string // path: without a slash at its end
	limit      limit

	mu      sync.Mutex
	clients map[string]*list.Element
	recent  *list.List // of *client, the last one that asked first
	most    int
}

type client struct {
	address string
	bucket  *rate.Limiter
	blocked time.Time // refused until then
}

func newRule(e *store.Entry) (*rule, error) {
	r := &rule{
		name: e.ID, path: strings.Trim(e.Key, "/"),
		clients: map[string]*list.Element{}, recent: list.New(), most: maxClients,
	}
	if err := json.Unmarshal(e.Value, &r.limit); err != nil {
		return nil, fmt.Errorf("decode rate limit %q: %w", e.ID, err)
	}
	if r.limit.Rate <= 0 || r.limit.Interval <= 0 {
		return nil, fmt.Errorf("decode rate limit %q: it allows nothing", e.ID)
	}
	return r, nil
}

// same reports whether what is remembered for other counts here.
func (r *rule) same(other *rule) bool {
	return r.name == other.name && r.path == other.path && r.limit == other.limit
}

// covers reports whether the rule is for path.
func (r *rule) covers(path string) bool {
	rest, ok := strings.CutPrefix(path, r.path)
	return ok && (r.path == "" || rest == "" || rest[0] == '/')
}

// Verdict is what a quota says of a request, as the headers of the answer tell.
type Verdict struct {
	Allowed bool
	// Governed: a quota is for the request; the rest is set only then.
	Governed  bool
	Limit     int           // requests at once
	Remaining int           // of them
	Reset     time.Duration // until all are there again; for who is refused, until one is
}

// take counts a request from address at now.
func (r *rule) take(address string, now time.Time) Verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.client(address)
	v := Verdict{Governed: true, Limit: r.limit.burst()}
	if now.Before(c.blocked) {
		v.Reset = c.blocked.Sub(now)
		return v
	}
	v.Allowed = c.bucket.AllowN(now, 1)
	left := c.bucket.TokensAt(now)
	v.Remaining = max(0, int(left))
	if v.Allowed {
		v.Reset = r.limit.fill(float64(v.Limit) - left)
		return v
	}
	v.Reset = max(r.limit.fill(1-left), r.limit.Block)
	if r.limit.Block > 0 {
		c.blocked = now.Add(v.Reset)
	}
	return v
}

// client is what is remembered of an address.
func (r *rule) client(address string) *client {
	if at, ok := r.clients[address]; ok {
		r.recent.MoveToFront(at)
		return at.Value.(*client) //nolint:forcetypeassert // nothing else is in the list
	}
	if len(r.clients) >= r.most {
		last := r.recent.Back()
		delete(r.clients, r.recent.Remove(last).(*client).address) //nolint:forcetypeassert // see above
	}
	c := &client{address: address, bucket: rate.NewLimiter(r.limit.perSecond(), r.limit.burst())}
	r.clients[address] = r.recent.PushFront(c)
	return c
}
