// Package claim takes due leases out of the indexes and flies them: a flight is
// one batch of one target on its way through the worker.
//
// What holds: a target never waits for another, unless Config.Lanes bounds what
// all of them have in the air: then a lane that is free goes to a target that has
// fewer than others, or waited longer, and the probe of a target that is down takes
// none. At most
// Config.Flights batches of a target are in the air; where they are not full, the
// next one waits a few milliseconds at most for the last to close its logins, so
// that batches grow with the load and one lease alone waits for nobody; a claim is
// extended while its flight lasts, however long that is, and lapses within
// Config.Hold when the process dies (C7); a target that did not answer is probed
// with one lease at a time, with growing delay up to a minute (1/64 of the time
// that it was down), and its first success wakes its whole backlog (C8); a
// flight that breaks down puts its leases back.
package claim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/revoker/internal/work"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

// Processor takes a batch through its stages. Its result is whole also where it
// returns an error: what is not in Later has ended. It calls closed when all logins
// of the batch are closed; not where one could not be.
type Processor interface {
	Process(ctx context.Context, target string, members []expiry.Member, closed func()) (work.Result, error)
}

// Recaller makes the revocations of a target due at once; those that need a
// person only if asked for.
type Recaller interface {
	Recall(ctx context.Context, target string, parked bool) error
}

// slack is the part of the time that a target was down after which its return is
// noticed, at the latest.
const slack = 64

// Config tunes a [Claimer]; the zero value works.
type Config struct {
	Batch   int // leases of a flight; 128
	Flights int // of one target that are closing logins; 16
	Aloft   int // of one target in all; 8 times Flights
	// Lanes bounds the flights of all targets, each until it lands: what is slow to
	// remove in one target keeps others from being disabled, which B7 is to prevent.
	// For machines that must not open many connections; 0: no bound.
	Lanes int
	// Gather is how long the next flight of a target waits for one that was not
	// full to close its logins: what falls due meanwhile goes together. 10 ms; below
	// 0: not at all.
	Gather  time.Duration
	Hold    time.Duration // of a claim that nobody prolongs; 5 s
	MaxRest time.Duration // between looks at the index; 250 ms
	// The delay between the probes of a target that is down grows with the time that
	// it was down, so that its return is noticed in proportion to that.
	MinProbe time.Duration // the shortest; 250 ms
	MaxProbe time.Duration // the longest; 60 s
}

// Claimer starts flights. Each index is looked at by a step of its own: one that
// is silent, or backs off, keeps no other waiting (promise 6).
type Claimer struct {
	looks  []*look
	proc   Processor
	recall Recaller
	time   *store.Estimate
	clock  clock.Clock
	log    zerolog.Logger
	cfg    Config

	mu      sync.Mutex
	targets map[string]*target
	lanes   int // taken
	// departed numbers the last flight of each target among those of all, where
	// lanes are bounded.
	departed map[string]uint64
	number   uint64
	flights  sync.WaitGroup
}

// look is the step that looks at one index.
type look struct {
	*Claimer
	index expiry.Index
	name  string
	wake  step.Signal
	// good is when it last did all it wanted, by the local clock in nanoseconds;
	// 0: not yet.
	good atomic.Int64
}

// target is the health of one target, as this process sees it.
type target struct {
	closing int       // flights with a place: logins are not all closed yet
	flights int       // in the air
	down    time.Time // local: since when it does not answer; zero: it does
	until   time.Time // local: not before
	// gather is until when the next flight waits for the last one, which was not
	// full, to close its logins; local.
	gather time.Time
	last   uint64 // number of that flight
	// urged: somebody said that it may answer while a flight was in the air, which
	// may have left too early to know.
	urged bool
}

// New returns a claimer over indexes; the later ones are the process's own.
func New(p Processor, r Recaller, t *store.Estimate, c clock.Clock, log zerolog.Logger, cfg Config, indexes ...expiry.Index) *Claimer {
	cfg.Batch = cmp.Or(cfg.Batch, 128)
	cfg.Flights = cmp.Or(cfg.Flights, 16)
	cfg.Aloft = cmp.Or(cfg.Aloft, 8*cfg.Flights)
	cfg.Gather = cmp.Or(cfg.Gather, 10*time.Millisecond)
	cfg.Hold = cmp.Or(cfg.Hold, 5*time.Second)
	cfg.MaxRest = cmp.Or(cfg.MaxRest, 250*time.Millisecond)
	cfg.MinProbe = cmp.Or(cfg.MinProbe, 250*time.Millisecond)
	cfg.MaxProbe = cmp.Or(cfg.MaxProbe, time.Minute)
	claimer := &Claimer{
		proc: p, recall: r, time: t, clock: c, log: log, cfg: cfg, targets: map[string]*target{}, departed: map[string]uint64{},
	}
	for i, x := range indexes {
		name := "claimer"
		if i > 0 {
			name += "-own"
		}
		claimer.looks = append(claimer.looks, &look{Claimer: claimer, index: x, name: name, wake: step.NewSignal()})
	}
	return claimer
}

