package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

// Names under which positions and the lock are kept in the store.
const (
	LockName = "publisher"
	Sent     = "publisher" // last event the broker acknowledged
	Ledger   = "ledger"    // last event the ledger holds
)

// ErrRewound says that what was published is not what the store has under those
// numbers, or is more than it has numbered (A7).
var ErrRewound = errors.New("the store was restored from a copy")

// Config tunes a [Publisher]; the zero value works but for Owner.
type Config struct {
	Owner    string        // of the lock: unique to the process
	Batch    int           // events sent at once; 1024
	Announce time.Duration // between heads; 1 s
	LockTTL  time.Duration // 10 s
	// Keep is how long events stay that both the broker and the ledger have, for
	// who follows them in the store (D7); 2 s, below 0: not at all.
	Keep    time.Duration
	Timeout time.Duration // of each outbound call; 10 s
	// Pause is how long it pauses at most after a round, so that under load the
	// next takes more events with it; 5 ms.
	Pause time.Duration
}

// Store is what a publisher needs of the store.
type Store interface {
	store.Outbox
	store.Locks
	// Suspend is called with proof that the store has lost commits (A7).
	Suspend(ctx context.Context, s store.Suspension) error
}

// Broker is what a publisher needs of the stream.
type Broker interface {
	bus.Publisher
	bus.Ender
}

// Publisher is a step.
type Publisher struct {
	store Store
	bus   Broker
	clock clock.Clock
	log   zerolog.Logger
	cfg   Config
	wake  <-chan struct{}
	pace  step.Pace

	lock      store.Lock
	held      bool
	active    atomic.Bool    // held, for others
	nextTry   time.Time      // of the lock: to take it, or to extend it
	suspended bool           // the store is, and that was logged
	compared  bool           // with the stream, since the lock was taken and since it was suspended
	told      event.Position // end of the stream for which the store was suspended: once
	sent      event.Position // the broker acknowledged everything up to here
	recorded  event.Position // sent, as the store has it
	head      event.Position
	announced time.Time
	dues      []due // what may be deleted, and since when
}

// due says that both the broker and the ledger have everything up to a position.
type due struct {
	upTo event.Position
	at   time.Time
}

// New returns a publisher. wake, which may be nil, receives when events wait.
func New(s Store, b Broker, wake <-chan struct{}, c clock.Clock, log zerolog.Logger, cfg Config) (*Publisher, error) {
	if cfg.Owner == "" {
		return nil, errors.New("publisher needs an owner name")
	}
	cfg.Batch = cmp.Or(cfg.Batch, 1024)
	cfg.Announce = cmp.Or(cfg.Announce, time.Second)
	cfg.LockTTL = cmp.Or(cfg.LockTTL, 10*time.Second)
	cfg.Keep = cmp.Or(cfg.Keep, 2*time.Second)
	cfg.Timeout = cmp.Or(cfg.Timeout, 10*time.Second)
	cfg.Pause = cmp.Or(cfg.Pause, 5*time.Millisecond)
	return &Publisher{store: s, bus: b, wake: wake, clock: c, log: log, cfg: cfg, pace: step.Pace{Factor: 1, Most: cfg.Pause}}, nil
}

// Name implements [step.Step].
func (p *Publisher) Name() string { return "publisher" }

// Wake implements [step.Waker].
func (p *Publisher) Wake() <-chan struct{} { return p.wake }

// Pause implements [step.Paced].
func (p *Publisher) Pause() time.Duration { return p.pace.Pause() }

// batches is how many of them are numbered together, and sent one after the
// other: under load a commit waits for all that is before it.
const batches = 16

// Do implements [step.Step]: it numbers what waits and sends it.
func (p *Publisher) Do(ctx context.Context) (time.Duration, error) {
	began := p.clock.Now()
	defer func() { p.pace.Worked(p.clock.Now().Sub(began)) }()
	leads, err := p.lead(ctx)
	p.active.Store(leads && err == nil)
	if err != nil || !leads {
		return p.nextTry.Sub(p.clock.Now()), err
	}
	numbered, err := p.number(ctx)
	if errors.Is(err, store.ErrSuspended) {
		p.waits(true)
		return p.cfg.Announce, nil
	}
	if err != nil {
		return 0, err
	}
	p.waits(false)
	more := true
	for n := 0; more && err == nil && n < batches; n++ {
		more, err = p.send(ctx)
	}
	// While the broker is away, what it has is still recorded and deleted.
	if err := errors.Join(err, p.tell(ctx)); err != nil {
		return 0, err
	}
	if more || numbered == batches*p.cfg.Batch {
		return 0, nil
	}
	return p.cfg.Announce, nil
}

// lead takes or keeps the lock. Trust in it is counted from before the attempt
// and ends at half its time.
func (p *Publisher) lead(ctx context.Context) (bool, error) {
	now := p.clock.Now()
	if now.Before(p.nextTry) {
		return p.held, nil
	}
	lock, ok, err := within(ctx, p.cfg.Timeout, func(ctx context.Context) (store.Lock, bool, error) {
		return p.store.Acquire(ctx, LockName, p.cfg.Owner, p.cfg.LockTTL)
	})
	if err != nil {
		return false, fmt.Errorf("take the publisher's lock: %w", err)
	}
	if !ok {
		p.held, p.nextTry = false, now.Add(p.cfg.Announce)
		return false, nil
	}
	if !p.held || lock.Fence != p.lock.Fence {
		p.held = false
		if err := p.begin(ctx, lock); err != nil {
			return false, err
		}
	}
	p.lock, p.held, p.nextTry = lock, true, now.Add(p.cfg.LockTTL/2)
	return true, nil
}

