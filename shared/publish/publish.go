// Package publish moves committed events from the store to the stream.
//
// What holds (D3, D4): one publisher at a time, by a fenced lock in the store;
// it numbers events densely in the order in which their commits became visible
// and publishes them in that order; at the first missing acknowledgement
// everything from it on is sent again; its head is announced every second, also
// when nothing happens, so that a lost tail is seen; the store deletes only
// what the ledger confirmed.
//
// What can fail: the lock is lost (numbering is fenced, so two publishers never
// give one number twice; the loser stops), the broker is away (events wait in
// the store), the process dies (the next publisher sends again what was not
// recorded as sent: at least once).
//
// Who runs it: every issuer and revoker process.
package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

// Names under which positions and the lock are kept in the store.
const (
	LockName = "publisher"
	Sent     = "publisher" // last event the broker acknowledged
	Ledger   = "ledger"    // last event the ledger holds
)

// Config tunes a [Publisher]; the zero value works.
type Config struct {
	Owner    string        // of the lock: unique to the process
	Batch    int           // events numbered and sent at once; 1024
	Announce time.Duration // between heads; 1 s
	LockTTL  time.Duration // 10 s
	Timeout  time.Duration // of each outbound call; 10 s
}

// Store is what a publisher needs of the store.
type Store interface {
	store.Outbox
	store.Locks
}

// Publisher is a step.
type Publisher struct {
	store Store
	bus   bus.Publisher
	clock clock.Clock
	log   zerolog.Logger
	cfg   Config
	wake  <-chan struct{}

	lock      store.Lock
	held      bool
	renewAt   time.Time
	sent      event.Position
	recorded  event.Position
	head      event.Position
	announced time.Time
}

// New returns a publisher. wake, which may be nil, receives when events wait.
func New(s Store, b bus.Publisher, wake <-chan struct{}, c clock.Clock, log zerolog.Logger, cfg Config) (*Publisher, error) {
	if cfg.Owner == "" {
		return nil, errors.New("publisher needs an owner name")
	}
	cfg.Batch = cmp.Or(cfg.Batch, 1024)
	cfg.Announce = cmp.Or(cfg.Announce, time.Second)
	cfg.LockTTL = cmp.Or(cfg.LockTTL, 10*time.Second)
	cfg.Timeout = cmp.Or(cfg.Timeout, 10*time.Second)
	return &Publisher{store: s, bus: b, wake: wake, clock: c, log: log, cfg: cfg}, nil
}

// Name implements [step.Step].
func (p *Publisher) Name() string { return "publisher" }

// Wake implements [step.Waker].
func (p *Publisher) Wake() <-chan struct{} { return p.wake }

// Do implements [step.Step]: numbers and sends one batch.
func (p *Publisher) Do(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	if ok, err := p.lead(ctx); err != nil || !ok {
		return p.cfg.Announce, err
	}
	numbered, err := p.number(ctx)
	if err != nil {
		return 0, err
	}
	more, err := p.send(ctx)
	if err != nil {
		return 0, err
	}
	if err := p.tell(ctx); err != nil {
		return 0, err
	}
	if more || numbered == p.cfg.Batch {
		return 0, nil
	}
	return p.cfg.Announce, nil
}

// lead takes or keeps the lock. Trust in it is counted from before the attempt
// and ends at half its time.
func (p *Publisher) lead(ctx context.Context) (bool, error) {
	now := p.clock.Now()
	if p.held && now.Before(p.renewAt) {
		return true, nil
	}
	was := p.held && now.Before(p.renewAt.Add(p.cfg.LockTTL/2))
	lock, ok, err := p.store.Acquire(ctx, LockName, p.cfg.Owner, p.cfg.LockTTL)
	if err != nil {
		p.held = was && p.held
		return false, fmt.Errorf("take the publisher's lock: %w", err)
	}
	fresh := ok && (!p.held || lock.Fence != p.lock.Fence)
	p.lock, p.held, p.renewAt = lock, ok, now.Add(p.cfg.LockTTL/2)
	if !fresh {
		return ok, nil
	}
	if p.sent, err = p.store.Confirmed(ctx, Sent); err != nil {
		p.held = false
		return false, fmt.Errorf("read the publisher's position: %w", err)
	}
	p.recorded = p.sent
	p.log.Info().Int64("fence", lock.Fence).Stringer("position", p.sent).Msg("publishing")
	return true, nil
}

func (p *Publisher) number(ctx context.Context) (int, error) {
	head, n, err := p.store.Number(ctx, p.lock, p.cfg.Batch)
	if err != nil {
		if errors.Is(err, store.ErrLost) {
			p.held = false
		}
		return 0, fmt.Errorf("number events: %w", err)
	}
	p.head = head
	return n, nil
}

func (p *Publisher) send(ctx context.Context) (more bool, err error) {
	if !p.sent.Before(p.head) {
		return false, nil
	}
	events, err := p.store.Events(ctx, p.sent, p.cfg.Batch)
	if err != nil {
		return false, fmt.Errorf("read events to publish: %w", err)
	}
	if len(events) == 0 { // trimmed: the ledger has them already
		p.sent = p.head
		return false, nil
	}
	n, err := p.bus.Publish(ctx, events)
	if n > 0 {
		p.sent = events[n-1].Position
	}
	if err != nil {
		return false, fmt.Errorf("publish events: %w", err)
	}
	return p.sent.Before(p.head), nil
}

// tell announces the head and records what was sent, once an interval.
func (p *Publisher) tell(ctx context.Context) error {
	now := p.clock.Now()
	if now.Sub(p.announced) < p.cfg.Announce {
		return nil
	}
	p.announced = now
	if p.recorded.Before(p.sent) {
		if err := p.store.Confirm(ctx, Sent, p.sent); err != nil {
			return fmt.Errorf("record what was published: %w", err)
		}
		p.recorded = p.sent
	}
	if err := p.trim(ctx); err != nil {
		return err
	}
	if err := p.bus.Announce(ctx, p.head); err != nil {
		return fmt.Errorf("announce the head: %w", err)
	}
	return nil
}

// trim deletes what both the broker and the ledger have.
func (p *Publisher) trim(ctx context.Context) error {
	upTo, err := p.store.Confirmed(ctx, Ledger)
	if err != nil {
		return fmt.Errorf("read the ledger's position: %w", err)
	}
	if p.recorded.Before(upTo) {
		upTo = p.recorded
	}
	if _, err := p.store.Trim(ctx, upTo, 10*p.cfg.Batch); err != nil {
		return fmt.Errorf("trim events: %w", err)
	}
	return nil
}