// Steps are to be run side by side.
func (c *Claimer) Steps() []step.Step {
	out := make([]step.Step, len(c.looks))
	for i, l := range c.looks {
		out[i] = l
	}
	return out
}

// Name implements [step.Step].
func (l *look) Name() string { return l.name }

// Wake implements [step.Waker].
func (l *look) Wake() <-chan struct{} { return l.wake }

// Nudge makes the claimer look at the indexes at once.
func (c *Claimer) Nudge() {
	for _, l := range c.looks {
		l.wake.Set()
	}
}

// Urge lets a target that was down be probed at once, or once more where a probe
// is under way: a person or a sweep says that it may answer again.
func (c *Claimer) Urge(target string) {
	c.mu.Lock()
	if t := c.targets[target]; t != nil {
		t.until = time.Time{}
		t.urged = t.flights > 0
	}
	c.mu.Unlock()
	c.Nudge()
}

// Wait returns when no flight is in the air.
func (c *Claimer) Wait() { c.flights.Wait() }

// Do implements [step.Step]: starts a flight for every target that has due
// leases and room.
func (l *look) Do(ctx context.Context) (time.Duration, error) {
	now, err := l.time.Now(ctx)
	if err != nil {
		return 0, err
	}
	rest := l.cfg.MaxRest
	up, err := l.index.Upcoming(ctx, now.Add(rest))
	if err != nil {
		return 0, err
	}
	var errs error
	var due []string
	for _, u := range up {
		if wait := u.At.Sub(now); wait > 0 {
			rest = min(rest, wait)
			continue
		}
		due = append(due, u.Target)
	}
	// A flight for each, then a second for each.
	for len(due) > 0 {
		l.order(due)
		due = slices.DeleteFunc(due, func(target string) bool {
			flown, wait, err := l.launch(ctx, l.index, target, now)
			if errs = errors.Join(errs, err); wait > 0 {
				rest = min(rest, wait)
			}
			return !flown
		})
	}
	if errs == nil {
		l.good.Store(l.clock.Now().UnixNano())
	}
	return max(rest, time.Millisecond), errs
}

// order puts targets first that have few flights in the air, and of those the ones
// that waited longest, where lanes are bounded.
func (c *Claimer) order(due []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cfg.Lanes == 0 || c.lanes >= c.cfg.Lanes {
		return
	}
	type place struct {
		aloft int
		last  uint64
	}
	places := make(map[string]place, len(due))
	for _, name := range due {
		p := place{last: c.departed[name]}
		if t := c.targets[name]; t != nil {
			p.aloft = t.flights
		}
		places[name] = p
	}
	slices.SortStableFunc(due, func(a, b string) int {
		p, q := places[a], places[b]
		return cmp.Or(cmp.Compare(p.aloft, q.aloft), cmp.Compare(p.last, q.last))
	})
}

// Working reports whether the first index was looked at, and claimed from where
// something was due, within the last second or four rests.
func (c *Claimer) Working() bool {
	good := c.looks[0].good.Load()
	age := c.clock.Now().Sub(time.Unix(0, good))
	return good != 0 && age <= max(time.Second, 4*c.cfg.MaxRest)
}

// launch claims and flies a batch of one target, if it has one due and room; wait
// is how long it is at most until there is room for those that gather.
func (c *Claimer) launch(ctx context.Context, x expiry.Index, name string, now time.Time) (flown bool, wait time.Duration, err error) {
	limit, probe, wait := c.room(name)
	if limit == 0 {
		return false, wait, nil
	}
	claim, err := x.Claim(ctx, name, now, limit, c.cfg.Hold)
	if err != nil || len(claim.Members) == 0 {
		c.land(name, work.Result{}, probe, false)
		return false, 0, err
	}
	number := c.depart(name, len(claim.Members) == limit)
	c.flights.Go(func() { c.fly(context.WithoutCancel(ctx), x, claim, probe, number) })
	return true, 0, nil
}

// depart notes a flight; the next one waits for it unless it is full.
func (c *Claimer) depart(name string, full bool) (number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cfg.Lanes > 0 {
		c.number++
		c.departed[name] = c.number
	}
	t := c.targets[name]
	t.last++
	t.gather = time.Time{}
	if !full {
		t.gather = c.clock.Now().Add(c.cfg.Gather)
	}
	return t.last
}

