package record

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

// Outbox is what the recorder needs of the store.
type Outbox interface {
	Append(ctx context.Context, events ...event.Event) error
}

// Config tunes a [Recorder]; the zero value works.
type Config struct {
	DeniedPerSecond int           // refused requests that are events one by one; 10
	CountEvery      time.Duration // how often counts are committed; 10 s
	Within          time.Duration // budget of a commit; 10 s
}

// Recorder commits the events of requests. It is the step that commits counts.
type Recorder struct {
	outbox Outbox
	clock  clock.Clock
	cfg    Config

	mu     sync.Mutex
	second time.Time // the running second
	spent  int       // events of refused requests in it
	counts map[key]int
}

type key struct {
	address string
	status  int
}

// maxKeys bounds the counts.
const maxKeys = 256

// elsewhere stands for the addresses beyond the bound.
const elsewhere = "(others)"

// New returns a recorder.
func New(o Outbox, c clock.Clock, cfg Config) *Recorder {
	cfg.DeniedPerSecond = cmp.Or(cfg.DeniedPerSecond, 10)
	cfg.CountEvery = cmp.Or(cfg.CountEvery, 10*time.Second)
	cfg.Within = cmp.Or(cfg.Within, 10*time.Second)
	return &Recorder{outbox: o, clock: c, cfg: cfg, counts: map[key]int{}}
}

// Served commits the event of a request that is about to be answered with
// status. It does not follow the client: the answer may be about something
// that was done.
func (r *Recorder) Served(ctx context.Context, q *request.Request, status int) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.Within)
	defer cancel()
	if err := r.outbox.Append(ctx, q.Event(status)); err != nil {
		return fmt.Errorf("record request: %w", err)
	}
	return nil
}

// Denied records a request that was refused because of who sent it: as an event
// while the rate allows, else as a count. A refusal never waits for more than
// the one commit, and stands without it.
func (r *Recorder) Denied(ctx context.Context, q *request.Request, status int) {
	if r.admit() && r.Served(ctx, q, status) == nil {
		return
	}
	r.Count(q.Actor.Address, status)
}

// Count records a request that was refused before anything was known of it.
func (r *Recorder) Count(address string, status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(key{address, status}, 1)
}

func (r *Recorder) add(k key, n int) {
	if _, known := r.counts[k]; !known && len(r.counts) >= maxKeys {
		k.address = elsewhere
	}
	r.counts[k] += n
}

// admit reports whether the running second has room for one more event.
func (r *Recorder) admit() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	if now.Sub(r.second) >= time.Second {
		r.second, r.spent = now, 0
	}
	r.spent++
	return r.spent <= r.cfg.DeniedPerSecond
}

// Name implements step.Step.
func (*Recorder) Name() string { return "request counts" }

// Do implements step.Step: it commits the counts.
func (r *Recorder) Do(ctx context.Context) (time.Duration, error) {
	r.mu.Lock()
	counts := r.counts
	r.counts = map[key]int{}
	r.mu.Unlock()
	if len(counts) == 0 {
		return r.cfg.CountEvery, nil
	}
	if err := r.outbox.Append(ctx, events(counts)...); err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		for k, n := range counts {
			r.add(k, n)
		}
		return 0, fmt.Errorf("record counts of refused requests: %w", err)
	}
	return r.cfg.CountEvery, nil
}

// Flush commits what is left when the steps have ended.
func (r *Recorder) Flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.Within)
	defer cancel()
	_, err := r.Do(ctx)
	return err
}

func events(counts map[key]int) []event.Event {
	keys := make([]key, 0, len(counts))
	for k := range counts {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.address, b.address), cmp.Compare(a.status, b.status))
	})
	out := make([]event.Event, len(keys))
	for i, k := range keys {
		reason := http.StatusText(k.status)
		out[i] = event.Event{
			Type:    event.RequestDenied,
			Subject: k.address,
			Data: event.Data{
				Actor:  lease.Actor{Name: "unauthenticated", Address: k.address},
				Status: k.status, Count: counts[k], Reason: reason,
			},
		}
	}
	return out
}