// begin finds where the publisher before has come to.
func (p *Publisher) begin(ctx context.Context, lock store.Lock) error {
	sent, err := p.confirmed(ctx, Sent)
	if err != nil {
		return fmt.Errorf("read the publisher's position: %w", err)
	}
	p.sent, p.recorded, p.compared = sent, sent, false
	p.log.Info().Int64("fence", lock.Fence).Stringer("position", p.sent).Msg("publishing")
	return nil
}

// release forgets the lock; it is taken anew at the next try.
func (p *Publisher) release() {
	p.held, p.nextTry = false, time.Time{}
	p.active.Store(false)
}

// Active reports whether this process is the one that publishes, as far as it
// knows. It may be called at any time.
func (p *Publisher) Active() bool { return p.active.Load() }

func (p *Publisher) number(ctx context.Context) (int, error) {
	head, n, err := within(ctx, p.cfg.Timeout, func(ctx context.Context) (event.Position, int, error) {
		return p.store.Number(ctx, p.lock, batches*p.cfg.Batch)
	})
	if err != nil {
		if errors.Is(err, store.ErrLost) {
			p.release()
		}
		return 0, fmt.Errorf("number events: %w", err)
	}
	if head.Before(p.sent) {
		return 0, fmt.Errorf("number events: %w", p.rewound(ctx, fmt.Sprintf("its last event is %s, published is %s", head, p.sent)))
	}
	p.head = head
	return n, nil
}

// rewound suspends a store that lacks what was published, as proof says. What it
// lacks was committed, whether or not anybody else has it. The proof is kept
// until that is done; then the store's own place is read anew.
func (p *Publisher) rewound(ctx context.Context, proof string) error {
	err := fmt.Errorf("%w: %s (A7)", ErrRewound, proof)
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	if failed := p.store.Suspend(ctx, store.Suspension{Reason: err.Error(), Lost: true}); failed != nil {
		return errors.Join(err, fmt.Errorf("suspend the store: %w", failed))
	}
	p.release()
	return err
}

// waits says once that the store is suspended, and once that it is not any more.
func (p *Publisher) waits(suspended bool) {
	switch {
	case suspended && !p.suspended:
		p.compared = false
		p.log.Warn().Msg("the store is suspended: nothing is numbered until it has been recovered")
	case !suspended && p.suspended:
		p.log.Info().Stringer("position", p.head).Msg("the store goes on")
	}
	p.suspended = suspended
}

func (p *Publisher) send(ctx context.Context) (more bool, err error) {
	if !p.sent.Before(p.head) {
		return false, nil
	}
	if err := p.compare(ctx); err != nil {
		return false, fmt.Errorf("compare the stream with the store: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	events, err := p.store.Events(ctx, p.sent, p.cfg.Batch)
	if err != nil {
		return false, fmt.Errorf("read events to publish: %w", err)
	}
	if len(events) == 0 { // another epoch has begun and has no event yet
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

// tell announces the head, records what was sent and deletes what nobody needs,
// once an interval. None of the three waits for another that fails.
func (p *Publisher) tell(ctx context.Context) error {
	now := p.clock.Now()
	if now.Sub(p.announced) < p.cfg.Announce {
		return nil
	}
	p.announced = now
	bounded, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	err := p.bus.Announce(bounded, p.head)
	if err != nil {
		err = fmt.Errorf("announce the head: %w", err)
	}
	return errors.Join(err, p.record(ctx), p.trim(ctx))
}

func (p *Publisher) record(ctx context.Context) error {
	if !p.recorded.Before(p.sent) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	if err := p.store.Confirm(ctx, Sent, p.sent); err != nil {
		return fmt.Errorf("record what was published: %w", err)
	}
	p.recorded = p.sent
	return nil
}

func (p *Publisher) confirmed(ctx context.Context, consumer string) (event.Position, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	return p.store.Confirmed(ctx, consumer)
}

// trim deletes what both the broker and the ledger have had for a while.
func (p *Publisher) trim(ctx context.Context) error {
	upTo, err := p.confirmed(ctx, Ledger)
	if err != nil {
		return fmt.Errorf("read the ledger's position: %w", err)
	}
	if p.recorded.Before(upTo) {
		upTo = p.recorded
	}
	now := p.clock.Now()
	p.dues = append(p.dues, due{upTo: upTo, at: now})
	upTo = event.Position{}
	for len(p.dues) > 0 && now.Sub(p.dues[0].at) >= p.cfg.Keep {
		upTo, p.dues = p.dues[0].upTo, p.dues[1:]
	}
	// Several short transactions rather than a long one: issuing shares them.
	for range 16 {
		ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
		n, err := p.store.Trim(ctx, upTo, 4*p.cfg.Batch)
		cancel()
		if err != nil {
			return fmt.Errorf("trim events: %w", err)
		}
		if n < 4*p.cfg.Batch {
			break
		}
	}
	return nil
}

// Close records what was sent and gives the lock up. It may be called again;
// not while Do runs.
func (p *Publisher) Close(ctx context.Context) error {
	if !p.held {
		return nil
	}
	err := p.record(ctx)
	bounded, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	if lost := p.store.Release(bounded, p.lock); lost != nil {
		return errors.Join(err, fmt.Errorf("give up the publisher's lock: %w", lost))
	}
	p.release()
	return err
}

// within bounds a call with two results.
func within[A, B any](ctx context.Context, d time.Duration, do func(context.Context) (A, B, error)) (A, B, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return do(ctx)
}

var (
	_ step.Step  = (*Publisher)(nil)
	_ step.Waker = (*Publisher)(nil)
	_ step.Paced = (*Publisher)(nil)
)