// room takes a place for a flight and says how many leases it may hold; 0: no
// place. A target that is down has room for one probe at a time.
func (c *Claimer) room(name string) (limit int, probe bool, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.targets[name]
	if t == nil {
		t = &target{}
		c.targets[name] = t
	}
	switch {
	case !t.down.IsZero() && (t.flights > 0 || c.clock.Now().Before(t.until)):
		return 0, false, 0
	case t.closing >= c.cfg.Flights || t.flights >= c.cfg.Aloft:
		return 0, false, 0
	case c.cfg.Lanes > 0 && c.lanes >= c.cfg.Lanes && t.down.IsZero():
		return 0, false, 0
	}
	if wait := t.gather.Sub(c.clock.Now()); wait > 0 {
		return 0, false, wait
	}
	t.closing++
	t.flights++
	if !t.down.IsZero() {
		return 1, true, 0
	}
	c.lanes++
	return c.cfg.Batch, false, 0
}

// leave gives a flight's place back while it is still in the air: what is slow
// to remove does not keep others from being disabled (B7).
func (c *Claimer) leave(name string, number uint64) {
	c.mu.Lock()
	t := c.targets[name]
	t.closing--
	if t.last == number {
		t.gather = time.Time{}
	}
	c.mu.Unlock()
	c.Nudge()
}

// land ends a flight and notes how the target did; it reports whether
// the target answers again. Of the flights that were in the air when it went
// down, only the first counts: the delay grows from probe to probe.
// A place that was not left before is given back here, under the same lock: who
// takes it knows how the target did.
func (c *Claimer) land(name string, r work.Result, probe, left bool) (recovered bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.targets[name]
	t.flights--
	if !probe {
		c.lanes--
	}
	if !left {
		t.closing--
	}
	switch {
	case r.Down && !r.Reached && (probe || t.down.IsZero()):
		now := c.clock.Now()
		if t.down.IsZero() {
			t.down = now
		}
		d := min(max(c.cfg.MinProbe, now.Sub(t.down)/slack), c.cfg.MaxProbe)
		if t.urged {
			d = c.cfg.MinProbe
		}
		t.urged = false
		t.until = now.Add(step.Jitter(d))
	case r.Reached && !t.down.IsZero():
		c.log.Info().Str("target", name).Msg("target answers again")
		t.down, recovered = time.Time{}, true
	}
	if t.flights == 0 && t.down.IsZero() {
		delete(c.targets, name)
	}
	return recovered
}

func (c *Claimer) fly(ctx context.Context, x expiry.Index, claim expiry.Claim, probe bool, number uint64) {
	_ = clock.For(c.clock, "flight") // it shares the places of its target with others
	log := c.log.With().Str("target", claim.Target).Int("leases", len(claim.Members)).Logger()
	defer c.Nudge()
	stop := c.heartbeat(ctx, x, claim)
	var left atomic.Bool
	res, err := c.process(ctx, claim, func() {
		if left.CompareAndSwap(false, true) {
			c.leave(claim.Target, number)
		}
	})
	stop()
	if err != nil {
		log.Warn().Err(err).Msg("flight failed")
	}
	recovered := c.land(claim.Target, res, probe, left.Load())
	if err := x.Complete(ctx, claim, res.Later...); err != nil {
		log.Warn().Err(err).Msg("claim was not completed")
	}
	if !recovered {
		return
	}
	if err := c.recall.Recall(ctx, claim.Target, false); err != nil {
		log.Warn().Err(err).Msg("backlog was not recalled")
	}
}

// process is the worker's, where a bug must neither end the process nor lose
// the claim.
func (c *Claimer) process(ctx context.Context, claim expiry.Claim, closed func()) (res work.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			res = work.Result{Later: c.postpone(ctx, claim)}
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return c.proc.Process(ctx, claim.Target, claim.Members, closed)
}

// postpone puts a claim whose outcome nobody knows back for soon.
func (c *Claimer) postpone(ctx context.Context, claim expiry.Claim) []expiry.Member {
	now, err := c.time.Now(ctx)
	if err != nil {
		return claim.Members
	}
	later := make([]expiry.Member, len(claim.Members))
	for i, m := range claim.Members {
		m.At = now.Add(time.Second)
		later[i] = m
	}
	return later
}

// heartbeat extends the claim while its flight lasts.
func (c *Claimer) heartbeat(ctx context.Context, x expiry.Index, claim expiry.Claim) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var beat sync.WaitGroup
	beat.Go(func() {
		for c.tick(ctx, c.cfg.Hold/3) {
			now, err := c.time.Now(ctx)
			if err == nil {
				err = x.Extend(ctx, claim, now, c.cfg.Hold)
			}
			if err != nil && ctx.Err() == nil {
				c.log.Warn().Err(err).Str("target", claim.Target).Msg("claim was not extended")
			}
		}
	})
	return func() {
		cancel()
		beat.Wait()
	}
}

// tick waits for d; false if ctx ended first.
func (c *Claimer) tick(ctx context.Context, d time.Duration) bool {
	return clock.Sleep(ctx, c.clock, d) == nil
}
